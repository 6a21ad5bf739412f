"""Corrupted CIFAR-10: photographs whose corruption gives the label away, except in a few training images.

Made here from the official CIFAR-10 files, once, and kept in the cache (:func:`corrupted_cifar10`); or as it was
published, in an archive of PNG files (:func:`corrupted_cifar10_png`).
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from longcut.data import Dataset, Splits, generator
from longcut.datasets import data_folder, spec_of
from longcut.datasets.archives import DFA, Archive, Percent, splits_by_name
from longcut.datasets.corruptions import corrupt
from longcut.datasets.planted import TEN, Noise, Ratio, in_rotation, plant, splits
from longcut.errors import UserError
from longcut.processes import no_worker_lost
from longcut.sources import Progress
from longcut.sources.cache import cached, key_of, write_header

__all__ = ["CLASSES", "LISTS", "corrupted_cifar10", "corrupted_cifar10_png", "read_batch", "read_batches"]

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

LISTS = {
    "type0": (
        "snow",
        "frost",
        "fog",
        "brightness",
        "contrast",
        "spatter",
        "elastic_transform",
        "jpeg_compression",
        "pixelate",
        "saturate",
    ),
    "type1": (
        "gaussian_noise",
        "shot_noise",
        "impulse_noise",
        "speckle_noise",
        "gaussian_blur",
        "defocus_blur",
        "glass_blur",
        "motion_blur",
        "zoom_blur",
        "original",
    ),
    "text": (
        "brightness",
        "contrast",
        "gaussian_noise",
        "frost",
        "elastic_transform",
        "gaussian_blur",
        "defocus_blur",
        "impulse_noise",
        "saturate",
        "pixelate",
    ),
}
"""The corruption that goes with each of the classes 0…9."""

PUBLISHED_COUNTS = {0.005: (44_832, 228), 0.01: (44_527, 442), 0.02: (44_145, 887), 0.05: (42_820, 2_242)}

CHECKSUMS = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
SOURCE = "the official archive cifar-10-python.tar.gz (www.cs.toronto.edu/~kriz/cifar.html)"

VERSION = 1  # of the pixels: a change of a corruption makes all images anew
CHUNK = 500  # images that one process corrupts at a time


def corrupted_cifar10(
    *,
    ratio: Ratio = 0.005,
    corruptions: Annotated[
        Literal["type0", "type1", "text"],
        Field(description="type0: as published; type1: LfF's other ten; text: the ten that papers name"),
    ] = "type0",
    severity: Annotated[int, Field(ge=1, le=5, description="of the corruptions; 5 is strongest, as published")] = 5,
    noise: Noise = 0.0,
    folder: Annotated[str | None, Field(description="the unpacked folder cifar-10-batches-py")] = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Splits:
    """Corrupted CIFAR-10 of any ratio, made from the official CIFAR-10 files.

    The benchmark of Nam et al. 2020 ("Learning from Failure") as cut by Lee et al. 2021 (DFA), on which SelecMix
    reports. The 50,000 training images are cut into training and validation by ``seed``; both have the same share of
    conflicting images, whose corruption is uniform over the other nine. At ratios 0.005, 0.01, 0.02 and 0.05 the
    training set has the published numbers of aligned and conflicting images; else 45,000 images train. Each class of
    the 10,000 test images has each corruption equally often, whatever the seed.

    The pixels of a corrupted image depend on its number, the corruption and the severity alone, so all ratios and seeds
    agree on them.

    Args:
        ratio: 0…0.9; at 0.9 the corruption is uniform whatever the label, so there is no shortcut.
        corruptions: which list of ten, see :data:`LISTS`.
        severity: 1…5, as in CIFAR-10-C.
        noise: 0…0.9; each training label is replaced with this probability, by another one drawn uniformly. The
            images, the validation and the test labels stay as they are.
        folder: of the six batches; when None, ``$LONGCUT_DATA/cifar-10-batches-py``, else
            ``~/.cache/longcut/data/cifar-10-batches-py``. They are not read when the images are in the cache.
        seed: of the split, the conflicting corruptions and the noise.
        progress: told how many of how many images are corrupted, where they are not in the cache.

    Returns:
        uint8 images ``(n, 3, 32, 32)``; the attribute is the corruption. Training and validation share their storage,
        so that ``index`` is the number of the image in CIFAR-10.

    Raises:
        UserError: when an option is not allowed, a file is missing or damaged, or the cache cannot be written.

    Example::

        splits = corrupted_cifar10(ratio=0.01)
        splits.train.conflicting.sum()  # tensor(442)
    """
    options = {"ratio": ratio, "corruptions": corruptions, "severity": severity, "noise": noise}
    place = Path(folder) if folder else data_folder("cifar-10-batches-py")
    names = LISTS[corruptions]
    info: dict[str, Any] = {
        "name": spec_of("corrupted-cifar10", options),
        "class_names": CLASSES,
        "attribute_names": names,
        **TEN,
    }
    label, test_label = _labels(place)
    test_attribute = in_rotation(test_label)
    # the test set, and training images as if none conflicted: what all ratios and seeds have in common
    own = torch.cat([label, test_attribute])
    pixels, test_pixels = _corrupted(place, torch.arange(len(own)), own, names, severity, progress).split(
        [len(label), len(test_label)]
    )

    draw = generator(seed)
    n = len(label) * 9 // 10
    n_aligned, n_conflicting = PUBLISHED_COUNTS.get(ratio, (n - round(ratio * n), round(ratio * n)))
    train, valid = torch.randperm(len(label), generator=draw).tensor_split([n_aligned + n_conflicting])
    valid_conflicting = round(n_conflicting * len(valid) / len(train))
    attribute = plant(label, [(train, n_conflicting), (valid, valid_conflicting)], draw)
    rows = (attribute != label).nonzero().flatten()
    if len(rows):
        pixels[rows] = _corrupted(place, rows, attribute[rows], names, severity, progress)

    known = Dataset.of(pixels, label, attribute, **info)
    test = Dataset.of(test_pixels, test_label, test_attribute, **info)
    return splits(known, train, valid, test, noise, seed)


# --- the corrupted images, made once ----------------------------------------------------------------------------------


def _corrupted(
    place: Path,
    rows: Tensor,
    attribute: Tensor,
    names: Sequence[str],
    severity: int,
    progress: Progress | None,
) -> Tensor:
    """The images of these numbers with these corruptions, from the cache: ``(n, 3, 32, 32)``.

    They are memory-mapped; a change to them stays in this process and does not reach the cache.
    """

    def fill(folder: Path) -> None:
        from joblib import Parallel, delayed

        images, _ = read_batches(place)
        chunks = [chunk.numpy() for chunk in rows.split(CHUNK)]
        words = [[names[value] for value in chunk.tolist()] for chunk in attribute.split(CHUNK)]
        work: Any = Parallel(n_jobs=-1 if len(chunks) > 1 else 1, return_as="generator")(
            delayed(corrupt)(images[chunk], word, severity, chunk) for chunk, word in zip(chunks, words, strict=True)
        )
        with no_worker_lost("free some, and begin the same again."), (folder / "x.npy").open("wb") as file:
            write_header(file, (len(rows), *images.shape[1:]))
            for number, made in enumerate(work, 1):
                file.write(made.data)
                if progress:
                    progress(min(number * CHUNK, len(rows)), len(rows))

    spoilt = [names[value] for value in attribute.tolist()]
    folder = _kept(["corrupted", severity, rows.tolist(), spoilt], fill)
    return torch.from_numpy(np.load(folder / "x.npy", mmap_mode="c"))


def _labels(place: Path) -> tuple[Tensor, Tensor]:
    """Labels of the training and of the test images."""
    folder = _kept(["labels"], lambda folder: np.save(folder / "label.npy", read_batches(place)[1]))
    label = torch.from_numpy(np.load(folder / "label.npy"))
    return label[:-1].flatten(), label[-1]


def _kept(content: Sequence[Any], fill: Callable[[Path], None]) -> Path:
    """The folder of the cache for this content."""
    return cached(key_of(json.dumps([VERSION, "cifar-10", CHECKSUMS, *content])), fill)


# --- the CIFAR-10 files -----------------------------------------------------------------------------------------------


def read_batches(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The six official batches of CIFAR-10, the test batch last.

    Args:
        folder: which holds ``data_batch_1`` … ``data_batch_5`` and ``test_batch``.

    Returns:
        images ``(60000, 3, 32, 32)``; labels ``(6, 10000)``, one row for each batch.

    Raises:
        UserError: when a file is missing, does not have the published md5 checksum, or holds no batch.
    """
    images, labels = zip(*(read_batch(folder / name, SOURCE, CHECKSUMS[name]) for name in CHECKSUMS), strict=True)
    return np.concatenate(images), np.stack(labels)


