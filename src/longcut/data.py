"""Columns that remember who they are: ``Dataset``, ``Batch``, ``Info`` and the operations on them.

A :class:`Dataset` is a set of rows of one storage tensor ``x``. ``index`` is both the identity of a
sample and its row in the storage, so subsetting, repeating and relabelling never copy an image,
memory-mapped storage behaves exactly like storage in memory, and per-sample memories (LfF's moving
averages, SelecMix's embedding bank) are plain tensors with one row per stored sample.

Balancing, subsampling and label noise are operations ``Dataset -> Dataset``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import torch
from torch import Tensor

from longcut.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from longcut.sources import Columns, Source

__all__ = [
    "Batch",
    "Dataset",
    "Info",
    "Rows",
    "Splits",
    "as_input",
    "balance",
    "generator",
    "label_noise",
    "pools",
    "split",
    "subsample",
    "undersample",
    "upweight",
    "usual_attribute",
]


def generator(*seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator whose stream depends on all of ``seed`` (such as run seed, epoch, purpose).

    Nearby seeds give unrelated streams: each number is folded in by a 64-bit mixing step.

    >>> torch.equal(torch.rand(3, generator=generator(0, 1)), torch.rand(3, generator=generator(0, 1)))
    True
    """
    mask, state = (1 << 64) - 1, 0x9E3779B97F4A7C15
    for number in seed:  # splitmix64 finaliser over the running state
        state = (state ^ (int(number) & mask)) * 0xBF58476D1CE4E5B9 & mask
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB & mask
        state ^= state >> 31
    return torch.Generator(device).manual_seed(state >> 1)


class Rows:
    """A frozen dataclass of equal-length columns that is indexed by rows, all columns at once."""

    def __getitem__(self, rows: Tensor | slice) -> Self:
        columns = {f.name: _rows_of(getattr(self, f.name), rows) for f in dataclasses.fields(cast(Any, self))}
        return dataclasses.replace(cast(Any, self), **columns)

    def to(self, device: torch.device | str) -> Self:
        """The same rows on another device."""
        columns = {f.name: _moved(getattr(self, f.name), device) for f in dataclasses.fields(cast(Any, self))}
        return dataclasses.replace(cast(Any, self), **columns)


def _rows_of(column: Any, rows: Tensor | slice) -> Any:
    if isinstance(column, Mapping):
        return {name: value[rows] for name, value in column.items()}
    return None if column is None else column[rows]


def _moved(column: Any, device: torch.device | str) -> Any:
    if isinstance(column, Mapping):
        return {name: value.to(device) for name, value in column.items()}
    return None if column is None else _to(column, device)


def _to(column: Tensor, device: torch.device | str) -> Tensor:
    """Without waiting, unless the values come to the CPU: there, they could be read before they have arrived."""
    return column.to(device, non_blocking=torch.device(device).type != "cpu")


@dataclass(frozen=True)
class Info:
    """What a method needs to know about the data before it sees a batch.

    Attributes:
        name: of the data set, with its options.
        shape: of one sample's ``x``, such as ``(3, 28, 28)``.
        n_classes: number of labels; for regression, the width of the target.
        n_attributes: number of attribute values; 0 when no attribute is known.
        n_stored: rows of the storage, which is the size of a per-sample memory: identities are below it.
        task: ``"classification"`` or ``"regression"``.
        kind: ``"image"``, ``"table"`` or ``"tokens"``.
        class_names, attribute_names: what labels and attributes are called.
        aligned: for each label, the attribute value that usually goes with it; empty when unknown.
        membership_names: of the overlapping groups, where the data has ``memberships``.
        vocabulary: number of token ids, for ``kind="tokens"``.
    """

    name: str
    shape: tuple[int, ...]
    n_classes: int
    n_attributes: int = 0
    n_stored: int = 0
    task: Literal["classification", "regression"] = "classification"
    kind: Literal["image", "table", "tokens"] = "table"
    class_names: tuple[str, ...] = ()
    attribute_names: tuple[str, ...] = ()
    aligned: tuple[int, ...] = ()
    vocabulary: int = 0
    membership_names: tuple[str, ...] = ()

    def is_aligned(self, label: Tensor, attribute: Tensor) -> Tensor:
        """True where a sample agrees with the shortcut; shape ``(n,)``.

        Raises:
            UserError: when it is not known which attribute value goes with which label.
        """
        if not self.aligned:
            raise UserError(
                f"{self.name} does not say which attribute value goes with which label; "
                "pass aligned=(…), one attribute value per label, to Dataset.of."
            )
        return torch.as_tensor(self.aligned, device=label.device)[label] == attribute


