"""Features in a file of their own, for other programs and for this one to read again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from longcut.data import Dataset, Splits
from longcut.errors import UserError
from longcut.files import replacing, write_csv

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["FORMATS", "check", "reading", "write_features"]

Columns = dict[str, "NDArray[Any]"]

PARTS = ("train", "valid", "test")


def write_features(splits: Splits, path: Path | str) -> Path:
    """Write features with what is known of each sample: ``label``, ``attribute``, ``split`` and ``path`` of the image.

    Samples stand in the order of the data, where its parts share it, else the parts one after the other. Classes and
    attributes are written by their names; in ``.safetensors``, which holds no text, by their numbers, and parts as 0, 1
    and 2. Which net made the features is written too, except beside a ``.npy`` file.

    Args:
        splits: of features, as the data set ``embedded`` makes them.
        path: ``.npz``, ``.parquet``, ``.safetensors``, or ``.npy``, beside which a table of the same name is written.

    Raises:
        UserError: for another kind of file, or one that cannot be written.
    """
    path = Path(path)
    check(path)
    parts = [part for part in (splits.train, splits.valid, splits.test) if part is not None]
    number = [0, 1, 2] if splits.valid is not None else [0, 2]
    of = np.repeat(number, [len(part) for part in parts])
    order = np.arange(len(of))
    if all(part.x is splits.train.x for part in parts):
        order = torch.cat([part.index for part in parts]).numpy().argsort()
    told = [_columns(part) for part in parts]
    columns = {name: np.concatenate([one[name] for one in told])[order] for name in told[0]} | {"split": of[order]}
    if path.suffix.lower() != ".safetensors":
        names = {"label": splits.info.class_names, "attribute": splits.info.attribute_names, "split": PARTS}
        numbers = {name: values for name, values in columns.items() if values.dtype.kind == "i"}
        columns |= {name: np.array(names[name])[values] for name, values in numbers.items()}
    x = torch.cat([part.gather(torch.arange(len(part))) for part in parts]).numpy()[order]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        FORMATS[path.suffix.lower()](path, x, columns, splits.info.encoder)
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}); choose another place.") from error
    return path


def check(path: Path) -> None:
    """Refuse a kind of file that features are not written to.

    Raises:
        UserError: in this case.
    """
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"features are written to {', '.join(FORMATS)}, and {path} is none of these; rename it.")


def reading(path: Path, splits: Splits) -> str:
    """What to type for data that :func:`write_features` wrote.

    >>> reading(Path("f.npz"), Splits(data := Dataset.of(torch.rand(2, 3), [0, 1]), None, data))
    'f.npz --split split'
    """
    attribute = " --attribute attribute" if splits.info.n_attributes else ""
    vectors = {".npy": f" --label label --vectors {path.name}", ".parquet": " --label label --vectors features"}
    table = path.with_suffix(".csv") if path.suffix.lower() == ".npy" else path
    return f"{table}{vectors.get(path.suffix.lower(), '')}{attribute} --split split"


def _columns(part: Dataset) -> Columns:
    """What is known of the samples, in their order: numbers of classes and attributes, targets, and paths."""
    found = {"label": part.label.numpy()}
    if part.info.task == "regression" and part.label.shape[1] == 1:
        found["label"] = found["label"][:, 0]
    if part.attribute is not None:
        found["attribute"] = part.attribute.numpy()
    if part.source is not None and part.source.image is not None:
        found["path"] = part.source.rows[part.source.image].to_numpy(str)[part.index.numpy()]
    return found


def _npz(path: Path, x: NDArray[Any], columns: Columns, encoder: str) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, x=x, **columns, encoder=np.array(encoder))  # type: ignore[arg-type]


def _npy(path: Path, x: NDArray[Any], columns: Columns, encoder: str) -> None:
    frame = _frame(path, columns)
    with replacing(path.with_suffix(".csv")) as temporary:
        write_csv(frame, temporary)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, x)


def _parquet(path: Path, x: NDArray[Any], columns: Columns, encoder: str) -> None:
    frame = _frame(path, columns)
    frame["features"] = list(x)
    frame.attrs["encoder"] = encoder
    try:
        with replacing(path) as temporary:
            frame.to_parquet(temporary, index=False)
    except ImportError as error:
        raise UserError(f'{path}: Parquet files need a further package; pip install "longcut[parquet]".') from error


def _safetensors(path: Path, x: NDArray[Any], columns: Columns, encoder: str) -> None:
    from safetensors.numpy import save_file

    numbers = {name: np.ascontiguousarray(values) for name, values in columns.items() if values.dtype.kind in "if"}
    with replacing(path) as temporary:
        save_file({"x": np.ascontiguousarray(x), **numbers}, temporary, {"encoder": encoder})


def _frame(path: Path, columns: Columns) -> pd.DataFrame:
    import pandas as pd

    if columns["label"].ndim > 1:
        raise UserError(f"{path}: a table holds one target of each sample, and here are several; write an .npz file.")
    return pd.DataFrame(columns)


FORMATS: dict[str, Callable[[Path, NDArray[Any], Columns, str], None]] = {
    ".npz": _npz,
    ".npy": _npy,
    ".parquet": _parquet,
    ".safetensors": _safetensors,
}
