"""Corrupted CIFAR-10: photographs whose corruption gives the label away, except in a few training images.

Made here from the official CIFAR-10 files, once, and kept in the cache.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from longcut.data import Dataset, Splits, generator, label_noise
from longcut.datasets import data_folder, spec_of
from longcut.datasets.colored_mnist import class_rank, recolor
from longcut.datasets.corruptions import corrupt
from longcut.errors import UserError
from longcut.sources.images import cache_folder

__all__ = ["CLASSES", "LISTS", "corrupted_cifar10", "read_batches"]

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
    ratio: Annotated[
        float,
        Field(ge=0, le=0.9, description="share of training images whose corruption contradicts the label; 0.9 is none"),
    ] = 0.005,
    corruptions: Annotated[
        Literal["type0", "type1", "text"],
        Field(description="type0: as published; type1: LfF's other ten; text: the ten that papers name"),
    ] = "type0",
    severity: Annotated[int, Field(ge=1, le=5, description="of the corruptions; 5 is strongest, as published")] = 5,
    noise: Annotated[float, Field(ge=0, le=0.9, description="share of training labels replaced by another one")] = 0.0,
    folder: Annotated[str | None, Field(description="the unpacked folder cifar-10-batches-py")] = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
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
        "n_classes": 10,
        "n_attributes": 10,
        "class_names": CLASSES,
        "attribute_names": names,
        "aligned": tuple(range(10)),
    }
    label, test_label = _labels(place)
    test_attribute = class_rank(test_label) % 10
    # the test set, and training images as if none conflicted: what all ratios and seeds have in common
    own = torch.cat([label, test_attribute])
    pixels, test_pixels = _corrupted(place, torch.arange(len(own)), own, names, severity, progress).split(
        [len(label), len(test_label)]
    )

    draw = generator(seed)
    n = len(label) * 9 // 10
    n_aligned, n_conflicting = PUBLISHED_COUNTS.get(ratio, (n - round(ratio * n), round(ratio * n)))
    train, valid = torch.randperm(len(label), generator=draw).tensor_split([n_aligned + n_conflicting])
    # both are in random order already, so their first rows are a random choice
    conflicting = torch.cat([train[:n_conflicting], valid[: round(n_conflicting * len(valid) / len(train))]])
    attribute = recolor(label, conflicting, draw)
    if len(conflicting):
        rows = conflicting.sort().values
        pixels[rows] = _corrupted(place, rows, attribute[rows], names, severity, progress)

    known = Dataset.of(pixels, label, attribute, **info)
    learn = label_noise(known.take(train.sort().values), noise, generator(seed, 2))
    test = Dataset.of(test_pixels, test_label, test_attribute, **info)
    return Splits(learn, known.take(valid.sort().values), test)


# --- the corrupted images, made once ----------------------------------------------------------------------------------


def _corrupted(
    place: Path,
    rows: Tensor,
    attribute: Tensor,
    names: Sequence[str],
    severity: int,
    progress: Callable[[int, int], None] | None,
) -> Tensor:
    """The images of these numbers with these corruptions, from the cache: ``(n, 3, 32, 32)``.

    They are mapped, copy on write: what is written to them stays in this process.
    """

    def fill(folder: Path) -> None:
        from joblib import Parallel, delayed

        images, _ = read_batches(place)
        chunks = [chunk.numpy() for chunk in rows.split(CHUNK)]
        words = [[names[value] for value in chunk.tolist()] for chunk in attribute.split(CHUNK)]
        work: Any = Parallel(n_jobs=-1 if len(chunks) > 1 else 1, return_as="generator")(
            delayed(corrupt)(images[chunk], word, severity, chunk) for chunk, word in zip(chunks, words, strict=True)
        )
        with (folder / "x.npy").open("wb") as file:
            shape = (len(rows), *images.shape[1:])
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
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
    """The folder of the cache for this content; ``fill`` makes it, whole or not at all.

    Of two processes, the second waits and finds it made.
    """
    from filelock import FileLock

    key = hashlib.sha256(json.dumps([VERSION, "cifar-10", CHECKSUMS, *content]).encode()).hexdigest()[:32]
    folder = cache_folder(key)
    unfinished = folder.with_suffix(".unfinished")
    if folder.exists():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if not folder.exists():
                shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed
                try:
                    unfinished.mkdir()
                    fill(unfinished)
                    unfinished.rename(folder)
                finally:
                    shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"{folder.parent}: cannot store images here ({error.strerror or error}); "
            "set LONGCUT_CACHE to another folder."
        ) from error
    return folder


# --- the CIFAR-10 files -----------------------------------------------------------------------------------------------


def read_batches(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The six official batches of CIFAR-10, the test batch last.

    Args:
        folder: which holds ``data_batch_1`` … ``data_batch_5`` and ``test_batch``.

    Returns:
        images ``(60000, 3, 32, 32)``; labels ``(6, 10000)``, one row for each batch.

    Raises:
        UserError: when a file is missing, has not the published md5 checksum, or holds what is no batch.
    """
    images, labels = zip(*(_batch(folder / name) for name in CHECKSUMS), strict=True)
    return np.concatenate(images), np.stack(labels)


def _batch(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); it comes from {SOURCE}: unpack it there, "
            "or name its folder with folder=… or LONGCUT_DATA."
        ) from error
    found, expected = hashlib.md5(content, usedforsecurity=False).hexdigest(), CHECKSUMS[path.name]
    if found != expected:
        raise UserError(
            f"{path} is damaged: its md5 checksum is {found}, expected {expected}; unpack it again from {SOURCE}."
        )
    try:
        batch = _PlainUnpickler(io.BytesIO(content), encoding="bytes").load()
        images = np.asarray(batch[b"data"], np.uint8).reshape(-1, 3, 32, 32)
        return images, np.array(batch[b"labels"], np.int64)
    except Exception as error:  # a pickle can be wrong in any way, and that is what is to be told
        raise UserError(f"{path} is no batch of CIFAR-10 ({error}); unpack it again from {SOURCE}.") from error


class _PlainUnpickler(pickle.Unpickler):
    """Of arrays and what Python has literals for; whatever else a pickle asks for is refused, and so not called."""

    def find_class(self, module: str, name: str) -> Any:
        if name == "_reconstruct" and module.startswith("numpy."):
            return np.empty(0).__reduce__()[0]  # its home differs between versions of numpy
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")
