"""Samples and tables in Parquet and Arrow files, and in Hugging Face data sets that are streamed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import unquote

from longcut.errors import UserError
from longcut.sources.addresses import Place, reaching
from longcut.sources.tars import Sample, scalars

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["frame", "hive", "image_column", "of_arrow", "rows", "streams"]

ROWS = 256  # that are read at a time
EMPTY = "__HIVE_DEFAULT_PARTITION__"


def hive(name: str) -> dict[str, Any]:
    """What the folders above a file say of all its rows, as Hive writes it.

    >>> hive("split=train/year=2024/part-0.parquet"), hive("photos/part-0.parquet")
    ({'split': 'train', 'year': 2024}, {})
    """
    pairs = (piece.partition("=") for piece in name.split("/")[:-1] if "=" in piece)
    said = {key: unquote(value) for key, _, value in pairs}
    whole = {key for key, value in said.items() if value.isdigit() and str(int(value)) == value}
    return {key: None if value == EMPTY else int(value) if key in whole else value for key, value in said.items()}


def image_column(place: Place, given: str | None, where: str) -> str | None:
    """The column with the files of the images, as bytes or as Hugging Face keeps them; None: there is none.

    A column that is given and holds texts, such as paths, is none either.

    Raises:
        UserError: when several columns hold files and none is chosen, or the file cannot be read.
    """
    with _opened(place, where) as file:
        try:
            schema = _schema(place, file)
        except _damage() as error:
            raise _damaged(place, where, error) from error
        files = [field.name for field in schema if _holds_files(field.type)]
    if given is not None:
        return given if given in files else None
    if len(files) > 1:
        raise UserError(f"{where}: columns {', '.join(files)} hold files; say which is the image with --image.")
    return files[0] if files else None


def rows(place: Place, image: str, where: str) -> Iterator[Sample]:
    """The rows of a file as samples, called by their numbers; some are in memory at a time."""
    import pyarrow as pa

    above, number = hive(place.name), 0
    try:
        with _opened(place, where) as file:
            names = _class_names(_schema(place, file))
            for batch in _batches(place, file):
                for row in pa.Table.from_batches([batch]).to_pylist():
                    yield _sample(str(number), {**row, **above}, image, names)
                    number += 1
    except _damage() as error:
        yield Sample("", {}, b"", f"truncated or damaged after {number} rows ({' '.join(str(error).split())})")


def frame(places: Sequence[Place], where: str) -> pd.DataFrame:
    """All rows of all files, with what their folders say of them.

    Raises:
        UserError: on a file that cannot be read, or one whose columns are others.
    """
    import pandas as pd
    import pyarrow.parquet as pq

    found: list[pd.DataFrame] = []
    for place in places:
        with _opened(place, where) as file:
            try:
                table = pq.read_table(file) if _is_parquet(place) else _arrow(file).read_all()
            except _damage() as error:
                raise _damaged(place, where, error) from error
            names = _class_names(table.schema)
            one = of_arrow(table).assign(**hive(place.name))
        for column, known in names.items():
            one[column] = one[column].map(dict(enumerate(known)).get, na_action="ignore")
        if found and (other := set(found[0].columns) ^ set(one.columns)):
            raise UserError(
                f"{where}: shard '{place.name}' and '{places[0].name}' have other columns, such as "
                f"'{min(map(str, other))}'; give shards of one table."
            )
        found.append(one)
    return pd.concat(found, ignore_index=True)


def of_arrow(table: pa.Table) -> pd.DataFrame:
    """The frame of an Arrow table; whole numbers with gaps stay whole."""
    import pandas as pd
    import pyarrow as pa

    whole = {
        kind: pandas
        for kind, pandas in (
            (pa.int64(), pd.Int64Dtype()),
            (pa.uint64(), pd.UInt64Dtype()),
        )
    }
    gaps = {field.type for field, column in zip(table.schema, table.columns, strict=True) if column.null_count}
    # whole numbers with gaps would become floats, in which long ones are no longer different
    frame = table.to_pandas(types_mapper=lambda kind: whole.get(kind) if kind in gaps else None)
    frame.attrs = json.loads((table.schema.metadata or {}).get(b"PANDAS_ATTRS", b"{}"))
    return frame.reset_index(drop=True)


def _is_parquet(place: Place) -> bool:
    return place.name.lower().endswith(".parquet")


def _opened(place: Place, where: str) -> BinaryIO:
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise UserError(f'{where}: Parquet files need a further package; pip install "longcut[parquet]".') from error
    with reaching(where):
        return place.open()


def _damage() -> tuple[type[Exception], ...]:
    """What pyarrow raises of a file that is not what it should be."""
    import pyarrow as pa

    return (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError)


def _damaged(place: Place, where: str, error: Exception) -> UserError:
    why = " ".join(str(error).split())
    return UserError(f"{where}: shard '{place.name}' cannot be read ({why}); get it again.")


def _schema(place: Place, file: BinaryIO) -> pa.Schema:
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(file).schema_arrow if _is_parquet(place) else _arrow(file).schema
    finally:
        file.seek(0)


def _arrow(file: BinaryIO) -> Any:
    """A reader of either of Arrow's two formats."""
    import pyarrow as pa

    start = file.read(6)
    file.seek(0)
    return pa.ipc.open_file(file) if start == b"ARROW1" else pa.ipc.open_stream(file)


