"""Is it a minority? Whom a method took for one, held against chance, wrong labels and what a shortcut leaves over.

A biased model that was chosen by evidence has not seen the samples it is asked about (see
:mod:`longcut.methods.biased.early`). Whom it contradicts no more often than others of their class, nobody has found.
Wrong labels are contradicted as surely as samples that contradict a shortcut, but nothing can be learned from them: a
net that has not seen them, and learned from others of their kind with more weight, gives the labels of the latter and
takes the former for what they look like.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from longcut import nets
from longcut.data import Dataset, Info, draw, generator, split
from longcut.errors import UserError
from longcut.identify import margins
from longcut.methods.base import FitHelper, Method
from longcut.methods.biased.early import BATCH, LOOP, UPDATES, Member, clarity, explain
from longcut.predict import predict

__all__ = ["Kind", "Verdict", "above_chance", "asked", "examine", "judge_minority", "learnable"]

Kind = Literal["minority", "chance", "noise", "too many", "nobody", "unclear"]
LEVEL = 0.01  # of every test
MANY, MOST = 1 / 8, 1 / 2  # of the data: what a shortcut leaves over at most, and what is no minority at all
HARD = 1 / 4  # of the samples that are told right, those that are told least surely: a mistake as unsure is no evidence
NET, ROUNDS = "tiny:side=32,width=8", 10  # what is asked, on tables and token ids as small a net of their kind


@dataclass(frozen=True)
class Verdict:
    """Whether those whom a method took for the minority are one.

    Attributes:
        kind: ``minority``, where a cue is told from the label and they contradict it; ``chance``, where they look like
            another class no more often than anybody; ``noise``, where they do, but their labels cannot be learned;
            ``too many``, where most of them are no minority; ``nobody``; ``unclear``.
        numbers: ``chosen``, how many; ``odd``, how many of them look like another class; ``expected``, how many of as
            many random ones of the same classes would; ``p_chance``, how likely those are to be as many; ``clarity``
            of the biased model; and those of :func:`learnable`. What was not worked out is missing.
        sentence: for the record; begins in lower case.
    """

    kind: Kind
    numbers: Mapping[str, float]
    sentence: str


def above_chance(label: Tensor, chosen: Tensor, odd: Tensor) -> tuple[float, float]:
    """How many odd ones as many random samples of the same classes would hold, and how likely that is as many.

    Args:
        label: ``(n,)``.
        chosen, odd: boolean ``(n,)``.

    Returns:
        The expectation, and the probability of at least as many: the sum of one hypergeometric number for each class.

    >>> label, half = torch.zeros(4).long(), torch.tensor([True, True, False, False])
    >>> expected, p = above_chance(label, half, half)  # of the six pairs one holds both odd ones
    >>> round(expected, 3), round(p, 3)
    (1.0, 0.167)
    """
    from scipy.stats import hypergeom

    total, least, expected = np.ones(1), 0, 0.0
    for value in torch.unique(label):
        own = label == value
        n, k, o = int(own.sum()), int((own & chosen).sum()), int((own & odd).sum())
        low = max(0, k + o - n)
        chance = hypergeom.pmf(np.arange(low, min(k, o) + 1), n, o, k)
        likely = np.flatnonzero(chance > 1e-15)  # large classes have long tails of nothing
        total = np.convolve(total, chance[likely[0] : likely[-1] + 1])
        least += low + int(likely[0])
        expected += k * o / n
    hit = int((chosen & odd).sum())
    return expected, min(1.0, float(total[max(0, hit - least) :].sum()))


def judge_minority(
    chosen: Tensor, label: Tensor, logits: Tensor, separates: bool, said: Tensor | None = None
) -> Verdict:
    """Hold a choice against what chance, wrong labels and hard samples would give.

    Args:
        chosen: whom a method took for the minority ``(n,)``, boolean.
        label: ``(n,)``.
        logits: of a biased model that has not seen the sample ``(n, C)``.
        separates: whether that model explains what a shortcut explains (see
            :attr:`longcut.methods.biased.early.Explained.separates`).
        said: the class that a net gives that has not seen the sample, and heard more of those that the biased model
            gets wrong ``(n,)``; without it nothing better than ``unclear`` can be said.

    >>> label = torch.zeros(100).long()
    >>> looks = (torch.arange(100) < 10).long()  # ten samples look like the other class
    >>> judge_minority(looks > 0, label, torch.eye(2)[looks], True, said=label).kind
    'minority'
    >>> judge_minority(looks > 0, label, torch.eye(2)[looks], True, said=looks).kind
    'noise'
    >>> judge_minority(looks < 1, label, torch.eye(2)[looks], True).kind
    'too many'
    """
    n, size = len(label), int(chosen.sum())
    numbers: dict[str, float] = {"chosen": size}
    who = f"it took {size:,} of {n:,} samples ({size / n:.1%}) for the minority"
    if not size:
        return Verdict("nobody", numbers, f"{who}, so that it did nothing for anybody that erm does not do.")
    if size > MOST * n:
        return Verdict("too many", numbers, f"{who}: more than half are no minority.")
    odd = logits.argmax(1) != label
    hit = int((chosen & odd).sum())
    expected, p_chance = above_chance(label, chosen, odd)
    numbers |= {"odd": hit, "expected": expected, "p_chance": p_chance}
    looked = f"{who}; {hit:,} of them look like another class to a biased model that has not seen them"
    if p_chance >= LEVEL:
        doubt = f"of as many random ones {expected:,.1f} do, so that its minority is no better than chance"
        return Verdict("chance", numbers, f"{looked}, but {doubt}: take erm, or say who is in the minority.")
    looked = f"{looked} ({expected:,.1f} by chance)"
    numbers["clarity"] = clarity(margins(logits, label))
    if said is not None:
        answered = learnable(chosen, label, logits, said)
        numbers |= answered
        ask = "of the {asked:.0f} surest, a net that has not seen them gives {label:.0f} their label"
        looked = f"{looked}; {ask.format(**answered)}, and {answered['by_error']:.1f} would be by its errors alone"
        if answered["p_label"] >= LEVEL and answered["p_looks"] < LEVEL:
            then = "as where labels are wrong, or the input does not tell them: look at those"
            return Verdict("noise", numbers, f"{looked}, {then}.")
    if not separates or numbers["clarity"] < Member().need:
        then = "no biased model tells a cue from the label here, so that they may be hard samples and no minority"
        return Verdict("unclear", numbers, f"{looked}, but {then}.")
    if numbers.get("p_label", 1.0) >= LEVEL:
        then = "whether it is a minority or wrong labels cannot be told"
        return Verdict("unclear", numbers, f"{looked}: {then}.")
    if size > MANY * n and 2 * hit < size:
        return Verdict("too many", numbers, f"{looked}: a minority is among them, but most are not in it.")
    return Verdict("minority", numbers, f"{looked}, so that they do contradict a shortcut.")


def learnable(chosen: Tensor, label: Tensor, logits: Tensor, said: Tensor) -> dict[str, float]:
    """Whether a net that has not seen them gives the labels of the chosen ones that most surely look otherwise.

    A wrong label says nothing of the input: a net meets it no more often than it errs where the biased model is right,
    whatever the number of classes, and whichever label stands in the place of which (Fisher's exact test). Merely hard
    samples, which a net may well get right, look like another class less surely, and are left out.

    Args:
        chosen, label, logits, said: as in :func:`judge_minority`; one of those chosen looks like another class.

    Returns:
        ``asked``, how many; ``label`` and ``looks``, of how many of them the net gives the label, or the class they
        look like; ``by_error``, how many labels it would give by its errors; ``p_label``, how likely at least ``label``
        are then; ``p_looks``, how likely at least ``looks`` of both are if both are equally likely.
    """
    from scipy.stats import binom, hypergeom

    looks, margin = logits.argmax(1), margins(logits, label)
    odd, right = looks != label, margin[margin > 0]
    rows = chosen & odd
    if len(right):
        bar = right.sort().values[int(HARD * len(right))]
        rows = rows & (-margin >= bar)
    asked, own, other = int(rows.sum()), int((said == label)[rows].sum()), int((said == looks)[rows].sum())
    rest, errors = int((~odd).sum()), int((said != label)[~odd].sum())
    return {
        "asked": asked,
        "label": own,
        "looks": other,
        "by_error": asked * errors / max(rest, 1),
        "p_label": float(hypergeom.sf(own - 1, asked + rest, own + errors, asked)),
        "p_looks": float(binom.sf(other - 1, own + other, 0.5)),
    }


class Heeding(Method):
    """A small ordinary net that hears more of those that look like another class.

    Args:
        info: of the data.
        weight: of each stored sample ``(n_stored,)``.
    """

    name = "heeding"

    def __init__(self, info: Info, weight: Tensor) -> None:
        super().__init__(lambda: nets.build(NET, info), info)
        self.register_buffer("weight", weight)

    weight: Tensor

    def epoch_data(self, train: Dataset) -> Dataset:
        """As many samples as one round takes, drawn by weight."""
        return draw(train, self.weight.cpu()[train.index], self.generator, BATCH * UPDATES)


def asked(train: Dataset, looks: Tensor, fit: FitHelper, *, seed: int, device: torch.device | str = "cpu") -> Tensor:
    """What an ordinary net says of each sample, having learned from the half that the sample is not in.

    In every class, those that look like another one weigh as much together as the rest, so that what they look like
    tells the net nothing.

    Args:
        train: the samples.
        looks: the class that each looks like ``(n,)``.
        fit: the loop.
        seed: of the halves and the first weights.
        device: where the nets are.

    Returns:
        Classes ``(n,)``.
    """
    odd = looks != train.label
    cell = 2 * train.label + odd
    weight = torch.zeros(train.info.n_stored, dtype=torch.double)
    weight[train.index] = 1 / torch.bincount(cell).double()[cell]
    place = torch.zeros(train.info.n_stored, dtype=torch.long)
    place[train.index] = torch.arange(len(train))
    said = torch.zeros_like(train.label)
    one, other = split(train, 0.5, generator(seed, 91))
    for number, (half, held) in enumerate([(one, other), (other, one)]):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(generator(seed, 92 + number).initial_seed())
            net = Heeding(train.info, weight)
        fit(net, half, epochs=ROUNDS, batch=BATCH, **LOOP)
        said[place[held.index]] = predict(net, held, device).argmax(1)
    return said[place[train.index]]


def examine(method: Method, train: Dataset, fit: FitHelper, seed: int) -> Verdict | None:
    """The verdict on whom a trained method took for the minority; None where it did not look for one by itself.

    It costs some four thousand updates of small nets with 128 samples each, whatever the run's net, and changes
    nothing of the method.

    Args:
        method: trained.
        train: what the run trained on.
        fit: the loop, with random numbers of its own.
        seed: of everything that is drawn.
    """
    chosen = method.minority(train) if train.info.task == "classification" else None
    if chosen is None:
        return None
    if not 0 < chosen.sum() <= MOST * len(train):
        return judge_minority(chosen, train.label, torch.zeros(len(train), train.info.n_classes), False)
    device = next(method.parameters()).device
    try:
        found = explain(train, fit, seed=seed, device=device)
        about = chosen, train.label, found.logits, found.separates
        verdict = judge_minority(*about)
        if verdict.kind == "chance":
            return verdict
        return judge_minority(*about, asked(train, found.looks, fit, seed=seed, device=device))
    except UserError as error:  # of nets beside the run, which is done and must not be lost
        return Verdict("unclear", {}, f"its minority could not be judged, as a net beside it failed: {error}")
