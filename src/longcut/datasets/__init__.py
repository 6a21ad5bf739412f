"""Data sets by name: ``load("colored-mnist:ratio=0.01")``.

A spec is a name, or a name and options, as :mod:`longcut.spec` reads it. The path of a folder, a table or a file of
arrays stands for the spec that reads it. Nothing heavy is imported before a data set is used.
"""

from __future__ import annotations

import inspect
import os
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longcut import outline
from longcut.errors import UserError, unknown
from longcut.registry import Registry
from longcut.sources import header
from longcut.spec import check, options_of, read, validate, write, written

if TYPE_CHECKING:
    from longcut.data import Splits
    from longcut.spec import Option

__all__ = [
    "DATASETS",
    "Entry",
    "cut",
    "data_folder",
    "load",
    "look_up",
    "metrics_of",
    "parse",
    "resolve",
    "spec_of",
    "title_of",
]


@dataclass(frozen=True)
class Entry:
    """A registered data set.

    Attributes:
        target: a function with annotated keyword options, perhaps ``seed`` and ``progress``, that returns Splits; or
            where it stands, as ``"module:function"``.
        training: recommended training settings.
        options: of methods, by their name: what suits them on this data set, where no recipe is asked for.
        metrics: what this data set is there to measure, by name, beside what every data set shows.
    """

    target: str | Callable[..., Splits]
    training: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    metrics: tuple[str, ...] = ()

    @property
    def function(self) -> Callable[..., Splits]:
        if not isinstance(self.target, str):
            return self.target
        module, name = self.target.split(":")
        return getattr(import_module(module), name)


def _made(name: str, given: Entry | Callable[..., Splits]) -> Entry:
    """The row of what somebody gives: an entry, or a function, which comes without recommendations."""
    if not (isinstance(given, Entry) or callable(given)):
        raise UserError(f"'{name}' is a {type(given).__name__}, but a row is an Entry, or a function; give one.")
    return given if isinstance(given, Entry) else Entry(given)


FORMS = ("unreadable", "separator", "encoding", "names", "skip")  # what may be said of new files: how to read them
OWN = ("folder", "table", "arrays", "hub", "shards")  # read somebody's own files
ENCODER = "efficientnet-lite0"  # where none is said
TEXTS = (*header.TEXTS, *header.JSON)
TABLES = (*TEXTS, *(f"{suffix}.gz" for suffix in TEXTS), ".parquet", ".xlsx")
ARRAYS = (".npz", ".safetensors")

_MNIST_TRAINING = {"epochs": 30, "batch": 256, "pool": 4, "lr": 0.001, "net": "mlp:hidden=100-100-16"}
_DIGITS_TRAINING = {"epochs": 30, "batch": 64, "pool": 4, "lr": 0.001, "net": "mlp:hidden=100-100-16"}
_CIFAR_TRAINING = {
    "epochs": 40,
    "batch": 256,
    "pool": 4,
    "lr": 0.001,
    "net": "resnet18:stem=imagenet,inputs=cifar,width=16",
    "augment": "crop-flip",
}
_PHOTO_TRAINING = {"epochs": 30, "batch": 64, "pool": 4, "lr": 0.001, "net": "auto", "augment": "crop-flip"}
_OWN_TRAINING = {"epochs": 30, "batch": 64, "pool": 4, "lr": 0.001, "net": "auto"}
_GROUPS_TRAINING = {"epochs": 30, "batch": 64, "pool": 4, "lr": 0.001, "net": "resnet18:stem=imagenet,width=16"}
_TEXT_TRAINING = {"epochs": 10, "batch": 32, "pool": 4, "lr": 0.001, "net": "auto"}
_REGRESSION_TRAINING = {"epochs": 200, "batch": 64, "pool": 1, "lr": 0.01, "net": "mlp:hidden=128-128"}
_REGRESSION_TRAINING |= {"schedule": "cosine"}
_SERIES_TRAINING = {"epochs": 30, "batch": 128, "pool": 1, "lr": 0.001, "net": "highway", "schedule": "cosine"}

# Corruptions are seen in detail alone, so the biased model looks at whole images, for four epochs; and as it is wrong
# too often there to tell how much of the data contradicts, no sample is left unmixed.
_CIFAR_OPTIONS = {
    "selecmix": {"pairs": "learned", "auxiliary": "tiny:side=32", "auxiliary_steps": 1000, "unmixed": 0.0}
}