@dataclass(frozen=True)
class Batch(Rows):
    """Some samples, gathered: what a method's ``loss`` and a pair rule see.

    Attributes:
        x: inputs as a net takes them: images float in [0, 1] ``(n, C, H, W)``, tables float ``(n, d)``,
            token ids ``(n, length)``.
        label: class ids ``(n,)``, or float targets ``(n, width)`` for regression.
        attribute: attribute ids ``(n,)``, or None when unknown.
        index: identity of each sample in the original data ``(n,)``, or None in a foreign loop.
        extra: further columns by name that a method adds to its pool in ``on_pool``.

    >>> batch = Batch(torch.eye(3), torch.tensor([0, 1, 0]))
    >>> batch[torch.tensor([2, 0])].label
    tensor([0, 0])
    """

    x: Tensor
    label: Tensor
    attribute: Tensor | None = None
    index: Tensor | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.label)

    @property
    def identity(self) -> Tensor:
        """``index``, for those that keep a memory per sample.

        Raises:
            UserError: when the batch was made without.
        """
        if self.index is None:
            raise UserError("a memory per sample needs to know who is who; pass Batch(x, label, index=…).")
        return self.index

    def gather(self, rows: Tensor) -> Tensor:
        """The inputs of some rows; the same word a :class:`Dataset` answers to."""
        return self.x[rows]

    def with_extra(self, **columns: Any) -> Batch:
        """This batch with further columns, sliced and moved with the rest."""
        return dataclasses.replace(self, extra={**self.extra, **columns})


def as_input(x: Tensor) -> Tensor:
    """What a net takes: uint8 images become float32 in [0, 1], other floats float32; token ids pass.

    >>> as_input(torch.tensor([0, 255], dtype=torch.uint8))
    tensor([0., 1.])
    """
    if x.dtype == torch.uint8:
        return x.to(torch.float32).div_(255)
    return x.float() if x.is_floating_point() else x


