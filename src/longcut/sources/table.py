"""Tables: a CSV, TSV or Parquet file, or a DataFrame, whose columns are features, paths of images, or text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longcut.errors import UserError
from longcut.sources import TRAIN, Columns, Source, encode
from longcut.sources import text as tokens
from longcut.sources.frames import Table, open_table
from longcut.sources.header import NAMELESS, Form
from longcut.sources.marks import marks
from longcut.sources.parts import column
from longcut.sources.rows import TOLD, Chosen, Rows, rows_of, tell
from longcut.sources.vectors import read_vectors

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from longcut.sources import Progress
    from longcut.sources.images import Images
    from longcut.sources.options import (
        Attribute,
        AttributeBins,
        Categorical,
        Charset,
        Drop,
        Image,
        Inputs,
        Keep,
        Label,
        Layer,
        Names,
        Numeric,
        OptionalParts,
        Separator,
        Size,
        Skip,
        Split,
        Task,
        Text,
        Unreadable,
        Vectors,
    )

__all__ = ["read_rows", "read_table"]

ANY = Chosen()


def read_table(
    table: Path | str | pd.DataFrame,
    *,
    label: Label,
    attribute: Attribute = None,
    attribute_bins: AttributeBins = None,
    split: Split = None,
    parts: OptionalParts = None,
    image: Image = None,
    text: Text = None,
    size: Size = None,
    unreadable: Unreadable = "refuse",
    task: Task = "auto",
    vectors: Vectors = None,
    layer: Layer = None,
    columns: Inputs = None,
    drop: Drop = None,
    categorical: Categorical = None,
    numeric: Numeric = None,
    keep: Keep = None,
    separator: Separator = None,
    charset: Charset = None,
    names: Names = None,
    skip: Skip = 0,
    seed: int = 0,
    encoding: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Columns:
    """The rows of a table as numbers.

    Without ``image`` and ``text``, all columns are features, except the label, the split and the attribute; a model is
    judged by the attribute, so it does not see it. Columns that tell nothing are left out too (always the same, always
    missing, a different text in every row, without a name); the encoding says which, and why.
    :mod:`longcut.sources.encode` says how the others become numbers.

    Text files are UTF-8 with a line of column names, if nothing else is said. In CSV, blanks after a comma do not
    count, and a cell may be quoted. In TSV a quotation mark is a character like any other, as in most text corpora,
    unless every cell of a column stands in them, and a cell holds no tab and no line break. Empty cells, ``NA``,
    ``NaN``, ``null``, ``None`` and the like are missing, but a text stays as it is written. Rows may be shorter than
    the header, not longer. The index of a DataFrame is ignored. What a column holds is told from its cells
    (:mod:`longcut.sources.kinds`); where they are taken for
    something else than they say, there is a warning, and it stays in the notes of the source.

    Args:
        table: path of a text file with separators (``.csv``, ``.tsv``, ``.txt``, ``.data`` and the like), of
            ``.parquet``, ``.jsonl``, ``.json`` or ``.xlsx``; of text also packed, ``.gz``; or a DataFrame.
        label: column with the class, or with the number to predict.
        attribute: column with the suspected shortcut; one with more than 12 numbers becomes ranges. Where its cell is
            empty, the attribute is not known, -1.
        attribute_bins: how many ranges, of about as many rows each; then one with fewer numbers is cut, too.
        split: column that says train, valid or test; without, parts are drawn within each class.
        parts: per cent that train, validate and test, of those that are drawn; None: ``60/20/20``.
        image: column with the paths of images, relative to the folder of the table (of a DataFrame: to here).
        text: column with text, or several joined by ``+``, such as ``premise+hypothesis``.
        size: of the images, in pixels.
        unreadable: whether images that cannot be read are an error, or skipped.
        task: ``"auto"`` takes a label for a number to predict when it has fractions, or more than 50 distinct whole
            numbers, distinct in more than 20 % of the rows.
        vectors, layer: of :func:`longcut.sources.vectors.read_vectors`; then these are the input, as they are.
        columns: that are the input, several joined by commas or ``+``; without, all that have no other use.
        drop: columns that are left out, as if they were not there.
        categorical, numeric: columns of which it is not told from their cells what they hold.
        keep: texts that are values, although they usually stand for a missing one, such as ``NA``.
        separator: of a text file, a character or ``comma``, ``semicolon``, ``tab``, ``pipe``, ``space``; without, it is
            told from the first lines.
        charset: of a text file, such as ``latin-1``.
        names: of the columns of a text file without a line of them.
        skip: lines of a text file above the names, or above the first row.
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
    if isinstance(encoding, str):
        raise UserError(f"encoding is that of an earlier reading; give charset='{encoding}' for that of the file.")
    if isinstance(table, str | Path):
        path, where, root = Path(table), str(table), Path(table).parent
        form = {"separator": separator, "charset": charset, "names": names, "skip": skip or None}
        form = (encoding or {}).get("form", {}) | {key: value for key, value in form.items() if value is not None}
        rows: Table | pd.DataFrame = open_table(path, Form(**form))
    else:
        rows, where, root, form = table, "table", Path(), {}
    found = read_rows(
        rows,
        where=where,
        root=root,
        label=label,
        attribute=attribute,
        attribute_bins=attribute_bins,
        split=split,
        parts=parts,
        image=image,
        text=text,
        size=size,
        unreadable=unreadable,
        task=task,
        vectors=vectors,
        layer=layer,
        chosen=Chosen(columns, drop, categorical, numeric, keep),
        seed=seed,
        encoding=encoding,
        progress=progress,
    )
    if encoding is None and form:
        found.source.encoding["form"] = form  # type: ignore[index]
    return found