_OBJECTS_TRAINING = {"epochs": 40, "batch": 128, "pool": 4, "lr": 0.001, "net": "auto", "augment": "crop-flip"}
_PEOPLE_TRAINING = {"epochs": 30, "batch": 128, "pool": 1, "lr": 0.001, "net": "mlp:hidden=128-128"}
_FEATURES_TRAINING = {"epochs": 30, "batch": 64, "pool": 4, "lr": 0.01, "net": "linear"}
_FAIRNESS = ("equalized_odds_sum",)
_KNOWN = {
    "colored-mnist": Entry("longcut.datasets.colored_mnist:colored_mnist", _MNIST_TRAINING),
    "colored-mnist-png": Entry("longcut.datasets.colored_mnist:colored_mnist_png", _MNIST_TRAINING),
    "colored-digits": Entry(
        "longcut.datasets.colored_digits:colored_digits",
        {"epochs": 100, "batch": 64, "pool": 4, "lr": 0.002, "net": "mlp:hidden=100-100-16"},
    ),
    "corrupted-cifar10": Entry("longcut.datasets.corrupted_cifar10:corrupted_cifar10", _CIFAR_TRAINING, _CIFAR_OPTIONS),
    "corrupted-cifar10-png": Entry(
        "longcut.datasets.corrupted_cifar10:corrupted_cifar10_png", _CIFAR_TRAINING, _CIFAR_OPTIONS
    ),
    "bffhq": Entry("longcut.datasets.bffhq:bffhq", _PHOTO_TRAINING),
    "bar": Entry("longcut.datasets.bar:bar", _PHOTO_TRAINING),
    "dogs-and-cats": Entry("longcut.datasets.dogs_and_cats:dogs_and_cats", _PHOTO_TRAINING),
    "waterbirds": Entry("longcut.datasets.waterbirds:waterbirds", _GROUPS_TRAINING),
    "celeba": Entry("longcut.datasets.celeba:celeba", _GROUPS_TRAINING),
    "multinli": Entry("longcut.datasets.multinli:multinli", _TEXT_TRAINING),
    "multinli-dev": Entry("longcut.datasets.multinli:multinli_dev", _TEXT_TRAINING),
    "civilcomments": Entry("longcut.datasets.civilcomments:civilcomments", _TEXT_TRAINING),
    "camelyon17": Entry("longcut.datasets.camelyon17:camelyon17", _GROUPS_TRAINING),
    **{name: Entry(f"longcut.datasets.own:{name}", _OWN_TRAINING) for name in OWN},
    "cifar10": Entry("longcut.datasets.cifar10:cifar10", _OBJECTS_TRAINING),
    "cifar100": Entry("longcut.datasets.cifar10:cifar100", _OBJECTS_TRAINING),
    "airfoil": Entry("longcut.datasets.regression:airfoil", _REGRESSION_TRAINING),
    "no2": Entry("longcut.datasets.regression:no2", _REGRESSION_TRAINING),
    "exchange-rate": Entry("longcut.datasets.regression:exchange_rate", _SERIES_TRAINING),
    "crime": Entry("longcut.datasets.regression:crime", _REGRESSION_TRAINING),
    "skillcraft": Entry("longcut.datasets.regression:skillcraft", _REGRESSION_TRAINING),
    "rcf-mnist": Entry("longcut.datasets.rcf_mnist:rcf_mnist", {**_PHOTO_TRAINING, "augment": "none"}),
    **{
        name: Entry(f"longcut.datasets.fairness:{name}", _PEOPLE_TRAINING, metrics=_FAIRNESS)
        for name in ("adult", "compas", "german")
    },
    "digits": Entry("longcut.datasets.digits:digits", _DIGITS_TRAINING),
    "mnist": Entry("longcut.datasets.digits:mnist", _MNIST_TRAINING),
    "planted": Entry("longcut.datasets.zoo:planted", {**_DIGITS_TRAINING, "net": "auto"}),
    "embedded": Entry("longcut.datasets.embedded:embedded", _FEATURES_TRAINING),
    "spread": Entry("longcut.datasets.spread:spread"),
    "answered": Entry("longcut.datasets.answered:answered"),
    "thinned": Entry("longcut.datasets.thinned:thinned"),
}
DATASETS: Registry[Entry] = Registry("data set", "DATASETS", _KNOWN, made=_made)