@dataclass(frozen=True)
class Dataset:
    """Samples as rows of a storage tensor, with their label and (if known) their attribute.

    Build one with :meth:`of`, which checks what it is given.

    Attributes:
        x: the storage, in memory or memory-mapped: uint8 images, float tables or token ids. Row ``i``
            belongs to the sample whose index is ``i``.
        index: which stored samples this data set holds ``(n,)``; repeats are allowed.
        label: ``(n,)`` class ids, or ``(n, width)`` float targets.
        attribute: ``(n,)`` or None.
        info: names, sizes and kinds.
        source: where the stored samples come from, for data that was read from somebody's files.
        memberships: ``(n, A)`` bool or None: to which of A groups that may overlap each sample belongs, to any number
            of them. They are for evaluation; no method sees them.
    """

    x: Tensor
    index: Tensor
    label: Tensor
    attribute: Tensor | None
    info: Info
    source: Source | None = None
    memberships: Tensor | None = None

    @classmethod
    def of(
        cls,
        x: Tensor | np.ndarray,
        label: Any,
        attribute: Any = None,
        *,
        memberships: Any = None,
        name: str = "data",
        **info: Any,
    ) -> Dataset:
        """A checked data set of all rows of ``x``.

        Args:
            x: ``(n, ...)`` tensor or array, possibly memory-mapped. uint8 ``(n, C, H, W)`` is taken as
                images, floats as a table (or images, with four axes), integers as token ids.
            label: ``(n,)`` integers 0…C−1, or floats for regression.
            attribute: ``(n,)`` integers 0…A−1, or None.
            memberships: ``(n, A)`` True where the sample belongs to the group, or None; groups may overlap.
            name: what the data is called.
            **info: overrides for :class:`Info` fields, such as ``class_names``.

        Raises:
            UserError: on unequal lengths, columns of another shape, labels that are not 0…C−1 (all of them, unless
                ``n_classes`` says how many there are), or values that are not finite.

        >>> Dataset.of(torch.rand(4, 2), [0, 1, 1, 0]).info.n_classes
        2
        """
        storage = _as_tensor(x)
        if storage.ndim < 2 or not len(storage):
            raise UserError(
                f"{name}: x has shape {tuple(storage.shape)}; give one row per sample, (n, …), and at least one."
            )
        labels = _column(name, "label", label, len(storage))
        attributes = None if attribute is None else _column(name, "attribute", attribute, len(storage))
        task = "regression" if labels.is_floating_point() else "classification"
        if task == "classification":
            labels, n_classes = _ids(name, "label", labels, info.pop("n_classes", None))
        else:
            labels = labels.float().reshape(len(labels), -1).contiguous()
            n_classes = labels.shape[1]
            _check_finite(name, "label", labels)
        n_attributes = 0
        if attributes is not None:
            attributes, n_attributes = _ids(name, "attribute", attributes, info.pop("n_attributes", None))
        members = None if memberships is None else _members(name, memberships, len(storage))
        if storage.is_floating_point():
            _check_finite(name, "x", storage)
            kind = "image" if storage.ndim == 4 else "table"
        else:
            kind = "image" if storage.dtype == torch.uint8 else "tokens"
        fields: dict[str, Any] = {
            "n_classes": n_classes,
            "n_attributes": n_attributes,
            "n_stored": len(storage),
            "task": task,
            "kind": kind,
            "class_names": tuple(map(str, range(n_classes))),
            "attribute_names": tuple(map(str, range(n_attributes))),
            "vocabulary": int(storage.max()) + 1 if kind == "tokens" and len(storage) else 0,
            "membership_names": () if members is None else tuple(map(str, range(members.shape[1]))),
            **info,
        }
        about = Info(name=name, shape=tuple(storage.shape[1:]), **fields)
        return cls(storage, torch.arange(len(storage)), labels, attributes, about, memberships=members)

    @classmethod
    def from_folder(cls, path: Path | str, **options: Any) -> Dataset:
        """All images of a folder ``class/*.jpg`` or ``split/class/*.jpg``.

        Images are decoded once, into a memory-mapped cache. Cut the data set with :meth:`Splits.of`.

        Args:
            path: of the folder.
            **options: ``size``, ``unreadable``, ``seed``, ``progress`` of :func:`longcut.sources.folder.read_folder`.

        Raises:
            UserError: as the reader says.

        Example::

            splits = Splits.of(Dataset.from_folder("photos", size=64))
        """
        from longcut.sources.folder import read_folder

        return cls.from_columns(read_folder(path, **options))

    @classmethod
    def from_table(cls, table: Path | str | pd.DataFrame, *, label: str, **options: Any) -> Dataset:
        """All rows of a CSV, TSV or Parquet file or a DataFrame: feature columns, paths of images, or text.

        Args:
            table: the file or frame.
            label: column with the label.
            **options: ``attribute``, ``split``, ``image``, ``text``, ``size``, … of
                :func:`longcut.sources.table.read_table`.

        Raises:
            UserError: as the reader says.

        >>> import pandas as pd
        >>> frame = pd.DataFrame({"age": range(20), "sex": ["f", "m"] * 10, "rich": [0, 1, 1, 0] * 5})
        >>> data = Dataset.from_table(frame, label="rich", attribute="sex")
        >>> len(data), data.info.class_names, data.info.attribute_names
        (20, ('0', '1'), ('f', 'm'))
        """
        from longcut.sources.table import read_table

        return cls.from_columns(read_table(table, label=label, **options))

    @classmethod
    def from_arrays(cls, path: Path | str, **options: Any) -> Dataset:
        """All samples of an ``.npz`` or ``.safetensors`` file.

        Args:
            path: of the file.
            **options: ``label``, ``attribute``, ``split``, ``seed`` of :func:`longcut.sources.arrays.read_arrays`.

        Raises:
            UserError: as the reader says.

        Example::

            splits = Splits.of(Dataset.from_arrays("embeddings.npz", attribute="hospital"))
        """
        from longcut.sources.arrays import read_arrays

        return cls.from_columns(read_arrays(path, **options))

    @classmethod
    def from_hub(cls, name: str, **options: Any) -> Dataset:
        """All samples of a Hugging Face data set, by its name on the hub or its folder here.

        Args:
            name: such as ``"grodino/waterbirds"``, or a path.
            **options: ``label``, ``attribute``, ``image``, ``text``, … of :func:`longcut.sources.hub.read_hub`.

        Raises:
            UserError: as the reader says.

        Example::

            splits = Splits.of(Dataset.from_hub("grodino/waterbirds", image="image", attribute="place", size=72))
        """
        from longcut.sources.hub import read_hub

        return cls.from_columns(read_hub(name, **options))

    @classmethod
    def from_columns(cls, columns: Columns) -> Dataset:
        """What a reader of :mod:`longcut.sources` found, as a data set; samples without label get label 0."""
        source, label = columns.source, columns.label
        known = {"vocabulary": columns.vocabulary} if columns.vocabulary else {}
        if columns.class_names:
            known |= {"n_classes": len(columns.class_names), "class_names": columns.class_names}
        if columns.attribute is not None:
            known |= {"n_attributes": len(columns.attribute_names), "attribute_names": columns.attribute_names}
        if label is None:
            label = torch.zeros(len(columns.x), dtype=torch.long if columns.class_names else torch.float32)
        data = cls.of(columns.x, label, columns.attribute, name=source.name, **known)
        if data.attribute is not None and data.info.task == "classification":
            train = data.take(torch.from_numpy(source.part == 0)) if (source.part == 0).any() else data
            data = dataclasses.replace(data, info=dataclasses.replace(data.info, aligned=usual_attribute(train)))
        return dataclasses.replace(data, source=source)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def identity(self) -> Tensor:
        """``index``; the same word a :class:`Batch` answers to."""
        return self.index

    def take(self, rows: Tensor) -> Dataset:
        """The samples at ``rows`` (positions, or a boolean mask); identities stay, nothing is copied."""
        columns = {name: _rows_of(getattr(self, name), rows) for name in ("index", "label", "attribute", "memberships")}
        return dataclasses.replace(self, **columns)

    def gather(self, rows: Tensor, device: torch.device | str = "cpu") -> Tensor:
        """Inputs of the samples at positions ``rows``, on ``device``; uint8 until they are there."""
        return as_input(_to(self.x[self.index[rows.cpu()]], device))

    def batch(self, rows: Tensor, device: torch.device | str = "cpu") -> Batch:
        """The samples at positions ``rows`` as a :class:`Batch` on ``device``."""
        return Batch(
            x=self.gather(rows, device),
            label=self.label[rows].to(device),
            attribute=None if self.attribute is None else self.attribute[rows].to(device),
            index=self.index[rows].to(device),
        )

    def batches(self, size: int, device: torch.device | str = "cpu") -> Iterator[Batch]:
        """All samples in order, ``size`` at a time."""
        for rows in torch.arange(len(self)).split(size):
            yield self.batch(rows, device)

    @property
    def group(self) -> Tensor:
        """``label * n_attributes + attribute`` of each sample ``(n,)``; in regression, its attribute.

        Raises:
            UserError: when the attribute is not known.
        """
        if self.attribute is None and self.memberships is not None:
            raise UserError(
                f"{self.info.name} has overlapping groups, which are for evaluation alone, but a method needs a "
                "partition; pass attribute=… to Dataset.of, one value per sample."
            )
        if self.attribute is None:
            raise UserError(
                f"{self.info.name} has no attribute, so its samples have no groups; pass attribute=… to Dataset.of."
            )
        if self.info.task == "regression":
            return self.attribute
        return self.label * self.info.n_attributes + self.attribute

    @property
    def conflicting(self) -> Tensor:
        """True where a sample contradicts the shortcut ``(n,)``; the attribute must be known."""
        _ = self.group  # refuses without an attribute, with the right sentence
        return ~self.info.is_aligned(self.label, cast(Tensor, self.attribute))