def read_rows(
    rows: pd.DataFrame | Table,
    *,
    where: str,
    root: Path,
    label: Label,
    attribute: Attribute,
    attribute_bins: AttributeBins = None,
    split: Split,
    parts: OptionalParts = None,
    image: Image,
    text: Text,
    size: Size,
    squeeze: int | None = None,
    unreadable: Unreadable,
    task: Task = "auto",
    vectors: Vectors = None,
    layer: Layer = None,
    chosen: Chosen = ANY,
    seed: int,
    encoding: Mapping[str, Any] | None,
    progress: Progress | None,
    images: Images | None = None,
) -> Columns:
    """The rows of a frame as numbers; :func:`read_table` says how.

    Args:
        rows: of the table, with any index; or a file that was opened.
        where: what the data is called.
        root: the folder that paths of images are relative to.
        label, attribute, attribute_bins, split, parts, image, text, size, unreadable, task, vectors, layer, seed,
            encoding, progress: of :func:`read_table`.
        squeeze: of :func:`longcut.sources.images.decode`.
        chosen: what was said about the columns.
        images: of all rows, where they are decoded already.

    Raises:
        UserError: when a column is missing or doubled, or the labels cannot be learned from.
    """
    if not isinstance(rows, Table):
        given = [rows.set_axis(range(rows.shape[1]), axis=1)]
        opened = Table(
            [str(name) for name in rows.columns],
            iter(given),
            typed=True,
            attrs={str(key): value for key, value in rows.attrs.items()},
        )
    else:
        opened = rows
    if encoding is None:
        texts = () if text is None else (text,) if text in opened.names else tuple(text.split("+"))
    else:
        image, size, texts = encoding.get("image"), encoding.get("size"), tuple(encoding.get("text", ()))
        squeeze, vectors, layer = (encoding.get(name) for name in ("squeeze", "vectors", "layer"))
    inputs = {"image": image, "text": "+".join(texts) or None, "vectors": vectors}
    said = [f"{what} '{name}'" for what, name in inputs.items() if name is not None]
    if len(said) > 1:
        raise UserError(f"{where}: {' and '.join(said)} are both given; choose one as the input.")
    if said and chosen.columns is not None:
        raise UserError(f"{where}: {said[0]} is the input, so columns='{chosen.columns}' are not; leave them out.")
    read = rows_of(
        opened,
        label=label,
        attribute=attribute,
        verbatim=(image, vectors, *texts),
        task=(encoding or {"task": task})["task"],
        chosen=chosen,
        encoding=encoding,
        where=where,
    )
    tell(read.notes, where)
    frame = read.frame
    if frame.empty:
        raise UserError(f"{where} has no rows; give at least one.")
    for what, names in (("image", [image] if image else []), ("text", texts)):
        for name in names:
            column(frame, name, what, where)
    roles = [name for name in (label, attribute, split, image, *texts) if name is not None]
    if doubled := [name for name, count in Counter(roles).items() if count > 1]:
        raise UserError(f"{where}: column '{doubled[0]}' is given two roles; name each column once.")

    given = {"label": label, "attribute": attribute, "split": split}
    how = {"attribute_bins": attribute_bins, "parts": parts, "task": task, "seed": seed}
    how |= {"encoding": encoding, "where": where}
    found = marks(frame, **given, **how)
    facts, skipped, vocabulary, encoder = None, (), 0, ""
    if image is not None:
        if images is None:
            from longcut.sources.images import decode

            how_cut = {"size": size, "squeeze": squeeze}
            files = _texts(frame, [image])
            images = decode(files, root, **how_cut, unreadable=unreadable, progress=progress, where=where)
        frame = frame.assign(**{image: images.paths})
        if not images.kept.all():
            frame = frame.loc[images.kept].reset_index(drop=True)
            found = marks(frame, **given, **how)
        x, facts, skipped = images.x, images.facts, images.skipped
        how_read = {"kind": "image", "size": size, "shape": list(x.shape[1:]), "image": image}
        if encoding is not None and how_read["shape"] != encoding["shape"]:
            shapes = f"{tuple(x.shape[1:])}, and were {tuple(encoding['shape'])} before"
            raise UserError(f"{where}: images are {shapes}; give images of the same size.")
    elif texts:
        paired = encoding is not None and encoding.get("pairs", False)
        texts_read = [_texts(frame, [name]) for name in texts] if paired else [_texts(frame, texts)]
        how_read = encoding or _fit_text(texts_read, texts, found.part == TRAIN)
        x, vocabulary = tokens.apply(how_read, texts_read)
        tell(_of_texts(frame, texts, x), where)
    elif vectors is not None:
        x, encoder = read_vectors(frame, vectors, root, layer=layer, where=where), frame.attrs.get("encoder", "")
        how_read = encoding or {"kind": "vectors", "vectors": vectors, "layer": layer, "shape": list(x.shape[1:])}
        frame = frame.drop(columns=vectors, errors="ignore")
    else:
        how_read = encoding or _fit_features(frame, read, roles, found.part == TRAIN, where)
        x = encode.apply(how_read, frame, where=where)
    if encoding is None:
        encoding = {**how_read, **found.names, **given, **({"keep": list(read.keep)} if read.keep else {})}
    source = Source(
        name=where,
        rows=frame,
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
        notes=read.notes,
        dropped=tuple(read.left_out),
    )
    return Columns(
        x, found.label, found.attribute, found.class_names, found.attribute_names, source, vocabulary, encoder
    )


