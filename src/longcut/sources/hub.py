"""Data sets of the Hugging Face hub, by name or from a local folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longcut.errors import UserError
from longcut.sources import Columns
from longcut.sources.cache import cached, key_of
from longcut.sources.table import read_rows

if TYPE_CHECKING:
    import pandas as pd

    from longcut.sources import Progress
    from longcut.sources.options import (
        Attribute,
        AttributeBins,
        Config,
        Image,
        Label,
        OptionalParts,
        Size,
        Split,
        Text,
        Unreadable,
    )

__all__ = ["read_hub"]

MEDIA = ("Image", "Audio", "Video", "Pdf", "Nifti")  # features whose values are files


def read_hub(
    name: str,
    *,
    label: Label = "label",
    attribute: Attribute = None,
    attribute_bins: AttributeBins = None,
    split: Split = None,
    parts: OptionalParts = None,
    image: Image = None,
    text: Text = None,
    config: Config = None,
    size: Size = None,
    squeeze: int | None = None,
    unreadable: Unreadable = "refuse",
    seed: int = 0,
    encoding: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Columns:
    """The rows of a hub data set; without images, they are read like those of a table.

    The splits of the data set become the parts, by the first word of their names: ``validation_matched`` is validation.
    A split without any label is left out. Class names are those of the data set. If just one column holds images, and
    no text is asked for, that column is the input. Images are written to the cache, as files, and decoded from there.
    One that is missing, or a path to no file, counts among those that cannot be read.

    Args:
        name: such as ``"nyu-mll/glue"``, or a folder, one that ``save_to_disk`` wrote or one of files that
            ``datasets.load_dataset`` understands.
        label, attribute, attribute_bins, parts, text, size, unreadable, seed, encoding, progress: of
            :func:`longcut.sources.table.read_table`.
        squeeze: of :func:`longcut.sources.images.decode`.
        split: column that says train, valid or test, in place of the splits of the data set.
        image: column with the images.
        config: which of the variants of the data set, such as ``"mnli"``.

    Raises:
        UserError: without the package ``datasets``, when the data set is not found or cannot be loaded, a column is
            missing, or the labels cannot be learned from.

    Example::

        columns = read_hub("nyu-mll/glue", config="mnli", text="premise+hypothesis")
    """
    import pandas as pd

    loaded = _load(name, config)
    features: dict[str, Any] = dict(next(iter(loaded.values())).features)
    files = [column for column, feature in features.items() if type(feature).__name__ in MEDIA]
    images = [column for column in files if type(features[column]).__name__ == "Image"]
    if encoding is not None:
        image = encoding.get("image")
    elif image is None and text is None and len(images) == 1:
        image = images[0]
    if image is not None and image not in images:
        raise UserError(
            f"{name}: column '{image}' holds no images; columns with images: {', '.join(images) or 'none'}."
        )

    names = {column: feature.names for column, feature in features.items() if type(feature).__name__ == "ClassLabel"}
    frames = {part: _frame(rows.remove_columns(files), names) for part, rows in loaded.items()}
    if encoding is None and label in features:
        labelled = {part: frame for part, frame in frames.items() if frame[label].notna().to_numpy().any()}
        frames = labelled or frames
    rows = pd.concat(frames.values(), ignore_index=True)
    root = Path()
    if image is not None:
        root, rows[image] = _export([loaded[part].select_columns(image) for part in frames], image)
    if split is None and encoding is None and len(frames) > 1:
        split = "split" if "split" not in rows.columns else "split of the data set"
        rows[split] = [part.partition("_")[0] for part, frame in frames.items() for _ in range(len(frame))]
    return read_rows(
        rows,
        where=name,
        root=root,
        label=label,
        attribute=attribute,
        attribute_bins=attribute_bins,
        split=split,
        parts=parts,
        image=image,
        text=text,
        size=size,
        squeeze=squeeze,
        unreadable=unreadable,
        seed=seed,
        encoding=encoding,
        progress=progress,
    )


def _load(name: str, config: str | None) -> dict[str, Any]:
    """The splits by name."""
    try:
        import datasets
    except ImportError as error:
        raise UserError(f'{name}: hub data sets need a further package; pip install "longcut[hub]".') from error
    saved = any((Path(name) / file).is_file() for file in ("dataset_dict.json", "state.json"))
    try:
        found = datasets.load_from_disk(name) if saved else datasets.load_dataset(name, config)
    except Exception as error:  # of the hub, the network, the file system or a parser: the list is not ours to keep
        why = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{name}: the data set cannot be loaded ({why}); give its name on the hub, or a folder."
        ) from error
    return {str(part): rows for part, rows in found.items()} if isinstance(found, dict) else {"all": found}


def _frame(rows: Any, names: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """The rows of a split, with class names for class ids; the hub writes −1 for no class, which is missing here."""
    frame = rows.to_pandas()
    for column, known in names.items():
        frame[column] = frame[column].map(dict(enumerate(known)))
    return frame


def _export(parts: Sequence[Any], image: str) -> tuple[Path, list[str]]:
    """Writes images to the cache, once; returns their folder and the path of each."""
    from datasets import Image

    tables = [Path(file["filename"]) for part in parts for file in part.cache_files]
    facts = [(str(table), table.stat().st_size, table.stat().st_mtime_ns) for table in tables]
    paths = [f"{number:08}" for number in range(sum(map(len, parts)))]

    def fill(folder: Path) -> None:
        cells = (row[image] for part in parts for row in part.cast_column(image, Image(decode=False)))
        for path, cell in zip(paths, cells, strict=True):
            if (content := _bytes(cell)) is not None:
                (folder / path).write_bytes(content)
        (folder / "all").write_text(f"{len(paths)}")

    key = key_of(repr((image, [part._fingerprint for part in parts], facts)))
    folder = cached(f"hub-{key}", fill)
    return folder, [path if (folder / path).exists() else "" for path in paths]


def _bytes(cell: Mapping[str, Any] | None) -> bytes | None:
    """The file of an image, which a data set holds or knows the path of; None where there is none."""
    if cell is None or (cell["bytes"] is None and not cell["path"]):
        return None
    try:
        return Path(cell["path"]).read_bytes() if cell["bytes"] is None else cell["bytes"]
    except (OSError, ValueError):
        return None