@dataclass(frozen=True)
class Splits:
    """What a run is made of: where to learn, where to choose (may be absent), where to judge."""

    train: Dataset
    valid: Dataset | None
    test: Dataset

    @classmethod
    def of(cls, data: Dataset) -> Splits:
        """The parts of data that was read from files: its own, or those that were drawn when it was read.

        Raises:
            UserError: when the data does not say which sample belongs to which part.
        """
        if data.source is None:
            raise UserError(
                f"{data.info.name} does not say which sample belongs to which part; cut it with longcut.data.split."
            )
        part = torch.from_numpy(data.source.part)[data.index]
        train, valid, test = (data.take(part == number) for number in range(3))
        return cls(train, valid if len(valid) else None, test)

    @property
    def info(self) -> Info:
        return self.train.info

    @property
    def whole(self) -> Dataset:
        """All samples of the three parts, which share their storage, in the order of the storage."""
        parts = [part for part in (self.train, self.valid, self.test) if part is not None]
        order = torch.cat([part.index for part in parts]).argsort()
        columns: dict[str, Any] = {}
        for name in ("index", "label", "attribute", "memberships"):
            known = [column for part in parts if (column := getattr(part, name)) is not None]
            columns[name] = torch.cat(known)[order] if len(known) == len(parts) else None
        return dataclasses.replace(self.train, **columns)


