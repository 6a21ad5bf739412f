"""Colored MNIST: digits whose colour gives the label away, except in a few training images.

Three ways to get it: two published recipes, made here from the original MNIST files
(:func:`colored_mnist`), and the published PNG archive (:func:`colored_mnist_png`).
"""

from __future__ import annotations

import gzip
import hashlib
import os
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.request import urlopen

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from longcut.data import Dataset, Splits, generator, label_noise, ranks
from longcut.datasets import data_folder, spec_of
from longcut.datasets.archives import DFA, Archive, Percent, splits_by_name
from longcut.datasets.planted import COLORS, TEN, Noise, Ratio, plant, splits
from longcut.errors import UserError
from longcut.sources import Progress

__all__ = ["colored_mnist", "colored_mnist_png", "mnist_files"]

THRESHOLD = 100  # brighter pixels take the colour, the others stay grey
PUBLISHED_CONFLICTS = {0.005: 249, 0.01: 491, 0.02: 986, 0.05: 2449}

LFF_COLORS = (
    (0.983682, 0.312519, 0.168575),
    (0.990530, 0.915605, 0.351512),
    (0.672964, 0.461070, 0.579808),
    (0.783252, 0.831556, 0.601329),
    (0.088016, 0.777963, 0.981808),
    (0.321393, 0.961055, 0.446450),
    (0.024616, 0.235650, 0.758666),
    (0.555247, 0.101580, 0.761763),
    (0.207723, 0.392949, 0.018702),
    (0.833658, 0.202409, 0.266943),
)
LFF_NOISE = (0.05, 0.02, 0.01, 0.005, 0.002)  # standard deviation of the colour at severity 1…5

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
CHECKSUMS = {
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}


