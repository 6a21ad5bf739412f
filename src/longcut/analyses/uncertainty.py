"""How often a net was wrong about each sample while it learned."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from longcut.datasets import load
from longcut.errors import UserError
from longcut.runs import Run

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["uncertainty"]


def uncertainty(found: Iterable[Run]) -> pd.DataFrame:
    """In what share of its first epochs a net was wrong, by group: whether minorities are more uncertain.

    Args:
        found: finished runs that keep a record of who was wrong (``umix``, ``jtt``, ``jm1``, ``erm:record=online``), on
            data whose attribute is known.

    Returns:
        A row for each run and group: ``method``, ``data``, ``seed``, ``label``, ``attribute`` (ids), ``conflicting``
        (whether it contradicts the shortcut), ``samples``, and ``uncertainty``, their mean share of wrong epochs, with
        ``wrong_always`` and ``wrong_never``, shares of samples. Each epoch that saw a sample counts.

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
        train = load(plan.data, plan.data_seed).train
        if train.attribute is None or not train.info.aligned:
            raise UserError(f"{plan.data} has no attribute that goes with the label; take data where it is known.")
        wrong = 1 - kept["correct"].float()[:, train.index]  # (epochs, n), nan where an epoch did not see a sample
        share = wrong.nanmean(0)
        seen = train.known & ~share.isnan()
        cell = 10_000 * train.label + train.attribute
        for value in cell[seen].unique().tolist():
            rows_of = seen & (cell == value)
            own = share[rows_of].double()
            rows.append(
                {
                    "method": run.record.label,
                    "data": plan.data,
                    "seed": plan.seed,
                    "label": value // 10_000,
                    "attribute": value % 10_000,
                    "conflicting": bool(train.conflicting[rows_of][0]),
                    "samples": int(rows_of.sum()),
                    "uncertainty": float(own.mean()),
                    "wrong_always": float((own == 1).double().mean()),
                    "wrong_never": float((own == 0).double().mean()),
                }
            )
    columns = ["method", "data", "seed", "label", "attribute", "conflicting", "samples", "uncertainty"]
    return pd.DataFrame(rows, columns=[*columns, "wrong_always", "wrong_never"])