def usual_attribute(data: Dataset) -> tuple[int, ...]:
    """For each label, the attribute value that goes with it: the one seen most in excess of independence.

    The excess is the standardised residual of the cell, ``(observed - expected) / sqrt(expected)``: with a label that
    nearly all samples of either attribute have, the commonest attribute would go with every label.

    >>> data = Dataset.of(torch.rand(8, 2), [0, 0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 1, 0, 0, 1])
    >>> usual_attribute(data)
    (0, 1)
    """
    info = data.info
    cells = torch.bincount(data.group, minlength=info.n_classes * info.n_attributes).view(info.n_classes, -1).double()
    expected = cells.sum(1, keepdim=True) * cells.sum(0) / cells.sum()
    return tuple(((cells - expected) / expected.clamp_min(1e-9).sqrt()).argmax(1).tolist())


def _as_tensor(x: Tensor | np.ndarray) -> Tensor:
    import numpy as np

    if isinstance(x, Tensor):
        return x
    if isinstance(x, np.ndarray) and not x.flags.writeable:
        if not (isinstance(x, np.memmap) and x.filename and x.flags.c_contiguous):
            x = x.copy()
        else:  # torch wants writable memory: map the file again, private and copy-on-write, never written
            start = x.ctypes.data - cast(Any, _root(x)).ctypes.data
            x = np.memmap(x.filename, x.dtype, "c", cast(Any, _root(x)).offset + start, x.shape)
    return torch.from_numpy(np.asarray(x))


def _root(x: Any) -> Any:
    """The memory map that a view was cut from."""
    import numpy as np

    while isinstance(x.base, np.memmap):
        x = x.base
    return x


def _column(name: str, what: str, values: Any, rows: int) -> Tensor:
    try:
        read_only = hasattr(values, "flags") and not values.flags.writeable  # torch wants writable memory
        column = torch.as_tensor(values.copy() if read_only else values)
    except (TypeError, ValueError) as error:
        raise UserError(f"{name}: {what} is not made of numbers; number its values from 0.") from error
    if len(column) != rows:
        raise UserError(f"{name}: x has {rows} rows but {what} has {len(column)}; give one {what} for each row.")
    return column


