"""Tables: a CSV, TSV or Parquet file, or a DataFrame, whose columns are features, paths of images, or text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import numpy as np

from longcut.errors import UserError, unknown
from longcut.sources import TEST, TRAIN, Columns, Source, encode
from longcut.sources import text as tokens
from longcut.sources.frames import NAMELESS, check_names, read_frame
from longcut.sources.parts import MISSING, check_labels, column, draw_parts, number, parts_of, ranges
from longcut.sources.vectors import read_vectors

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from longcut.sources import Progress
    from longcut.sources.options import (
        Attribute,
        AttributeBins,
        Image,
        Label,
        Layer,
        Size,
        Split,
        Task,
        Text,
        Unreadable,
        Vectors,
    )

__all__ = ["Marks", "marks", "read_rows", "read_table"]

TASKS = ("auto", "classification", "regression")


def read_table(
    table: Path | str | pd.DataFrame,
    *,
    label: Label,
    attribute: Attribute = None,
    attribute_bins: AttributeBins = None,
    split: Split = None,
    image: Image = None,
    text: Text = None,
    size: Size = None,
    unreadable: Unreadable = "refuse",
    task: Task = "auto",
    vectors: Vectors = None,
    layer: Layer = None,
    seed: int = 0,
    encoding: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Columns:
    """The rows of a table as numbers.

    Without ``image`` and ``text``, all columns are features, except the label, the split and the attribute; a model is
    judged by the attribute, so it does not see it. Columns that tell nothing are left out too (always the same, always
    missing, a different text in every row, without a name); the encoding says which, and why.
    :mod:`longcut.sources.encode` says how the others become numbers.

    Files are UTF-8 with a line of column names. In CSV, blanks after a comma do not count, and a cell may be quoted. In
    TSV a quotation mark is a character like any other, as in most text corpora, so a cell holds no tab and no line
    break. Empty cells, ``NA``, ``NaN``, ``null``, ``None`` and the like are missing, but a text stays as it is written.
    Rows may be shorter than the header, not longer. The index of a DataFrame is ignored.

    Args:
        table: path of a ``.csv``, ``.tsv`` or ``.parquet`` file, or a DataFrame.
        label: column with the class, or with the number to predict.
        attribute: column with the suspected shortcut; one with more than 12 numbers becomes ranges. Where its cell is
            empty, the attribute is not known, -1.
        attribute_bins: how many ranges, of about as many rows each; then one with fewer numbers is cut, too.
        split: column that says train, valid or test; without, parts are drawn, 60 : 20 : 20 within each class.
        image: column with the paths of images, relative to the folder of the table (of a DataFrame: to here).
        text: column with text, or several joined by ``+``, such as ``premise+hypothesis``.
        size: of the images, in pixels.
        unreadable: whether images that cannot be read are an error, or skipped.
        task: ``"auto"`` takes a label for a number to predict when it has fractions, or more than 50 distinct whole
            numbers, distinct in more than 20 % of the rows.
        vectors, layer: of :func:`longcut.sources.vectors.read_vectors`; then these are the input, as they are.
        seed: of the parts that are drawn.
        encoding: of an earlier reading; then rows become numbers as they did then, the label and the attribute may be
            absent, and all rows are test rows. What is image, text or feature is taken from there.
        progress: is told how many images are decoded, of how many.

    Raises:
        UserError: when the file cannot be read, a column is missing or doubled, or the labels cannot be learned from.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"age": range(20), "sex": ["f", "m"] * 10, "rich": [0, 1, 1, 0] * 5})
    >>> columns = read_table(frame, label="rich", attribute="sex")
    >>> columns.x.shape, columns.source.features, columns.attribute_names
    ((20, 1), ('age',), ('f', 'm'))
    """
    if isinstance(table, str | Path):
        path, where = Path(table), str(table)
        kept = encoding or {}
        verbatim = {image, text, *(text or "").split("+"), kept.get("image"), *kept.get("text", ())}
        rows = read_frame(path, verbatim, kept.get("categorical", ()))
        root = path.parent
    else:
        rows, where, root = table, "table", Path()
    return read_rows(
        rows,
        where=where,
        root=root,
        label=label,
        attribute=attribute,
        attribute_bins=attribute_bins,
        split=split,
        image=image,
        text=text,
        size=size,
        unreadable=unreadable,
        task=task,
        vectors=vectors,
        layer=layer,
        seed=seed,
        encoding=encoding,
        progress=progress,
    )


def read_rows(
    rows: pd.DataFrame,
    *,
    where: str,
    root: Path,
    label: Label,
    attribute: Attribute,
    attribute_bins: AttributeBins = None,
    split: Split,
    image: Image,
    text: Text,
    size: Size,
    squeeze: int | None = None,
    unreadable: Unreadable,
    task: Task = "auto",
    vectors: Vectors = None,
    layer: Layer = None,
    seed: int,
    encoding: Mapping[str, Any] | None,
    progress: Progress | None,
) -> Columns:
    """The rows of a frame as numbers; :func:`read_table` says how.

    Args:
        rows: of the table, with any index.
        where: what the data is called.
        root: the folder that paths of images are relative to.
        label, attribute, attribute_bins, split, image, text, size, unreadable, task, vectors, layer, seed, encoding,
            progress: of :func:`read_table`.
        squeeze: of :func:`longcut.sources.images.decode`.

    Raises:
        UserError: when a column is missing or doubled, or the labels cannot be learned from.
    """
    rows = rows.set_axis([str(name) for name in rows.columns], axis=1).reset_index(drop=True)
    check_names(rows.columns, where)
    if rows.empty:
        raise UserError(f"{where} has no rows; give at least one.")
    if encoding is None:
        texts = () if text is None else (text,) if text in rows.columns else tuple(text.split("+"))
    else:
        image, size, texts = encoding.get("image"), encoding.get("size"), tuple(encoding.get("text", ()))
        squeeze, vectors, layer = (encoding.get(name) for name in ("squeeze", "vectors", "layer"))
    inputs = {"image": image, "text": "+".join(texts) or None, "vectors": vectors}
    said = [f"{what} '{name}'" for what, name in inputs.items() if name is not None]
    if len(said) > 1:
        raise UserError(f"{where}: {' and '.join(said)} are both given; choose one as the input.")
    for what, names in (("image", [image] if image else []), ("text", texts)):
        for name in names:
            column(rows, name, what, where)
    roles = [name for name in (label, attribute, split, image, *texts) if name is not None]
    if doubled := [name for name, count in Counter(roles).items() if count > 1]:
        raise UserError(f"{where}: column '{doubled[0]}' is given two roles; name each column once.")

    given = {"label": label, "attribute": attribute, "split": split}
    how = {"attribute_bins": attribute_bins, "task": task, "seed": seed, "encoding": encoding, "where": where}
    found = marks(rows, **given, **how)
    facts, skipped, vocabulary, encoder = None, (), 0, ""
    if image is not None:
        from longcut.sources.images import decode

        how_cut = {"size": size, "squeeze": squeeze}
        files = _texts(rows, [image])
        images = decode(files, root, **how_cut, unreadable=unreadable, progress=progress, where=where)
        rows = rows.assign(**{image: images.paths})
        if not images.kept.all():
            rows = rows.loc[images.kept].reset_index(drop=True)
            found = marks(rows, **given, **how)
        x, facts, skipped = images.x, images.facts, images.skipped
        how_read = {"kind": "image", "size": size, "shape": list(x.shape[1:]), "image": image}
        if encoding is not None and how_read["shape"] != encoding["shape"]:
            shapes = f"{tuple(x.shape[1:])}, and were {tuple(encoding['shape'])} before"
            raise UserError(f"{where}: images are {shapes}; give images of the same size.")
    elif texts:
        paired = encoding is not None and encoding.get("pairs", False)
        texts_read = [_texts(rows, [name]) for name in texts] if paired else [_texts(rows, texts)]
        how_read = encoding or _fit_text(texts_read, texts, found.part == TRAIN)
        x, vocabulary = tokens.apply(how_read, texts_read)
    elif vectors is not None:
        x, encoder = read_vectors(rows, vectors, root, layer=layer, where=where), rows.attrs.get("encoder", "")
        how_read = encoding or {"kind": "vectors", "vectors": vectors, "layer": layer, "shape": list(x.shape[1:])}
        rows = rows.drop(columns=vectors, errors="ignore")
    else:
        how_read = encoding or _fit_features(rows, roles, found.part == TRAIN, where)
        x = encode.apply(how_read, rows, where=where)
    if encoding is None:
        encoding = {**how_read, **found.names, **given}
    source = Source(
        name=where,
        rows=rows,
        part=found.part,
        official=found.official,
        label=None if found.label is None else label,
        attribute=None if found.attribute is None else attribute,
        split=split if found.official else None,
        image=image,
        root=None if image is None else str(root),
        text=texts,
        features=tuple(encoding.get("features", ())),
        facts=facts,
        encoding=encoding,
        skipped=skipped,
    )
    return Columns(
        x, found.label, found.attribute, found.class_names, found.attribute_names, source, vocabulary, encoder
    )


def _texts(rows: pd.DataFrame, names: Iterable[str]) -> list[str]:
    """The text of each row, the columns joined by a blank; a missing one is empty."""
    cells = (rows[name].astype(object).where(rows[name].notna(), "").map(str) for name in names)
    return [" ".join(row) for row in zip(*cells, strict=True)]


def _fit_text(texts: list[list[str]], names: Iterable[str], train: NDArray[np.bool_]) -> dict[str, Any]:
    seen = [[text for text, kept in zip(column, train, strict=True) if kept] for column in texts]
    return {"kind": "tokens", "text": list(names), **tokens.fit(seen)}


def _fit_features(rows: pd.DataFrame, roles: list[str], train: NDArray[np.bool_], where: str) -> dict[str, Any]:
    nameless = [name for name in rows.columns if name.startswith(NAMELESS) and name not in roles]
    fitted = encode.fit(rows.drop(columns=[*roles, *nameless]), train, where=where)
    return {"kind": "table", **fitted, "left_out": {**dict.fromkeys(nameless, "without a name"), **fitted["left_out"]}}


class Marks(NamedTuple):
    """What is known about each sample besides its input."""

    label: NDArray[Any] | None
    class_names: tuple[str, ...]
    attribute: NDArray[np.int64] | None
    attribute_names: tuple[str, ...]
    part: NDArray[np.int64]
    official: bool
    task: str

    @property
    def names(self) -> dict[str, Any]:
        """The task and the names of classes and attributes, as an encoding keeps them."""
        return {"task": self.task, "classes": list(self.class_names), "attributes": list(self.attribute_names)}


def marks(
    rows: pd.DataFrame,
    *,
    label: Label,
    attribute: Attribute,
    attribute_bins: AttributeBins = None,
    split: Split,
    task: Task = "auto",
    seed: int,
    encoding: Mapping[str, Any] | None,
    where: str,
) -> Marks:
    """Label, attribute and part of each row, as numbers.

    Args:
        rows: index 0…n−1.
        label, attribute, attribute_bins, split, task, seed, encoding: of :func:`read_table`.
        where: what the data is called, for messages.

    Raises:
        UserError: when a column is missing, the labels cannot be learned from, or the attribute cannot be cut.
    """
    if attribute_bins is not None and attribute is None:
        raise UserError(f"{where}: attribute_bins={attribute_bins} cuts an attribute, but none is named; name one.")
    what, attribute_what = f"label '{label}'", f"attribute '{attribute}'"
    if task not in TASKS:
        raise unknown("task", task, TASKS)
    known = encoding or {"task": task, "classes": None, "attributes": None}
    task, labels, classes, class_names = known["task"], None, None, ()
    if encoding is None or (label in rows.columns and bool(rows[label].notna().to_numpy().any())):
        values = column(rows, label, "label", where)
        task = _task_of(values) if task == "auto" else task
        if task == "regression":
            labels = _targets(values, what, where)
        else:
            labels, class_names = number(values, what=what, where=where, names=known["classes"])
            classes = labels
    ids, attribute_names = None, ()
    if attribute is not None and (encoding is None or attribute in rows.columns):
        before = known["attributes"] or None
        values = ranges(column(rows, attribute, "attribute", where), before, bins=attribute_bins, where=where)
        ids, attribute_names = _known(values, attribute_what, where, before)
        if ids is None and encoding is None:
            raise UserError(f"{where}: {attribute_what} is missing in every row; fill in some, or name none.")
    if encoding is not None:
        part = np.full(len(rows), TEST, np.int64)
    elif split is not None:
        part = parts_of(column(rows, split, "split", where), where=where)
    else:
        part = draw_parts(classes, len(rows), seed, where=where, names=class_names)
    if encoding is None and classes is not None:
        check_labels(classes, class_names, part, ids, what=what, attribute_what=attribute_what, where=where)
    return Marks(
        label=labels,
        class_names=tuple(known["classes"] or class_names),
        attribute=ids,
        attribute_names=tuple(attribute_names),
        part=part,
        official=split is not None and encoding is None,
        task=task,
    )


def _known(
    values: pd.Series, what: str, where: str, names: Sequence[str] | None
) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """Ids of an attribute, -1 where it is not known, and their names; None where it is known of nobody."""
    if names is not None and MISSING in names:  # an encoding from before, in which that was a value like others
        return number(values, what=what, where=where, names=names, missing=MISSING)
    known = values.notna().to_numpy()
    if not known.any():
        return None, tuple(names or ())
    found, called = number(cast("pd.Series", values[known]), what=what, where=where, names=names)
    ids = np.full(len(values), -1, np.int64)
    ids[known] = found
    return ids, called


def _task_of(values: pd.Series) -> Literal["classification", "regression"]:
    if values.dtype.kind not in "iuf":
        return "classification"
    numbers = values.dropna().to_numpy(np.float64)
    if not (np.isfinite(numbers) & (numbers == np.floor(numbers))).all():
        return "regression"
    distinct = len(np.unique(numbers))
    return "regression" if distinct > 50 and distinct > 0.2 * len(numbers) else "classification"


def _targets(values: pd.Series, what: str, where: str) -> NDArray[np.float32]:
    import pandas as pd

    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
        numbers: Any = pd.to_numeric(values, errors="coerce")
        targets = numbers.to_numpy(np.float64, na_value=np.nan).astype(np.float32)
    if not (finite := np.isfinite(targets)).all():
        row = int(finite.argmin())
        raise UserError(
            f"{where}: {what} is '{values.iloc[row]}' in row {row + 1}, and regression needs finite numbers; "
            "correct it, leave the row out, or choose task='classification'."
        )
    return targets