def load(spec: str, seed: int = 0, progress: Callable[[int, int], None] | None = None) -> Splits:
    """The data set a spec describes.

    Args:
        spec: such as ``"colored-mnist:ratio=0.01,recipe=dfa"``, or a path.
        seed: of what is drawn at random when the data is made; data that is only read ignores it.
        progress: told how many of how many images are decoded, where images are.

    Raises:
        UserError: when the name or an option is unknown, a value is not allowed, or files are missing.

    >>> load("colored-digits:ratio=0.1").info.name
    'colored-digits:ratio=0.1'
    """
    name, options = parse(spec)
    function = DATASETS[name].function
    taken = inspect.signature(function).parameters
    return function(**options, **{k: v for k, v in (("seed", seed), ("progress", progress)) if k in taken})


def parse(spec: str) -> tuple[str, dict[str, Any]]:
    """Name and checked options of a spec.

    Raises:
        UserError: when the name or an option is unknown, or a value is not allowed.

    >>> parse("colored-mnist:ratio=0.01")
    ('colored-mnist', {'ratio': 0.01})
    """
    name, given = _read(spec)
    return name, validate(name, DATASETS[name].function, given)


def spec_of(name: str, options: Mapping[str, Any]) -> str:
    """The one way to write a spec: options in the order of the function, defaults left out.

    Raises:
        UserError: as :func:`parse`.

    >>> spec_of("colored-mnist", {"recipe": "lff", "ratio": 0.005})
    'colored-mnist:recipe=lff'
    """
    return written(name, DATASETS.find(name).function, options)


def resolve(data: str, features: str | None = None, **columns: Any) -> str:
    """What somebody types as their data, a spec or a path with flags for its columns, as one spec.

    Args:
        data: a spec; a folder of images; a table, such as ``.csv``, ``.tsv`` or ``.parquet``; an ``.npz`` or
            ``.safetensors`` file; a Hugging Face data set that was saved to a folder; shards, as a folder, a pattern or
            an address. Options may follow a path, as they follow a name. A path that is also the name of a data set is
            written ``./name``.
        features: spec of the pretrained net whose features stand for the images or texts; None: they stay.
        **columns: further options; None is not given.

    Raises:
        UserError: when there is no such data set, file or folder, or an option does not belong to it or is given twice.

    Warns when a file or folder here is called as the data set is.

    >>> resolve("colored-digits:ratio=0.02", label=None)
    'colored-digits:ratio=0.02'
    """
    if features is not None:
        from longcut import encoders

        base = spec_of(*parse(resolve(data, **columns)))
        return write("embedded", {"data": base, "encoder": encoders.canonical(features)})
    name, given = _read(data)
    if data in DATASETS and os.path.exists(data):
        warnings.warn(f"{data} is the data set of that name; what lies here is ./{data}.", stacklevel=2)
    for key, value in columns.items():
        if value is not None:
            _check_flag(key, columns, data, name)
            if key in given:
                raise UserError(f"{key} is given by --{key} and in '{data}'; leave out one of them.")
    return write(name, {**given, **{key: value for key, value in columns.items() if value is not None}})


def look_up(data: str, asked: Sequence[str] = (), **columns: Any) -> None:
    """Refuse what is wrong with data, options and columns as they were typed: nothing slow is imported for it.

    Args:
        data, **columns: of :func:`resolve`.
        asked: columns that an audit is asked about.

    Raises:
        UserError: as :func:`load`.
    """
    with warnings.catch_warnings():  # who loads it warns
        warnings.simplefilter("ignore")
        name, given = _read(resolve(data, **columns))
    check(name, _declared(name).values(), given)
    if name == "table" and "path" in given:
        from longcut.sources.header import require_columns

        require_label(given["path"], given.get("label"))
        require_columns(Path(given["path"]), given, asked)
    if name == "arrays" and "path" in given:
        from longcut.sources.contents import require_arrays

        require_arrays(Path(given["path"]), given)
    if "data" in given and name in DATASETS.own:  # it wraps another
        look_up(given["data"])


def require_there(data: str) -> None:
    """Refuse new data for a trained network that is neither a data set nor a path."""
    from longcut.sources.addresses import is_address, is_pattern

    place = cut(data)[0]
    there = data.partition(":")[0] in DATASETS or Path(place).exists() or is_address(place) or is_pattern(place)
    if not there:
        raise unknown("file, folder or data set", data, DATASETS)


def require_label(path: str, label: str | None) -> str:
    """The label of a table; one of which nobody said what it is is refused."""
    if label is None:
        raise UserError(f"{path} is a table, and which column is the label was not said; give --label COLUMN.")
    return label