def _ids(name: str, what: str, column: Tensor, count: int | None) -> tuple[Tensor, int]:
    """The column as checked ids, and how many there can be: ``count``, or one more than the largest."""
    if column.ndim != 1 or column.is_floating_point():
        kind, shape = str(column.dtype).removeprefix("torch."), tuple(column.shape)
        raise UserError(
            f"{name}: {what} is {kind} of shape {shape}; give one whole number per row, shape ({len(column)},)."
        )
    ids = column.long().contiguous()
    found = torch.unique(ids).tolist()
    total = count or max(found[-1], 0) + 1
    wrong = [value for value in found if not 0 <= value < total]
    if wrong:
        raise UserError(f"{name}: {what} {wrong[0]} is not in 0…{total - 1}; number the {what}s from 0 without gaps.")
    if what == "label" and count is None and len(found) < total:
        gap = next(i for i, value in enumerate(found) if i != value)
        raise UserError(
            f"{name}: no sample has label {gap}; number the labels 0…C−1 without gaps, or pass n_classes=…."
        )
    return ids, total


def _members(name: str, memberships: Any, n: int) -> Tensor:
    """Checked: one row per sample, one column per group, True or False."""
    members = _column(name, "membership", memberships, n)
    if members.dtype != torch.bool or members.ndim != 2 or not members.shape[1]:
        kind = str(members.dtype).removeprefix("torch.")
        raise UserError(
            f"{name}: memberships are {kind} of shape {tuple(members.shape)}; give True or False for each sample and "
            f"group, shape ({n}, number of groups)."
        )
    return members.contiguous()


def _check_finite(name: str, what: str, values: Tensor) -> None:
    for start, block in zip(range(0, len(values), 4096), values.split(4096), strict=True):
        good = torch.isfinite(block).flatten(1).all(1)
        if not good.all():
            row = start + int((~good).nonzero()[0])
            raise UserError(
                f"{name}: {what} of row {row} holds a value that is not finite (NaN or infinity); "
                "impute or drop it first."
            )


# --- operations Dataset -> Dataset ------------------------------------------------------------------------------------