def _batches(place: Place, file: BinaryIO) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as pq

    if _is_parquet(place):
        yield from pq.ParquetFile(file).iter_batches(batch_size=ROWS)
        return
    reader = _arrow(file)
    batches = map(reader.get_batch, range(reader.num_record_batches)) if hasattr(reader, "get_batch") else reader
    for batch in batches:
        for start in range(0, batch.num_rows, ROWS):
            yield batch.slice(start, ROWS)


def _holds_files(kind: pa.DataType) -> bool:
    import pyarrow as pa

    of_hub = pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
    return of_hub or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Names of the classes of columns with their numbers, where a Hugging Face data set was written."""
    about = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features = about.get("info", {}).get("features", {})
    return {name: feature["names"] for name, feature in features.items() if feature.get("_type") == "ClassLabel"}


def _sample(name: str, row: dict[str, Any], image: str | None, names: dict[str, list[str]]) -> Sample:
    """A row as a sample; the hub writes −1 for no class."""
    for column, called in names.items():
        number = row[column]
        row[column] = None if number is None or number < 0 else called[number]
    if image is None:
        return Sample(name, scalars(row))
    held = row.pop(image)
    content = (held.get("bytes") if isinstance(held, dict) else held) or b""
    return Sample(name, scalars(row), content, "" if content else "no image")


# --- Hugging Face -----------------------------------------------------------------------------------------------------


def streams(name: str, config: str | None, image: str | None) -> tuple[str | None, list[tuple[str, str, Any]]]:
    """A data set of the hub that is streamed: nothing of it is stored here but what becomes of it.

    Args:
        name: of the data set, or a folder of files that ``datasets.load_dataset`` understands.
        config: which of its variants.
        image: column; None: the only one with images, if there is one.

    Returns:
        The column with images, and a name, a stamp and a function that yields its samples, of each piece.

    Raises:
        UserError: without the package ``datasets``, and when it is not found or cannot be loaded.
    """
    try:
        import datasets
    except ImportError as error:
        raise UserError(f'{name}: hub data sets need a further package; pip install "longcut[hub]".') from error
    try:
        builder = datasets.load_dataset_builder(name, config)
        parts: Any = datasets.load_dataset(name, config, streaming=True)
    except Exception as error:  # of the hub, the network, the file system or a parser: the list is not ours to keep
        why = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{name}: the data set cannot be streamed ({why}); give its name on the hub, or a folder, and check the "
            "network."
        ) from error
    features: dict[str, Any] = dict(next(iter(parts.values())).features or {})
    images = [column for column, feature in features.items() if type(feature).__name__ == "Image"]
    if image is None and len(images) == 1:
        image = images[0]
    names = {column: feature.names for column, feature in features.items() if type(feature).__name__ == "ClassLabel"}
    files = {part: getattr(rows, "origin_metadata", rows) for part, rows in (builder.config.data_files or {}).items()}
    stamp = repr((builder.config_id, builder.hash, str(builder.info.version), files))
    found: list[tuple[str, str, Any]] = []
    for part, data in parts.items():
        for column in images:
            data = data.cast_column(column, datasets.Image(decode=False))
        pieces = max(1, data.num_shards)
        for piece in range(pieces):
            some = data.shard(num_shards=pieces, index=piece, contiguous=True)
            found.append((f"{part}/{piece:05}", stamp, _stream(some, image, names)))
    return image, sorted(found, key=lambda piece: piece[0])


def _stream(data: Any, image: str | None, names: dict[str, list[str]]) -> Any:
    def read(_: object) -> Iterator[Sample]:
        for number, row in enumerate(data):
            held = {} if image is None else row[image] or {}
            if held.get("path") and not held.get("bytes"):
                with reaching(held["path"]), open(held["path"], "rb") as file:
                    row[image] = {"bytes": file.read()}
            yield _sample(str(number), dict(row), image, names)

    return read
