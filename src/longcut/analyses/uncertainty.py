"""How often a net was wrong about each sample while it learned."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from longcut.datasets import load
from longcut.errors import UserError
from longcut.runs import Run

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

__all__ = ["uncertainty", "wrong_by_group"]


def uncertainty(found: Iterable[Run]) -> pd.DataFrame:
    """In what share of its first epochs a net was wrong, by group: whether minorities are more uncertain.

    Args:
        found: finished runs that keep a record of who was wrong (``umix``, ``jtt``, ``jm1``, ``erm:record=online``), on
            data whose attribute is known. The data is read again where a run does not keep the attribute.

    Returns:
        A row for each run and group: ``method``, ``data``, ``seed``, and what :func:`wrong_by_group` says of it.

    Raises:
        UserError: when a run has no such record, or its data no attribute.

    Source: Han et al., UMIX, NeurIPS 2022.
    """
    import pandas as pd

    rows = []
    for run in found:
        plan, kept = run.record.plan, run.identification()
        if "correct" not in kept:
            raise UserError(
                f"the run in {run.folder} has no record of who was wrong; name one of umix, jtt or erm:record=online."
            )
        groups = _kept(run) if "attribute" in kept else _read_again(run)
        if groups is None:
            raise UserError(f"{plan.data} has no attribute that goes with the label; take data where it is known.")
        rows += [{"method": run.record.label, "data": plan.data, "seed": plan.seed} | group for group in groups]
    columns = ["method", "data", "seed", "label", "attribute", "conflicting", "samples", "uncertainty"]
    return pd.DataFrame(rows, columns=[*columns, "wrong_always", "wrong_never"])


def wrong_by_group(correct: Tensor, label: Tensor, attribute: Tensor, conflicting: Tensor) -> list[dict[str, Any]]:
    """In what share of the epochs that saw a sample a net was wrong about it, by group.

    Args:
        correct: 1 where the prediction was right, 0 where not, ``nan`` in an epoch that did not see the sample
            ``(epochs, n)``.
        label, attribute: ids ``(n,)``; samples whose attribute is -1 are in no group.
        conflicting: who contradicts the shortcut ``(n,)`` boolean.

    Returns:
        For each group ``label``, ``attribute``, ``conflicting``, how many ``samples`` were ever seen, ``uncertainty``,
        their mean share of wrong epochs, and ``wrong_always`` and ``wrong_never``, shares of samples.

    >>> import torch
    >>> correct = torch.tensor([[1.0, 0.0], [1.0, torch.nan]])
    >>> found = wrong_by_group(correct, torch.tensor([0, 1]), torch.tensor([0, 0]), torch.tensor([False, True]))
    >>> [(group["label"], group["uncertainty"]) for group in found]
    [(0, 0.0), (1, 1.0)]
    """
    share = (1 - correct.float()).nanmean(0)
    seen = (attribute >= 0) & ~share.isnan()
    cell = 10_000 * label + attribute
    groups = []
    for value in cell[seen].unique().tolist():
        rows = seen & (cell == value)
        own = share[rows].double()
        groups.append(
            {
                "label": value // 10_000,
                "attribute": value % 10_000,
                "conflicting": bool(conflicting[rows][0]),
                "samples": int(rows.sum()),
                "uncertainty": float(own.mean()),
                "wrong_always": float((own == 1).double().mean()),
                "wrong_never": float((own == 0).double().mean()),
            }
        )
    return groups


def _kept(run: Run) -> list[dict[str, Any]] | None:
    """By what the run folder holds; None where no value of the attribute goes with a label."""
    inputs, kept = run.inputs(), run.identification()
    if inputs is None or not inputs.info.aligned:
        return None
    label, attribute = kept["label"], kept["attribute"]
    conflicting = inputs.info.conflicts(label, attribute)
    return wrong_by_group(kept["correct"][:, kept["index"]], label, attribute, conflicting)


def _read_again(run: Run) -> list[dict[str, Any]] | None:
    """The same of a run from before attributes were kept, or whose data has none."""
    plan = run.record.plan
    train = load(plan.data, plan.data_seed).train
    if train.attribute is None or not train.info.aligned:
        return None
    attribute = train.attribute.where(train.known, -1)
    return wrong_by_group(run.identification()["correct"][:, train.index], train.label, attribute, train.conflicting)
