"""What a method sees: samples as a :class:`Batch` of columns, and an :class:`Info` about the data they come from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self, cast

import torch
from torch import Tensor

from longcut.errors import UserError

__all__ = ["Batch", "Info", "Rows", "as_input", "to_device"]

COLUMNS = ("x", "label", "attribute", "index")
OTHERS = {"pixel_values": "x", "inputs_embeds": "x", "labels": "label"}  # what others call them


class Rows:
    """A frozen dataclass of equal-length columns that is indexed by rows, all columns at once."""

    def __getitem__(self, rows: Tensor | slice) -> Self:
        columns = {f.name: _rows_of(getattr(self, f.name), rows) for f in dataclasses.fields(cast(Any, self))}
        return type(self)(**columns)  # all columns are there, and a step slices many times

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
    return None if column is None else to_device(column, device)


def to_device(column: Tensor, device: torch.device | str) -> Tensor:
    """The column on a device; without waiting for it, except on the CPU, which could read values not yet there."""
    return column.to(device, non_blocking=torch.device(device).type != "cpu")


@dataclass(frozen=True)
class Info:
    """What a method needs to know about the data before it sees a batch.

    Attributes:
        name: of the data set, with its options.
        shape: of one sample's ``x``, such as ``(3, 28, 28)``.
        n_classes: number of labels; for regression, the width of the target.
        n_attributes: number of attribute values; 0 when no attribute is known.
        partial: whether the attribute of some samples is not known; it is -1 then.
        notes: what a reader of results must know about the data, such as how an attribute was guessed; each is a
            sentence that begins in lower case.
        n_stored: rows of the storage, which is the size of a per-sample memory: identities are below it.
        task: ``"classification"`` or ``"regression"``.
        kind: ``"image"``, ``"table"`` or ``"tokens"``.
        class_names, attribute_names: what labels and attributes are called.
        aligned: for each label, the attribute value that usually goes with it; empty when unknown.
        membership_names: of the overlapping groups, where the data has ``memberships``.
        vocabulary: number of token ids, for ``kind="tokens"``.
        encoder: of features, the spec and version of the pretrained net that made them, as ``"spec@version"``; empty
            where there is none or it is not known.
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
    encoder: str = ""
    partial: bool = False
    notes: tuple[str, ...] = ()

    @property
    def n_groups(self) -> int:
        """How many groups there can be: each label with each attribute value; in regression, the attribute values."""
        return self.n_attributes * (self.n_classes if self.task == "classification" else 1)

    def groups(self, label: Tensor, attribute: Tensor) -> Tensor:
        """``label * n_attributes + attribute`` of each sample ``(n,)``; in regression, its attribute.

        A sample whose attribute is not known belongs to no group, which is -1.

        >>> Info("toy", (2,), 2, 2).groups(torch.tensor([1, 1, 0]), torch.tensor([0, -1, 1]))
        tensor([ 2, -1,  1])
        """
        if self.task == "regression":
            return attribute
        return torch.where(attribute < 0, -1, label * self.n_attributes + attribute)

    def strata(self, label: Tensor, attribute: Tensor) -> Tensor:
        """As :meth:`groups`, but the samples of no group are one more part of each class, behind all groups ``(n,)``.

        >>> Info("toy", (2,), 2, 2).strata(torch.tensor([1, 1, 0]), torch.tensor([0, -1, -1]))
        tensor([2, 5, 4])
        """
        group = self.groups(label, attribute)
        rest = self.n_groups + label if self.task == "classification" else self.n_groups
        return torch.where(group < 0, rest, group)

    def is_aligned(self, label: Tensor, attribute: Tensor) -> Tensor:
        """True where a sample is known to agree with the shortcut; shape ``(n,)``.

        Raises:
            UserError: when it is not known which attribute value goes with which label.
        """
        if not self.aligned:
            raise UserError(
                f"{self.name} does not say which attribute value goes with which label; "
                "pass aligned=(…), one attribute value per label, to Dataset.of."
            )
        return torch.as_tensor(self.aligned, device=label.device)[label] == attribute

    def conflicts(self, label: Tensor, attribute: Tensor) -> Tensor:
        """True where a sample is known to contradict the shortcut ``(n,)``.

        Raises:
            UserError: as :meth:`is_aligned`.
        """
        return ~self.is_aligned(label, attribute) & (attribute >= 0)


@dataclass(frozen=True)
class Batch(Rows):
    """Some samples, gathered: what a method's ``loss`` and a pair rule see.

    Attributes:
        x: inputs as a net takes them: images float in [0, 1] ``(n, C, H, W)``, tables float ``(n, d)``,
            token ids ``(n, length)``.
        label: class ids ``(n,)``, or float targets ``(n, width)`` for regression.
        attribute: attribute ids ``(n,)``, -1 where it is not known; None when it is known of nobody.
        index: who each sample is in the original data ``(n,)``, or None in a foreign loop.
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

    @classmethod
    def of(cls, given: Any) -> Batch:
        """What other people's loops pass around, as a batch.

        Args:
            given: a batch; a tuple ``(x, label)``, ``(x, label, attribute)`` or with ``index`` as the fourth; or a dict
                with these keys. In a dict, ``pixel_values`` or ``inputs_embeds`` may stand for ``x``, and ``labels``
                for ``label``; other keys are left out.

        Raises:
            UserError: for anything else.

        >>> len(Batch.of((torch.rand(2, 3), torch.tensor([0, 1])))), len(Batch.of({"x": torch.rand(1), "labels": [1]}))
        (2, 1)
        """
        if isinstance(given, Batch):
            return given
        if isinstance(given, Mapping):
            columns = {OTHERS.get(name, name): column for name, column in given.items() if column is not None}
        elif isinstance(given, tuple | list) and len(given) <= len(COLUMNS):
            columns = dict(zip(COLUMNS, given, strict=False))
        else:
            columns = {}
        if not {"x", "label"} <= columns.keys():
            said = ", ".join(map(str, given)) if isinstance(given, Mapping) else type(given).__name__
            raise UserError(
                f"a batch was given as {said or 'an empty dict'}; give a Batch, (x, label), (x, label, attribute), or "
                "a dict with x and label."
            )
        known = (None if columns.get(name) is None else torch.as_tensor(columns[name]) for name in COLUMNS)
        return cls(*cast(Any, known))

    def gather(self, rows: Tensor) -> Tensor:
        """A copy of the inputs of some rows, as :meth:`longcut.data.Dataset.gather`."""
        return self.x.index_select(0, rows)

    def with_extra(self, **columns: Any) -> Batch:
        """This batch with further columns, sliced and moved with the rest."""
        return dataclasses.replace(self, extra={**self.extra, **columns})


def require_index(rows: Any) -> Tensor:
    """Who each of the rows is ``(n,)``, for those that keep a memory per sample.

    Args:
        rows: a batch, a data set, or anything with an ``index``.

    Raises:
        UserError: when it was made without.
    """
    if rows.index is None:
        raise UserError("a memory per sample needs to know who is who; pass Batch(x, label, index=…).")
    return rows.index


def as_input(x: Tensor) -> Tensor:
    """What a net takes: uint8 images become float32 in [0, 1], other floats float32; token ids pass.

    >>> as_input(torch.tensor([0, 255], dtype=torch.uint8))
    tensor([0., 1.])
    """
    if x.dtype == torch.uint8:
        return x.to(torch.float32).div_(255)
    return x.float() if x.is_floating_point() else x
