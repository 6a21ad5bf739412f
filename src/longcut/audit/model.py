"""What it costs a model that is already trained: its accuracy where the easy cue agrees and where it does not."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from longcut.audit.association import resampled
from longcut.audit.base import Finding, View
from longcut.audit.crossfit import see
from longcut.audit.judged import Judged, gap
from longcut.data import Dataset
from longcut.errors import UserError

if TYPE_CHECKING:
    from longcut.runs import Run

__all__ = ["check_features", "model"]

DRAWS = 1000


def model(view: View, judged: Judged, run: Run, test: Dataset) -> Finding:
    """The gap of a run on its own test set; a biased model trained on the audited samples says who contradicts.

    Where the run kept a record of whom it got wrong (:mod:`longcut.identify`), the sentence tells it for both sides.

    Args:
        view: the audited samples, on which the biased model is trained, and stopped as in the audit.
        judged: says where to stop, and gives the baseline: the debiased model's gap on the audited samples.
        run: finished; its predictions are judged.
        test: its test set.

    Raises:
        UserError: when the run has other classes than the audited data.
    """
    predictions = run.predictions()
    check_features(run, test.info.encoder, view.data.info.encoder)
    if test.info.class_names != view.classes or not torch.equal(predictions["label"], test.label):
        raise UserError(f"the run in {run.folder} was made with other data; name a run on the data that is audited.")
    correct = (predictions["outputs"].argmax(1) == predictions["label"]).numpy()
    with view.threads():
        sides = see(view, test, judged.stopped, judged.member)
    cost, baseline = float(gap(correct, sides)[0]), float(gap(judged.debiased_correct, judged)[0])
    gaps = resampled(partial(gap, correct, sides), len(correct), view.random(5), DRAWS)
    low, high = np.quantile(gaps, [0.025, 0.975])
    label = run.record.label
    verdict = "alarm" if low > max(baseline, 0.1) else "notice" if low > 0.1 else "clear"
    rows = (("agrees", ~sides.contradicts), ("contradicts", sides.contradicts))
    table = tuple(
        {"easy cue": side, "samples": int(at.sum()), "accuracy": float(correct[at].mean()) if at.any() else None}
        for side, at in rows
    )
    agree, against = ("none" if row["accuracy"] is None else f"{row['accuracy']:.0%}" for row in table)
    sentence = (
        f"{label} is right on {agree} of the {(~sides.contradicts).sum():,} test samples that agree with the easy cue "
        f"and on {against} of the {sides.contradicts.sum():,} that contradict it."
    )
    if (shares := _while_training(view, judged, run)) is not None:
        sentence += (
            f" While it learned, it was wrong about its training samples that agree in {shares[0]:.0%} of the epochs, "
            f"and about those that contradict in {shares[1]:.0%}."
        )
    return Finding(
        name="model",
        question=f"What does it cost {label}?",
        statistic=cost,
        measure="accuracy lost on test samples that contradict the easy cue, weighted by how clearly they do",
        baseline=baseline,
        interval=(float(low), float(high)),
        p_value=float("nan"),
        verdict=verdict,
        sentence=sentence,
        table=table,
    )


def check_features(run: Run, own: str, audited: str) -> None:
    """Refuse a run that sees other features than the audit does.

    Args:
        run: finished.
        own: the pretrained net that made the features it sees, of :class:`longcut.data.Info`.
        audited: the same of the audit.

    Raises:
        UserError: in this case.
    """
    if own != audited:
        one, other = (f"features of {net}" if net else "no pretrained features" for net in (own, audited))
        raise UserError(f"the run in {run.folder} sees {one}, and the audit {other}; give both the same --features.")


def _while_training(view: View, judged: Judged, run: Run) -> tuple[float, float] | None:
    """Share of the epochs in which the run was wrong about agreeing and about suspected samples; None if not kept."""
    correct = run.identification().get("correct")
    if correct is None or correct.shape[1] != view.data.info.n_stored:
        return None
    mistaken = (1 - correct[:, view.data.index].float()).nanmean(0).numpy()  # share of the epochs
    seen = ~np.isnan(mistaken)
    sides = (seen & ~judged.suspected, seen & judged.suspected)
    return (float(mistaken[sides[0]].mean()), float(mistaken[sides[1]].mean())) if all(map(np.any, sides)) else None
