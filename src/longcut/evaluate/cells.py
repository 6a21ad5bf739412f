"""How test samples are cut into cells, and sums over these, from which metrics of per-sample values are made."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from longcut.data import Dataset
from longcut.evaluate.outputs import Outputs

__all__ = ["Cells", "Draws", "cells_of"]


@dataclass(frozen=True)
class Cells:
    """How the metrics of a data set are put together.

    The samples are cut into cells, such that groups and classes are sums of cells also where groups overlap.

    Attributes:
        cell: of each sample ``(n,)``.
        cells: how many there are.
        groups: names (label, attribute or membership), in order.
        in_group: cells and the groups that they lie in ``(k,)``; None where the cells are the groups.
        label: of each cell ``(cells,)``; None in regression.
        classes: number of classes.
        conflict: 1 for cells that contradict the shortcut, 0 for those that agree with it, -1 for samples whose
            attribute is not known ``(cells,)``; None where it is not known of any.
        share: of each group in the training set; None where that does not know the same groups.
    """

    cell: Tensor
    cells: int
    groups: Sequence[tuple[int, int | None]]
    in_group: tuple[Tensor, Tensor] | None
    label: Tensor | None
    classes: int
    conflict: Tensor | None
    share: Tensor | None

    def sums(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Sums of per-sample values ``(s, n)`` over cells, and the sizes of the cells: ``(s, cells)``, in float64."""
        total = torch.zeros(len(values), self.cells, dtype=torch.float64).index_add_(1, self.cell, values.double())
        return total, torch.bincount(self.cell, minlength=self.cells).double().expand_as(total)

    def by_group(self, total: Tensor) -> Tensor:
        """Sums over each group's cells, of sums over cells ``(…, cells)``."""
        return total if self.in_group is None else _gathered(total, *self.in_group, len(self.groups))

    def by_class(self, total: Tensor) -> Tensor:
        """Sums over each class's cells; ``(…, 0)`` in regression."""
        if self.label is None:
            return total[..., :0]
        return _gathered(total, torch.arange(self.cells), self.label, self.classes)


def _gathered(total: Tensor, source: Tensor, target: Tensor, size: int) -> Tensor:
    return total.new_zeros(*total.shape[:-1], size).index_add_(-1, target, total[..., source])


def cells_of(data: Dataset, train: Dataset | None) -> Cells:
    """The cells of a data set; ``train`` gives the shares of the groups."""
    info, classify = data.info, data.info.task == "classification"
    if data.memberships is None:
        cell, cells = _partition(data)
        every, width = torch.arange(cells), info.n_attributes if data.attribute is not None else 1
        label, attribute = every // width, every % width
        groups = [divmod(i, width) if data.attribute is not None else (i, None) for i in range(cells)]
        in_group = None
        if (cell < 0).any():  # samples of no group: a cell of each class, which lies in none
            in_group, rest = (every, every), torch.arange(info.n_classes if classify else 1)
            cell = torch.where(cell < 0, cells + (data.label if classify else 0), cell)
            label, attribute = torch.cat([label, rest]), torch.cat([attribute, torch.full_like(rest, -1)])
            cells += len(rest)
    else:
        cell, example = _patterns(data)
        cells, width = len(example), data.memberships.shape[1]
        label = data.label[example] if classify else torch.zeros(cells).long()
        attribute = None if data.attribute is None else data.attribute[example]
        groups = [divmod(i, width) for i in range(width * (info.n_classes if classify else 1))]
        where, member = data.memberships[example].nonzero(as_tuple=True)
        in_group = where, label[where] * width + member
    known = bool(info.aligned) and data.attribute is not None and attribute is not None and classify
    return Cells(
        cell=cell,
        cells=cells,
        groups=groups,
        in_group=in_group,
        label=label if classify else None,
        classes=info.n_classes if classify else 0,
        conflict=torch.where(attribute < 0, -1, info.conflicts(label, attribute).long()) if known else None,  # type: ignore[operator, arg-type]
        share=_share(train, data),
    )


def _partition(data: Dataset) -> tuple[Tensor, int]:
    """Group of each sample where groups do not overlap, -1 of one that is in none, and the number of groups."""
    if data.info.task == "regression":
        attribute = torch.zeros(len(data)).long() if data.attribute is None else data.attribute
        return attribute, max(data.info.n_attributes, 1)
    if data.attribute is None:
        return data.label, data.info.n_classes
    return data.group, data.info.n_classes * data.info.n_attributes


def _patterns(data: Dataset) -> tuple[Tensor, Tensor]:
    """Samples alike in label, attribute and all memberships share a cell: cell of each sample, a sample of each."""
    assert data.memberships is not None
    columns = [*data.memberships.long().T, *([] if data.attribute is None else [data.attribute + 1])]
    cell = data.label if data.info.task == "classification" else torch.zeros(len(data)).long()
    for column in columns:
        cell = torch.unique(cell * (int(column.max()) + 1 if len(column) else 1) + column, return_inverse=True)[1]
    cell = torch.unique(cell, return_inverse=True)[1]
    example = torch.zeros(int(cell.max()) + 1 if len(cell) else 0).long()
    example[cell] = torch.arange(len(cell))
    return cell, example


def _share(train: Dataset | None, data: Dataset) -> Tensor | None:
    """The share of each group of ``data`` in the training set; None where that does not know the same groups.

    Samples of the training set that are in no group do not count.
    """
    if train is None or data.memberships is not None or (train.attribute is None) != (data.attribute is None):
        return None
    cells, count = _partition(train)
    cells = cells[cells >= 0]
    if count != _partition(data)[1] or (not len(cells) and len(train)):
        return None
    return torch.bincount(cells, minlength=count).double() / max(len(cells), 1)


@dataclass(frozen=True, eq=False)
class Draws:
    """Several resamples of the test samples, or one set that is not resampled: what metrics are computed from.

    Attributes:
        cells: of the samples.
        total: sums of the per-sample values over cells ``(…, cells)``, in float64.
        n: sizes of the cells, likewise.
        weight: how often each sample stands in each resample ``(k, n)``, in float64; None where only sums are known.
        outputs: of the model; None where they are not known.
    """

    cells: Cells
    total: Tensor
    n: Tensor
    weight: Tensor | None = None
    outputs: Outputs | None = None

    def first(self, k: int) -> Draws:
        """The first ``k`` resamples, none where that is below 0."""
        total, n, weight = (None if one is None else one[: max(k, 0)] for one in (self.total, self.n, self.weight))
        return dataclasses.replace(self, total=total, n=n, weight=weight)

    @property
    def nan(self) -> Tensor:
        """What a metric is that is not defined."""
        return torch.full(self.total.shape[:-1], torch.nan, dtype=torch.float64)

    @cached_property
    def groups(self) -> tuple[Tensor, Tensor]:
        """Mean, ``nan`` where there is no sample, and size of each group ``(…, groups)``."""
        n = self.cells.by_group(self.n)
        return self.cells.by_group(self.total) / n, n

    @cached_property
    def classes(self) -> tuple[Tensor, Tensor]:
        """Mean, ``nan`` where there is no sample, and size of each class ``(…, classes)``; of none in regression."""
        n = self.cells.by_class(self.n)
        return self.cells.by_class(self.total) / n, n
