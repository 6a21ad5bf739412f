"""SelecMix's partner bank: the samples of the whole training set that may be partners in a biased model's eyes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from longcut.bias import Likeness, class_similarity, least_typical, unexplained
from longcut.data import Dataset
from longcut.methods.base import Method
from longcut.methods.biased.early import FEW
from longcut.methods.biased.suspicion import Suspicion
from longcut.mixing.pairs import Take
from longcut.predict import predict

__all__ = ["atypical", "confirmed", "contradicting"]

BY_HEART = 0.15  # of those that look like another class, what a net confirms at most that does not know them by heart

Where = Annotated[
    Literal["bank", "pool"], Field(description="partners from the whole training set, or from the current pool")
]
Candidates = Annotated[
    float,
    Field(gt=0, le=1, description="bank, pairs=learned: share of each class, the most atypical, that may be a partner"),
]
Search = Annotated[
    int, Field(ge=2, description="bank, but not pairs=early: candidates, drawn anew, that each pool is compared with")
]
Within = Annotated[
    float, Field(ge=0, le=1, description="how far from the best a partner may be, in parts of the row's range")
]
Argmax = Annotated[
    Literal["paper", "code"],
    Field(description="what cannot be a partner is left out, or as released counts as 1 (A) or 0 (B)"),
]
Partner = Annotated[
    Take, Field(description="pairs=attribute: any sample that fits, or the first in the pool, one for a whole cell")
]
Confirm = Annotated[
    bool,
    Field(
        description="bank: where too much contradicts the cue to mix, as with wrong labels, mix what the main net "
        "confirms"
    ),
]
Unmixed = Annotated[
    float, Field(ge=0, description="samples left as they are, in multiples of the share that contradicts the cue")
]


def atypical(
    bias: Likeness, data: Dataset, share: float, net: Method | None = None, unmixed: float = 1.0
) -> tuple[Tensor, float]:
    """The samples that may be partners, and how much of the data contradicts the cue.

    They are the least typical of their class in the biased model's eyes. Where too much contradicts the cue to be a
    shortcut, as with wrong labels, they are those that look like another class to it and whose label the main net
    still gives: wrong labels contradict the cue like nothing else, and are what a net gets right last.

    Args:
        bias: with a fresh memory of all samples.
        data: the training samples.
        share: of each class that may be a partner.
        net: the main net, to be asked where too much contradicts; None is never asked.
        unmixed: too much contradicts where that many times the share that does is at least all.

    Returns:
        Positions in ``data``, and a share in [0, 1].
    """
    z = bias.direction(bias.bank[data.index.to(bias.bank.device)]).cpu()
    view = z, data.label, data.info.n_classes
    share_odd = unexplained(*view)
    if net is not None and unmixed * share_odd >= 1:
        odd = class_similarity(*view).argmax(1) != data.label
        if len(sure := confirmed(net, data, odd)):
            return sure, len(sure) / len(data)
    return least_typical(*view, share), share_odd


def contradicting(early: Suspicion, data: Dataset, net: Method | None) -> tuple[Tensor, float]:
    """As :func:`atypical`, by a biased model that was chosen by evidence.

    A main net that confirms many of those that look like another class has learned wrong labels by heart, or what was
    merely hard for the biased model; then there are no partners. Nor are there where it confirms fewer than five for
    each class: nearly all samples would be mixed with these, and some of them are wrong.

    Args:
        early: what it found.
        data, net: as there.
    """
    odd, clear = early.odd.cpu()[data.index], early.chosen.cpu()[data.index]
    if net is not None and early.too_many:
        sure = confirmed(net, data, odd)
        told = FEW * data.info.n_classes <= len(sure) < BY_HEART * int(odd.sum())
        sure = sure[: len(sure) * told]
        return sure, 2 * len(sure) / len(data)  # most of them are wrong labels still: twice as many stay as they are
    return clear.nonzero().flatten(), float(odd.float().mean())


def confirmed(net: Method, data: Dataset, odd: Tensor) -> Tensor:
    """Positions of the samples that look like another class, and whose label the net gives.

    Args:
        net: the main one.
        data: the training samples.
        odd: who looks like another class ``(n,)``, boolean.
    """
    rows = odd.nonzero().flatten()
    device = next(net.parameters()).device
    return rows[predict(net, data.take(rows), device).argmax(1) == data.label[rows]]