def _texts(rows: pd.DataFrame, names: Iterable[str]) -> list[str]:
    """The text of each row, the columns joined by a blank; a missing one is empty."""
    cells = (rows[name].astype(object).where(rows[name].notna(), "").map(str) for name in names)
    return [" ".join(row) for row in zip(*cells, strict=True)]


def _of_texts(rows: pd.DataFrame, names: Iterable[str], x: NDArray[np.int64]) -> list[str]:
    """What is not read of texts, or was never there."""
    empty = [(name, int(rows[name].isna().to_numpy().sum())) for name in names]
    notes = [f"text '{name}' is missing in {n:,} of {len(rows):,} rows, and empty there" for name, n in empty if n]
    if x.shape[1] == tokens.LENGTH and (long := int((x[:, -1] > 0).sum())):
        notes.append(f"{long:,} of {len(x):,} texts have {tokens.LENGTH} words or more; what comes later is not read")
    return notes


def _fit_text(texts: list[list[str]], names: Iterable[str], train: NDArray[np.bool_]) -> dict[str, Any]:
    seen = [[text for text, kept in zip(column, train, strict=True) if kept] for column in texts]
    return {"kind": "tokens", "text": list(names), **tokens.fit(seen)}


def _fit_features(
    rows: pd.DataFrame, read: Rows, roles: list[str], train: NDArray[np.bool_], where: str
) -> dict[str, Any]:
    nameless = [name for name in rows.columns if name.startswith(NAMELESS) and name not in roles]
    others = [] if read.inputs is None else [name for name in rows.columns if name not in {*read.inputs, *roles}]
    fitted = encode.fit(rows.drop(columns=[*roles, *{*nameless, *others}]), train, where=where)
    for name, written in read.written.items():
        if name in fitted["numeric"]:
            fitted["numeric"][name]["written"] = written.to_dict()
    unasked = {**dict.fromkeys(nameless, "without a name"), **fitted["left_out"]}
    if said := [f"'{name}' ({why})" for name, why in unasked.items() if why not in encode.EMPTY_OF_NEWS]:
        more = f" and {len(said) - TOLD} more" if len(said) > TOLD else ""
        tell([f"left out of the features: {', '.join(said[:TOLD])}{more}"], where)
    left_out = {**read.left_out, **dict.fromkeys(others, "not chosen"), **unasked}
    return {"kind": "table", **fitted, "left_out": left_out}
