"""Data as programs of other papers expect it on disk, and how longcut is to read the very same files.

Each layout is a function of data and an empty folder: it writes, and returns the spec with which longcut reads what was
written. The layouts are those of public descriptions; where these are silent, the docstring says what was assumed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from longcut.data import Dataset, Splits

__all__ = ["LAYOUTS", "parity"]

BIRDS = "waterbird_complete95_forest2water2"
COLUMNS = "image=img_filename,label=y,attribute=place,split=split"


def parts(data: Splits) -> Iterator[tuple[int, str, Dataset]]:
    """Training, validation and test samples, with the numbers that tables give them."""
    for number, name in enumerate(("train", "valid", "test")):
        part = getattr(data, name)
        if part is not None:
            yield number, name, part


def samples(part: Dataset) -> Iterator[tuple[str, Image.Image, int, int, bool]]:
    """Name, image, label, attribute, and whether it contradicts the shortcut."""
    assert part.attribute is not None
    pixels = (255 * part.gather(torch.arange(len(part)))).round().byte().permute(0, 2, 3, 1).numpy()
    columns = part.index.tolist(), part.label.tolist(), part.attribute.tolist(), part.conflicting.tolist()
    for image, who, label, attribute, odd in zip(pixels, *columns, strict=True):
        yield f"{who:06d}", Image.fromarray(image), label, attribute, odd


def pictures(data: Splits, folder: Path, place: Callable[[str, str, int, int, bool], str]) -> pd.DataFrame:
    """Write every sample as a file, at ``place(part, name, label, attribute, conflicting)``; a table of all."""
    rows = []
    for number, name, part in parts(data):
        for who, image, label, attribute, odd in samples(part):
            file = place(name, who, label, attribute, odd)
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            image.save(folder / file)
            rows.append({"img_filename": file, "y": label, "split": number, "place": attribute})
    return pd.DataFrame(rows)


def by_alignment(data: Splits, folder: Path) -> str:
    """DFA and SelecMix: ``cmnist/1pct/{align,conflict}/CLASS``, ``valid`` flat, ``test/CLASS``.

    A file is called ``ID_TARGET_BIAS.png``. The share stands in the folder's name and decides nothing.
    """

    def place(part: str, who: str, label: int, attribute: int, odd: bool) -> str:
        file = f"{who}_{label}_{attribute}.png"
        if part == "train":
            return f"cmnist/1pct/{'conflict' if odd else 'align'}/{label}/{file}"
        return f"cmnist/1pct/valid/{file}" if part == "valid" else f"cmnist/test/{label}/{file}"

    pictures(data, folder, place).to_csv(folder / "files.csv", index=False)
    return f"{folder / 'files.csv'}:{COLUMNS}"


def arrays(data: Splits, folder: Path) -> str:
    """LfF: ``images.npy`` uint8 (n, H, W, C) and ``attrs.npy`` (target, bias) for ``train`` and ``valid``.

    Its ``valid`` is the test set. Longcut reads the same pixels from one archive beside them.
    """
    every: dict[str, list[np.ndarray]] = {"x": [], "label": [], "attribute": [], "split": []}
    for number, name, part in parts(data):
        found = list(samples(part))
        images = np.stack([np.asarray(image) for _, image, *_ in found])
        told = np.array([[label, attribute] for _, _, label, attribute, _ in found])
        if name != "valid":
            own = folder / "ColoredMNIST-Skewed0.01-Severity4" / {"train": "train", "test": "valid"}[name]
            own.mkdir(parents=True)
            np.save(own / "images.npy", images)
            np.save(own / "attrs.npy", told)
        columns = images.transpose(0, 3, 1, 2), told[:, 0], told[:, 1], np.full(len(told), number)
        for column, values in zip(every, columns, strict=True):
            every[column].append(values)
    joined: dict[str, Any] = {name: np.concatenate(values) for name, values in every.items()}
    np.savez(folder / "same.npz", **joined)
    return f"{folder / 'same.npz'}:attribute=attribute,split=split"


def birds(data: Splits, folder: Path, *, root: str = BIRDS, numbered: bool = False) -> str:
    """group_DRO and DFR: a folder of classes and ``metadata.csv``; binary label ``y`` and ``place``.

    With ``numbered`` the table has a column without a name in front, which JTT asks for as ``Unnamed: 0``.
    """
    own = folder / root
    table = pictures(data, own, lambda part, who, label, attribute, odd: f"{label + 1:03d}.class{label}/{who}.png")
    table.insert(0, "img_id", range(1, len(table) + 1))
    table["place_filename"] = "none.jpg"
    table.to_csv(own / "metadata.csv", index=numbered)
    return f"{own / 'metadata.csv'}:{COLUMNS}"


def jtt(data: Splits, folder: Path) -> str:
    """JTT: that of group_DRO, with its rows numbered."""
    return birds(data, folder, numbered=True)


def wilds(data: Splits, folder: Path) -> str:
    """SpuCo, through WILDS: the same table in ``waterbirds_v1.0``, beside the file that says the version."""
    spec = birds(data, folder, root="waterbirds_v1.0")
    (folder / "waterbirds_v1.0" / "RELEASE_v1.0.txt").write_text("")
    return spec


def subpopbench(data: Splits, folder: Path) -> str:
    """SubpopBench: images below ``waterbirds/``, and ``metadata_waterbirds.csv`` with ``id,filename,split,y,a``.

    Assumed: the table lies in ``waterbirds/``, and its file names begin there.
    """
    spec = birds(data, folder / "waterbirds")
    table = pd.read_csv(folder / "waterbirds" / BIRDS / "metadata.csv")
    names = {"img_id": "id", "img_filename": "filename", "split": "split", "y": "y", "place": "a"}
    table = pd.DataFrame({new: table[old] for old, new in names.items()})
    table["filename"] = f"{BIRDS}/" + table["filename"]
    table.to_csv(folder / "waterbirds" / "metadata_waterbirds.csv", index=False)
    return spec


LAYOUTS = {"by_alignment": by_alignment, "arrays": arrays, "birds": birds, "jtt": jtt, "wilds": wilds}
LAYOUTS |= {"subpopbench": subpopbench}


def parity(data: Splits) -> Splits:
    """The same images with two classes and two attribute values, whether each number is odd: what Waterbirds has."""

    def folded(part: Dataset | None) -> Dataset | None:
        if part is None or part.attribute is None or part.info.n_classes == 2:
            return part
        names = {"class_names": ("even", "odd"), "attribute_names": ("even", "odd"), "aligned": (0, 1)}
        info = dataclasses.replace(part.info, n_classes=2, n_attributes=2, **names)  # type: ignore[arg-type]
        return dataclasses.replace(part, label=part.label % 2, attribute=part.attribute % 2, info=info)

    train, valid, test = (folded(part) for part in (data.train, data.valid, data.test))
    assert train is not None and test is not None
    return Splits(train, valid, test)