def colored_mnist(
    *,
    ratio: Ratio = 0.005,
    recipe: Annotated[
        Literal["dfa", "lff"], Field(description="dfa: ten saturated colours; lff: ten mean colours with noise")
    ] = "dfa",
    severity: Annotated[int, Field(ge=1, le=5, description="for lff, 5 has the least noise in the colour")] = 4,
    noise: Noise = 0.0,
    folder: Annotated[str | None, Field(description="where the four MNIST files are, or are downloaded to")] = None,
    seed: int = 0,
) -> Splits:
    """Colored MNIST of any ratio, made from the original MNIST files.

    The two recipes are different benchmarks; their numbers cannot be compared.

    ``dfa`` (Lee et al. 2021, "Learning Debiased Representation via Disentangled Feature Augmentation"; SelecMix uses
    it): pixels brighter than 100 become exactly the colour, the others stay grey. 55,000 training and 5,000 validation
    images, drawn by ``seed``, with the same share of conflicting images, whose colour is uniform over the other nine.
    At ratios 0.005, 0.01, 0.02 and 0.05 the training set has the published 249, 491, 986 and 2,449 conflicting images.
    The 10,000 test images have a uniform colour.

    ``lff`` (Nam et al. 2020, "Learning from Failure"): grey level times a noisy mean colour. All 60,000 images train,
    there is no validation set, attributes are given out in data order (``seed`` draws the noise only), and a tenth of
    the test set is aligned.

    Args:
        ratio: 0…0.9; at 0.9 the colour is uniform whatever the label, so there is no shortcut.
        recipe: see above.
        severity: 1…5, noise of standard deviation 0.05, 0.02, 0.01, 0.005, 0.002 per image and channel (``lff`` only).
        noise: 0…0.9; each training label is replaced with this probability, by another one drawn uniformly. The
            images, the validation and the test labels stay as they are.
        folder: of the MNIST ``.gz`` files; when None, ``$LONGCUT_DATA/mnist``, else ``~/.cache/longcut/data/mnist``.
            Missing files are downloaded.
        seed: of the split, the colours and both kinds of noise.

    Returns:
        uint8 images ``(n, 3, 28, 28)``; the attribute is the colour. Training and validation share their storage,
        so that ``index`` is the number of the image in MNIST.

    Raises:
        UserError: when an option is not allowed, or a file cannot be had or is damaged.

    Example::

        splits = colored_mnist(ratio=0.005)
        splits.train.conflicting.sum()  # tensor(249)
    """
    if recipe == "dfa" and severity != 4:
        raise UserError(f"severity={severity} belongs to recipe=lff, and recipe=dfa has no noise; leave severity out.")
    name = spec_of("colored-mnist", {"ratio": ratio, "recipe": recipe, "severity": severity, "noise": noise})
    place = Path(folder) if folder else data_folder("mnist")
    images, label, test_images, test_label = mnist_files(place)
    info: dict[str, Any] = {"name": name, **TEN}
    if recipe == "lff":
        sigma = LFF_NOISE[severity - 1]
        train, test = (
            Dataset.of(_lff_paint(grey, attribute, sigma, generator(seed, part)), labels, attribute, **info)
            for part, grey, labels, attribute in (
                (0, images, label, _quotas(label, ratio)),
                (1, test_images, test_label, _quotas(test_label, 0.9)),
            )
        )
        return Splits(label_noise(train, noise, generator(seed, 2)), None, test)

    draw = generator(seed)
    info["attribute_names"] = tuple(COLORS)
    valid_rows, train_rows = torch.randperm(len(label), generator=draw).tensor_split([len(label) // 12])
    count = PUBLISHED_CONFLICTS.get(ratio, round(ratio * len(train_rows)))
    valid_count = round(count * len(valid_rows) / len(train_rows))
    attribute = plant(label, [(train_rows, count), (valid_rows, valid_count)], draw)
    known = Dataset.of(_dfa_paint(images, attribute), label, attribute, **info)
    test_attribute = torch.randint(10, test_label.shape, generator=draw)
    test = Dataset.of(_dfa_paint(test_images, test_attribute), test_label, test_attribute, **info)
    return splits(known, train_rows, valid_rows, test, noise, seed)


def _quotas(label: Tensor, ratio: float) -> Tensor:
    """Attributes in index order inside each class, by rounded cumulative quotas: no chance involved."""
    share = torch.full((10, 10), ratio / 9, dtype=torch.float64).fill_diagonal_(1 - ratio)
    bounds = (label.bincount(minlength=10)[:, None] * share.cumsum(1)).round()
    return (ranks(label)[:, None] >= bounds[label]).sum(1)


def _dfa_paint(grey: Tensor, attribute: Tensor) -> Tensor:
    color = torch.tensor(list(COLORS.values()), dtype=torch.uint8)[attribute]
    return torch.where(grey[:, None] > THRESHOLD, color[:, :, None, None], grey[:, None])


def _lff_paint(grey: Tensor, attribute: Tensor, sigma: float, draw: torch.Generator) -> Tensor:
    mean = torch.tensor(LFF_COLORS)[attribute]
    color = (mean + sigma * torch.randn(mean.shape, generator=draw)).clamp(0, 1)
    painted = torch.empty(len(grey), 3, *grey.shape[1:], dtype=torch.uint8)
    for channel in range(3):  # one channel at a time: a third of the memory; the conversion to uint8 truncates
        painted[:, channel] = (color[:, channel, None, None] * grey).to(torch.uint8)
    return painted


# --- the MNIST files --------------------------------------------------------------------------------------------------


def mnist_files(folder: Path) -> tuple[Tensor, ...]:
    """Training images ``(n, 28, 28)`` and labels, test images and labels, of checked files that are fetched if missing.

    Raises:
        UserError: when a file cannot be had or is damaged.
    """
    return tuple(_idx(folder, file) for file in CHECKSUMS)


def _idx(folder: Path, name: str) -> Tensor:
    """One checked MNIST file: images ``(n, 28, 28)`` uint8 or labels ``(n,)`` int64."""
    path = folder / name
    packed = path.read_bytes() if path.exists() else _download(path)
    if (found := _md5(packed)) != CHECKSUMS[name]:
        raise UserError(
            f"{path} is damaged: its md5 checksum is {found}, expected {CHECKSUMS[name]}; delete it and try again."
        )
    values = gzip.decompress(packed)
    if "labels" in name:
        return torch.from_numpy(np.frombuffer(values, np.uint8, offset=8).astype(np.int64))
    return torch.from_numpy(np.frombuffer(values, np.uint8, offset=16).reshape(-1, 28, 28).copy())


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _download(path: Path) -> bytes:
    """The file from the first mirror that has it intact, also written to ``path``."""
    problems = []
    for mirror in MIRRORS:
        try:
            with urlopen(mirror + path.name, timeout=60) as answer:
                content = answer.read()
        except OSError as error:
            problems.append(f"{mirror}: {error}")
            continue
        if _md5(content) != CHECKSUMS[path.name]:
            problems.append(f"{mirror}: wrong checksum")
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            part.write_bytes(content)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
        return content
    raise UserError(
        f"{path} does not exist and could not be downloaded ({'; '.join(problems)}); put the four MNIST files "
        f"({', '.join(CHECKSUMS)}) into {path.parent}, or name their folder with folder=… or LONGCUT_DATA."
    )


# --- the published archive --------------------------------------------------------------------------------------------


def colored_mnist_png(
    *,
    percent: Percent = "0.5pct",
    folder: Annotated[str | None, Field(description="the unpacked archive, which holds 0.5pct, …, and test")] = None,
    progress: Progress | None = None,
) -> Splits:
    """Colored MNIST as published with DFA: a folder of PNG files.

    The layout is ``<percent>/align/<class>/*.png``, ``<percent>/conflict/<class>/*.png``, ``<percent>/valid/*.png`` and
    ``test/<class>/*.png``; file names end in ``_<label>_<colour>.png``. Files are read in sorted order, aligned before
    conflicting ones.

    Args:
        percent: which training and validation set.
        folder: of the unpacked archive; ``$LONGCUT_DATA/cmnist`` when None, else ``~/.cache/longcut/data/cmnist``.
        progress: told how many of how many images of a part are decoded.

    Returns:
        uint8 images ``(n, 3, 28, 28)``; the attribute is the colour.

    Raises:
        UserError: when a folder has no images, or a file's name or content is not as described.

    Example::

        splits = colored_mnist_png(percent="1pct", folder="cmnist")
    """
    archive = Archive(
        name=spec_of("colored-mnist-png", {"percent": percent}),
        folder=Path(folder) if folder else data_folder("cmnist"),
        origin=DFA,
        class_names=tuple(map(str, range(10))),
        attribute_names=tuple(COLORS),
        bias="colour",
        size=28,
        fixed=True,
        progress=progress,
    )
    return splits_by_name(archive, percent, valid=[f"{percent}/valid/*.png"], test=["test/*/*.png"])