def _permutation(n: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(n, generator=generator, device=generator.device).cpu()


def _groups(data: Dataset, by: Literal["class", "group"] | Tensor) -> Tensor:
    if isinstance(by, Tensor):
        return by
    if by == "group":
        return data.group
    if data.info.task == "regression":
        raise UserError(f"{data.info.name}: the targets of a regression are no classes, so they cannot be balanced.")
    return data.label


def split(
    data: Dataset, fraction: float, generator: torch.Generator, by: Literal["class", "group"] = "class"
) -> tuple[Dataset, Dataset]:
    """Two disjoint parts, the second with ``fraction`` of each class (or group), at least one of each.

    A regression has no classes; its samples are split at random.

    Raises:
        UserError: when a class (or group) has a single sample, which cannot be in both parts.
    """
    if not 0 < fraction < 1:
        raise UserError(f"the fraction to split off is {fraction}; it must lie between 0 and 1.")
    held = torch.zeros(len(data), dtype=torch.bool)
    stratified = by == "group" or data.info.task == "classification"
    ids = _groups(data, by) if stratified else torch.zeros(len(data))
    for value in torch.unique(ids):
        rows = (ids == value).nonzero().flatten()
        if len(rows) < 2:
            raise UserError(
                f"{data.info.name}: {by} {int(value)} has one sample, so it cannot be in both parts of a split; "
                f"add samples or drop that {by}."
            )
        count = min(max(round(fraction * len(rows)), 1), len(rows) - 1)
        held[rows[_permutation(len(rows), generator)[:count]]] = True
    return data.take(~held), data.take(held)


def subsample(data: Dataset, n: int, generator: torch.Generator) -> Dataset:
    """``n`` samples without repetition, in their old order."""
    if not 0 < n <= len(data):
        raise UserError(f"cannot draw {n} of {len(data)} samples; give a number from 1 to {len(data)}.")
    return data.take(_permutation(len(data), generator)[:n].sort().values)


def upweight(data: Dataset, chosen: Tensor, times: int) -> Dataset:
    """Each chosen sample (boolean mask ``(n,)``) stands ``times`` times, with one identity (JTT)."""
    return data.take(torch.repeat_interleave(torch.where(chosen, times, 1)))


def balance(data: Dataset, by: Literal["class", "group"] | Tensor, generator: torch.Generator) -> Dataset:
    """As many samples, drawn with repetition so that all classes (or groups) are equally likely.

    Every member of a group stands equally often, give or take one, before any stands once more.

    Args:
        data: what to draw from.
        by: what is balanced, or an id for each sample ``(n,)``.
        generator: of the draw.
    """
    ids = _groups(data, by)
    values = torch.unique(ids)
    quota = torch.full((len(values),), len(data) // len(values))
    quota[_permutation(len(values), generator)[: len(data) % len(values)]] += 1
    rows = []
    for value, count in zip(values, quota.tolist(), strict=True):
        members = (ids == value).nonzero().flatten()
        order = members[_permutation(len(members), generator)]
        rows.append(order.repeat(-(-count // len(members)))[:count])
    return data.take(torch.cat(rows))


def undersample(data: Dataset, by: Literal["class", "group"] | Tensor, generator: torch.Generator) -> Dataset:
    """As many samples of each class (or group) as the smallest has, without repetition, in their old order.

    Args:
        data: what to draw from.
        by: what is balanced, or an id for each sample ``(n,)``.
        generator: of the draw.

    Source: SUBY and SUBG of Idrissi et al. 2022, "Simple data balancing achieves competitive worst-group-accuracy".

    >>> data = Dataset.of(torch.rand(6, 2), [0, 1, 0, 0, 1, 0])
    >>> undersample(data, "class", generator(0)).label.bincount()
    tensor([2, 2])
    """
    ids = _groups(data, by)
    _, ids, count = torch.unique(ids, return_inverse=True, return_counts=True)
    order = _permutation(len(data), generator)
    order = order[ids[order].argsort(stable=True)]  # group by group, at random within each
    rank = torch.arange(len(data)) - (count.cumsum(0) - count)[ids[order]]
    return data.take(order[rank < count.min()].sort().values)


def label_noise(
    data: Dataset, rate: float, generator: torch.Generator, kind: Literal["symmetric", "asymmetric"] = "symmetric"
) -> Dataset:
    """Each label is replaced with probability ``rate``: by another label drawn uniformly, or by the next one.

    ``"asymmetric"`` turns label ``c`` into ``c + 1 mod C``, the usual pair flip.
    """
    if not 0 <= rate <= 1:
        raise UserError(f"the label noise rate is {rate}; it must lie between 0 and 1.")
    if data.info.task != "classification" or data.info.n_classes < 2:
        raise UserError(f"{data.info.name}: label noise needs at least two classes.")
    n, classes = len(data), data.info.n_classes
    flip = torch.rand(n, generator=generator) < rate
    step = torch.randint(1, classes, (n,), generator=generator) if kind == "symmetric" else torch.ones(n).long()
    noisy = torch.where(flip, (data.label + step) % classes, data.label)
    return dataclasses.replace(data, label=noisy)


def pools(
    data: Dataset,
    pool: int,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
    *,
    whole_only: bool = False,
) -> Iterator[Batch]:
    """One epoch in random order, in pools of ``pool`` samples; the last may be smaller.

    A single sample that is left over joins the pool before it, since batch normalisation cannot do with one.

    Args:
        whole_only: leave out a last pool that is not full, as the released code of SelecMix does (unless it is the
            only one).
    """
    chunks = list(torch.randperm(len(data), generator=generator).split(pool))
    if not whole_only and pool > 1 and len(chunks) > 1 and len(chunks[-1]) == 1:
        chunks[-2:] = [torch.cat(chunks[-2:])]
    for rows in chunks:
        if whole_only and len(rows) < pool <= len(data):
            return
        yield data.batch(rows, device)
