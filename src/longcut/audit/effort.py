"""How long an audit will take and how much memory, said before it begins; and what a quick one leaves out."""

from __future__ import annotations

from typing import NamedTuple

from longcut.audit.base import View
from longcut.audit.crossfit import FOLDS, workload

__all__ = ["FULL", "QUICK", "Effort", "Scope", "effort"]

# Of an audit, how long the rest takes for each second that the ordinary models train, in processor time on one thread.
# Tables: Adult, quick (1.3 s of training, 11.7 in all) and in full (3.7 and 23.8), which also gives the constant part;
# images: 4,795 Waterbirds at 72 pixels (23 s for each of four models, 24 for each debiased one, 67 for the biased).
TIMES = {"table": 5.0, "tokens": 5.0, "image": 3.0}
PAGE = 5.5  # seconds for the checks without models, and the page
BASE, SAID, SEEN = 700e6, 24, 300e6  # bytes: of libraries, of answers to a sample and class, of activations


class Scope(NamedTuple):
    """How much is looked at: of larger data a sample of so many, by models of so many folds."""

    samples: int
    folds: int


FULL, QUICK = Scope(20_000, FOLDS), Scope(5_000, 2)


class Effort(NamedTuple):
    """What an audit will take: ``seconds`` on this machine as busy as it is, and ``memory`` in bytes."""

    seconds: float
    memory: float


def effort(view: View, net: str, folds: int = FOLDS) -> Effort:
    """About what an audit will take, within a factor of two, from a few updates of its ordinary model.

    Columns that are asked about take their own time.

    Args:
        view: what is audited.
        net: spec of the ordinary network.
        folds: number of models of each kind.
    """
    kind, data = view.data.info.kind, view.data
    own = data.x.nbytes / max(len(data.x), 1) * len(data) if len(data) < len(data.x) else 0  # copied
    memory = BASE + data.x.nbytes + own + SAID * len(data) * data.info.n_classes + SEEN * (kind == "image")
    return Effort(PAGE + TIMES[kind] * workload(view, net, folds), memory)