def read_batch(
    path: Path, source: str, checksum: str, labels: bytes = b"labels"
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """One pickle of CIFAR-10 or CIFAR-100: images ``(n, 3, 32, 32)``, and the labels under that key ``(n,)``.

    Args:
        path: of the file.
        source: where it comes from, for the sentences.
        checksum: its published md5.
        labels: their key in the pickle.

    Raises:
        UserError: when the file is missing, does not have that checksum, or holds no batch.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); it comes from {source}: unpack it there, "
            "or name its folder with folder=… or LONGCUT_DATA."
        ) from error
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != checksum:
        raise UserError(
            f"{path} is damaged: its md5 checksum is {found}, expected {checksum}; unpack it again from {source}."
        )
    try:
        batch = _PlainUnpickler(io.BytesIO(content), encoding="bytes").load()
        images = np.asarray(batch[b"data"], np.uint8).reshape(-1, 3, 32, 32)
        return images, np.array(batch[labels], np.int64)
    except Exception as error:  # a pickle can be wrong in any way, and that is what is to be told
        raise UserError(f"{path} is no batch of CIFAR ({error}); unpack it again from {source}.") from error


class _PlainUnpickler(pickle.Unpickler):
    """Reads arrays and plain Python values; everything else that a pickle asks for is refused before it is called."""

    def find_class(self, module: str, name: str) -> Any:
        if name == "_reconstruct" and module.startswith("numpy."):
            return np.empty(0).__reduce__()[0]  # its home differs between versions of numpy
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


# --- the published archive --------------------------------------------------------------------------------------------


def corrupted_cifar10_png(
    *,
    percent: Percent = "0.5pct",
    folder: Annotated[str | None, Field(description="the unpacked archive, which holds 0.5pct, …, and test")] = None,
    progress: Progress | None = None,
) -> Splits:
    """Corrupted CIFAR-10 as published with DFA: a folder of PNG files.

    The layout is ``<percent>/align/<class>/*.png``, ``<percent>/conflict/<class>/*.png``,
    ``<percent>/valid/<class>/*.png`` and ``test/<class>/*.png``; file names end in ``_<label>_<corruption>.png``.
    Source: Lee et al. 2021, "Learning Debiased Representation via Disentangled Feature Augmentation".

    Args:
        percent: which training and validation set.
        folder: of the unpacked archive; ``$LONGCUT_DATA/cifar10c`` when None, else ``~/.cache/longcut/data/cifar10c``.
        progress: told how many of how many images of a part are decoded.

    Returns:
        uint8 images ``(n, 3, 32, 32)``; the attribute is the corruption.

    Raises:
        UserError: when a folder has no images, or a file's name or content is not as described.

    Example::

        splits = corrupted_cifar10_png(percent="1pct", folder="cifar10c")
    """
    archive = Archive(
        name=spec_of("corrupted-cifar10-png", {"percent": percent}),
        folder=Path(folder) if folder else data_folder("cifar10c"),
        origin=DFA,
        class_names=CLASSES,
        attribute_names=LISTS["type0"],
        bias="corruption",
        size=32,
        fixed=True,
        progress=progress,
    )
    return splits_by_name(
        archive,
        percent,
        valid=[f"{percent}/valid/*/*.png", f"{percent}/valid/*.png"],
        test=["test/*/*.png"],
        counts=f"corrupted-cifar10-png/{percent}",
    )