def _read(data: str) -> tuple[str, dict[str, str]]:
    """Name and options of a spec, or of the data set that reads a path; not yet checked."""
    if data.encode(errors="ignore").decode() != data:
        raise UserError(f"the path {data!a} is not UTF-8; rename it.")
    if data.partition(":")[0] in DATASETS:
        return read(data, "data set")
    path, options = cut(data)
    kind = _kind(Path(path), path)
    spec = write(kind, {"path": path if kind == "shards" else Path(path)})
    return read(f"{spec},{options}" if options else spec, "data set")


def cut(data: str) -> tuple[str, str]:
    """A path, and the options that follow it. A file whose name looks like options goes first, if there is one."""
    ends = [*(colon.start() for colon in re.finditer(r":(?=\w+=)", data)), len(data)]
    end = max((end for end in ends if os.path.exists(data[:end])), default=ends[0])
    return data[:end], data[end + 1 :]


def _check_flag(key: str, flags: Iterable[str], data: str, name: str) -> None:
    known = _declared(name)
    if key not in known:
        about = f" ({known['path'].help})" if "path" in known else ""
        takes = ", ".join(f"--{flag}" for flag in flags if flag in known).replace("_", "-") or "no such flag"
        key = key.replace("_", "-")
        raise UserError(
            f"--{key} does not go with {data}, since data set '{name}'{about} takes {takes}; leave --{key} out."
        )


def _declared(name: str) -> Mapping[str, Option]:
    """The options of a data set by name; of ours, without importing it."""
    target = DATASETS[name].target
    ours = isinstance(target, str) and target.startswith("longcut.")
    known = outline.options(*target.removeprefix("longcut.").split(":")) if isinstance(target, str) and ours else None
    return {one.name: one for one in options_of(DATASETS[name].function)} if known is None else known


def _kind(path: Path, typed: str) -> str:
    """The name of the data set that reads the file or folder at a path."""
    from longcut.sources.addresses import TARS, holds_shards, is_address, is_pattern

    if typed and path.is_dir():
        saved = ("dataset_info.json", "dataset_dict.json", "state.json")
        if any((path / name).exists() for name in saved):
            return "hub"
        return "shards" if holds_shards(path) else "folder"
    name = path.name.lower()
    if is_address(typed) or (is_pattern(typed) and not path.is_file()) or (name.endswith(TARS) and path.is_file()):
        return "shards"
    kind = "table" if name.endswith(TABLES) else "arrays" if name.endswith(ARRAYS) else ""
    if kind and path.is_file():
        return kind
    if path.is_file():
        raise UserError(
            f"{typed} is neither a folder of images, a table (.csv .tsv .parquet) nor arrays ({' '.join(ARRAYS)}); "
            "convert it to one of these."
        )
    is_path = bool(kind) or "/" in typed or os.sep in typed
    beside = os.listdir(path.parent) if path.parent.is_dir() else []
    near = get_close_matches(path.name, beside if is_path else [*beside, *DATASETS], n=1)
    if near and near[0] in beside:
        raise UserError(f"there is no file or folder {typed}; did you mean {path.with_name(near[0])}?")
    if is_path:
        raise UserError(
            f"there is no file or folder {typed}; check the path (a data set of the hub is written hub:path=NAME)."
        )
    raise unknown("data set", typed, DATASETS)


def metrics_of(spec: str) -> tuple[str, ...]:
    """What the data set of a spec is there to measure, beside what every data set shows.

    >>> metrics_of("adult:sensitive=race"), metrics_of("colored-digits")
    (('equalized_odds_sum',), ())
    """
    name, options = read(spec, "data set")
    if name in ("embedded", "thinned") and "data" in options:
        return metrics_of(options["data"])
    entry = DATASETS.get(name)
    return entry.metrics if isinstance(entry, Entry) else ()  # none where the file that adds it is not loaded


def title_of(spec: str) -> str:
    """What people call the data of a spec: the path of their own data, else the spec itself.

    >>> title_of("table:path=birds/metadata.csv,label=y"), title_of("colored-digits:ratio=0.02")
    ('birds/metadata.csv', 'colored-digits:ratio=0.02')
    """
    name, _, options = spec.partition(":")
    if name == "embedded":
        given = read(spec, "data set")[1]
        return f"{title_of(given['data'])} ({given.get('encoder', ENCODER)})"
    return read(spec, "data set")[1]["path"] if name in OWN and options.startswith("path=") else spec


def data_folder(name: str) -> Path:
    """Where files of a data set lie: ``$LONGCUT_DATA/name``, else ``~/.cache/longcut/data/name``."""
    root = os.environ.get("LONGCUT_DATA")
    return (Path(root) if root else Path.home() / ".cache" / "longcut" / "data") / name
