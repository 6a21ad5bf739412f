"""What is learned early: a biased model chosen by evidence, and what it makes of samples that it has not seen.

A shortcut explains most labels early, and contradicts the rest as surely as it explains the others; a net that has
learned the label itself errs where it is in doubt. So a small family of nets learns for a few hundred updates from one
half of the data, and is asked about the other half again and again. Taken are the net and the moment that explain most
labels and are clearest where they are wrong. What it says of each sample comes from the half that the sample is not in,
for what a net has seen it may know by heart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from longcut import nets
from longcut.context import Observer
from longcut.data import Batch, Dataset, Info, balance, generator, ranks, split, subsample
from longcut.identify import margins
from longcut.losses import gce
from longcut.methods.base import FitHelper, MakeNet, Method
from longcut.nets.shrunk import shrunk
from longcut.predict import predict

__all__ = ["AS_OFTEN", "Early", "Explained", "Member", "clarity", "explain", "family", "learn", "needed", "resists"]


class Member(NamedTuple):
    """How a net may be the biased model.

    Attributes:
        need: how clearly it must contradict what it does not explain (see :func:`clarity`). A net that is too simple
            for the label is clearly wrong without any shortcut, and must be more so.
        rounds: for how many rounds it learns at most; what it knows after the first, it knows already.
        sure: of how sure it is of what it gets right, how sure it must be where it is wrong (see :func:`needed`). A net
            that learns the label of most images by itself must be surer.
    """

    need: float = 3.0
    rounds: int = 4
    sure: float = 1 / 6


IMAGES = {"tiny:side=32,width=8": Member(rounds=10), "glance": Member(sure=1 / 4), "linear": Member(need=5.0)}
TABLES = {"linear": Member(need=5.0), "mlp:hidden=64": Member(rounds=10)}
TOKENS = {"tokens:width=32": Member(rounds=10)}

BATCH, UPDATES = 128, 50  # what a member learns from in a round
AGAIN = 4  # of few samples a round has so many passes, in smaller batches
ASKED = 4096  # held-out samples at most, about which every member is asked after every round
MOST = 7 / 8  # a shortcut explains that many labels at least
DOUBT = 2.0  # about the clarity of a net that is wrong where it is in doubt
FEW = 5  # of fewer that are wrong, nothing can be said
LEARNED = 3 / 4  # of what a net that knows a shortcut contradicts, one that can learn more is right about less
AS_OFTEN = 0.9  # as about the others is a net right about these, at least, that does not take the shortcut
ROUNDS, ENOUGH = 5, 20  # a net takes some shortcuts later than it learns the label; who is asked about so many, once
LOOP = {
    "pool": 1,
    "lr": 1e-3,
    "optimizer": "adam",
    "weight_decay": 0.0,
    "schedule": "constant",
    "average": 0.0,
    "augment": "none",
    "drop_last": True,
    "clip": 0.0,
}


def family(info: Info) -> dict[str, Member]:
    """The nets that may be the biased model, by their specs."""
    if info.kind == "tokens":
        return TOKENS
    return IMAGES if len(info.shape) == 3 else TABLES


class Early(Method):
    """A small net that learns the labels, all classes alike, in rounds of a few updates.

    Args:
        net: its spec, or what makes it.
        info: of the data.
    """

    name = "early"

    def __init__(self, net: str | MakeNet, info: Info) -> None:
        super().__init__(partial(nets.build, net, info) if isinstance(net, str) else net, info)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean generalized cross-entropy, which listens most to what is easy."""
        return gce(self(batch.x), batch.label).mean(), {}

    def epoch_data(self, train: Dataset) -> Dataset:
        """As many samples as one round takes, classes alike, each several times where there are few."""
        n = per_round(len(train))
        rows = torch.arange(-(-n // len(train)) * len(train)) % len(train)
        return subsample(balance(train.take(rows), "class", self.generator), n, self.generator)


def learn(
    net: str | MakeNet,
    data: Dataset,
    fit: FitHelper,
    rounds: int,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    observers: Sequence[Observer] = (),
) -> Early:
    """A member of the family, or another net, after so many rounds.

    Args:
        net: its spec, or what makes it.
        data: what it learns from.
        fit: the loop.
        rounds: of ``UPDATES`` updates.
        seed: of its first weights.
        device: where it is.
        observers: who watches.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(generator(seed, 83).initial_seed())
        method = Early(net, data.info).to(device)
    fit(
        method,
        shrunk(data, method),
        observers=observers,
        epochs=rounds,
        batch=max(8, per_round(len(data)) // UPDATES),
        **LOOP,
    )
    return method


def per_round(n: int) -> int:
    """How many samples a member learns from in a round, of ``n``.

    >>> per_round(100_000), per_round(100)
    (6400, 400)
    """
    return min(BATCH * UPDATES, AGAIN * n)


@dataclass(frozen=True)
class Explained:
    """What a biased model that was chosen by evidence makes of the training samples.

    Attributes:
        member: spec of its net.
        logits: of each sample, from a model that has not seen it ``(n, C)``.
        separates: whether it explains most labels, and contradicts the others surely: what a shortcut does.
        model: that of the two which learned from the first half.
        rounds: after which it was stopped.
        curves: of each member of the family, ``(balanced accuracy, clarity)`` on held-out samples after each round.
        recovered: where it seemed to know a shortcut, the share of the held-out samples that it contradicts which a
            member that can learn more is right about in the end. A shortcut misleads that one as well; where it does
            not, the label was merely too hard.
    """

    member: str
    logits: Tensor
    separates: bool
    model: Early
    rounds: int = 0
    curves: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    recovered: float = 0.0

    @property
    def looks(self) -> Tensor:
        """The class that each sample looks like ``(n,)``."""
        return self.logits.argmax(1)

    def contradicted(self, label: Tensor) -> Tensor:
        """Those that look like another class, the clearest of each class ``(n,)``, boolean.

        A clarity of about 2 is that of doubt alone. So where it is k, a share 2 / k of them counts as merely doubtful,
        and the least clear ones of each class are left out; of a clarity up to 2, all.

        Args:
            label: ``(n,)``.
        """
        margin = margins(self.logits, label)
        share = max(0.0, 1 - DOUBT / max(clarity(margin), DOUBT))
        odd = (margin < 0).nonzero().flatten()
        order = odd[margin[odd].argsort(stable=True)]
        size = torch.bincount(label[odd], minlength=self.logits.shape[1])
        clear = torch.zeros_like(label, dtype=torch.bool)
        clear[order[ranks(label[order]) < (share * size).ceil()[label[order]]]] = True
        return clear


def clarity(margin: Tensor) -> float:
    """How many samples are told right less surely than one that is told wrong, for each that is told wrong.

    Where a net is wrong because it is in doubt, samples of which it is as unsure are right about as often: 5/6 for two
    classes whose probabilities are right and evenly spread, 1 to 2.3 for nets on digits and photographs without a
    shortcut, at any accuracy. A net that knows a shortcut and nothing else is as sure of the share r of the samples
    that contradict it as of the others: ``1 / (2 r)``, such as 25 at 2 %. Wrong labels are contradicted as clearly.

    Args:
        margin: of each sample ``(n,)``.

    Returns:
        At least 0; 0 where fewer than 5 are wrong, or none is right.

    >>> clarity(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, -2.5, -2.5, -2.5, -2.5, -2.5]))
    0.4
    """
    right, wrong = margin[margin > 0].sort().values, -margin[margin <= 0]
    if not len(right) or len(wrong) < FEW:
        return 0.0
    below, above = (torch.searchsorted(right, wrong, right=side) for side in (False, True))
    return float((below + above).double().mean() / (2 * len(wrong)))


def needed(margin: Tensor, how: Member) -> float:
    """How clearly a net must contradict what it does not explain, to be taken for one that knows a shortcut.

    Where it is wrong as surely as it is right, the clarity is ``1 / (2 r)`` for a share r that is wrong. A net that has
    learned the label comes nowhere near that, however few it gets wrong: on cues of the zoo, those whose clarity was
    below a sixth of it contradicted others than the cue does, and most of those of ``glance`` below a quarter.

    Args:
        margin: of each sample ``(n,)``.
        how: what is asked of a net of this kind.

    >>> [round(needed(torch.tensor([1.0] * (100 - n) + [-1.0] * n), Member()), 2) for n in (1, 2, 10)]
    [8.33, 4.17, 3.0]
    """
    wrong = float((margin <= 0).double().mean())
    return max(how.need, how.sure / (2 * max(wrong, 1 / len(margin))))


def explain(
    train: Dataset, fit: FitHelper, *, seed: int = 0, device: torch.device | str = "cpu", members: Sequence[str] = ()
) -> Explained:
    """The biased model of a training set, and what it says of every sample.

    Args:
        train: classes, of which each has two samples at least.
        fit: the loop (see :meth:`longcut.methods.base.Method.prepare`).
        seed: of the halves and the members' first weights.
        device: where the nets are.
        members: specs of nets; by default :func:`family`.
    """
    halves, known = split(train, 0.5, generator(seed, 81)), family(train.info)
    learned: dict[str, _Learned] = {}
    for spec in members or known:
        learned[spec] = _Learned.of(spec, known.get(spec, Member(rounds=10)), halves[0], halves[1], fit, seed, device)
        if learned[spec].pure:
            break  # there is no clearer evidence
    ranked = sorted(learned, key=lambda spec: learned[spec].evidence, reverse=True)
    recovered = {spec: learned[spec].recovered(learned.values()) for spec in ranked}
    unlearned = (spec for spec in ranked if learned[spec].evidence[0] and recovered[spec] <= LEARNED)
    member = next(unlearned, ranked[0])
    models = [learned[member], _Learned.of(member, learned[member].how, halves[1], halves[0], fit, seed, device)]
    place = torch.zeros(train.info.n_stored, dtype=torch.long)
    place[train.index] = torch.arange(len(train))  # samples that stand there several times are told alike
    logits = torch.zeros(len(train), train.info.n_classes)
    for model, held in zip(models, reversed(halves), strict=True):
        logits[place[held.index]] = predict(model.method, held, device)
    if not torch.equal(place[train.index], torch.arange(len(train))):  # some stand there several times
        logits = logits[place[train.index]]
    hit, clear = _balanced(logits.argmax(1), train.label), clarity(margins(logits, train.label))
    separates = models[0].evidence[0] and hit >= MOST and clear >= needed(margins(logits, train.label), models[0].how)
    curves = {spec: one.curve for spec, one in learned.items()}
    separates = separates and recovered[member] <= LEARNED
    return Explained(member, logits, separates, models[0].method, models[0].round, curves, recovered[member])


def resists(
    make_net: MakeNet,
    train: Dataset,
    suspected: Tensor,
    fit: FitHelper,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> float:
    """How much of what a net gets right it gets right where a shortcut is contradicted.

    Near 1, the net does not take the shortcut, so nothing is to be cured: a fine texture misleads a convolution and not
    a perceptron. It learns briefly from one half of the data and is asked about the other, and the other way round
    where few are suspected.

    Args:
        make_net: of the net that is to be trained.
        train: the training set.
        suspected: who contradicts the shortcut, by stored sample, boolean.
        fit: the loop.
        seed: that of :func:`explain`, whose halves these are, and of the first weights.
        device: where the net is.

    Returns:
        The share that is right of the suspected, as a part of that of the others, chance left out of both: 0 to 1 or
        somewhat more; 0 where nobody is suspected, or the others are told by chance.
    """
    halves, chance = split(train, 0.5, generator(seed, 81)), 1 / train.info.n_classes
    of_suspected, of_others = list[Tensor](), list[float]()
    for data, held in (halves, halves[::-1]):
        net = learn(make_net, data, fit, ROUNDS, seed=seed, device=device)
        those = suspected[held.index]
        others = held.take((~those).nonzero().flatten())
        others = subsample(others, min(len(others), ASKED), generator(seed, 82))
        of_others.append(_balanced(predict(net, others, device).argmax(1), others.label))
        asked = held.take(those.nonzero().flatten())
        of_suspected.append(predict(net, asked, device).argmax(1) == asked.label)
        if int(those.sum()) >= ENOUGH:
            break
    right, usual = torch.cat(of_suspected).double(), sum(of_others) / len(of_others)
    if not len(right) or usual <= chance:
        return 0.0
    return max(0.0, float(right.mean()) - chance) / (usual - chance)


class _Learned(Observer):
    """A member of the family with the weights of its best round, and how it did after each of them."""

    method: Early

    def __init__(self, how: Member, asked: Dataset, device: torch.device | str) -> None:
        self.how, self.asked, self.device = how, asked, device
        self.curve: list[tuple[float, float]] = []
        self.evidence, self.pure, self.round = (False, -1.0), False, 0
        self.weights: dict[str, Tensor] = {}
        self.right = self.odd = torch.zeros(0, dtype=torch.bool)  # about whom after the last round, and of the best not

    @classmethod
    def of(
        cls, spec: str, how: Member, data: Dataset, held: Dataset, fit: FitHelper, seed: int, device: Any
    ) -> _Learned:
        """Trained on one half, and asked about some of the other."""
        learned = cls(how, subsample(held, min(len(held), ASKED), generator(seed, 82)), device)
        learned.method = learn(spec, data, fit, how.rounds, seed=seed, device=device, observers=[learned])
        learned.method.load_state_dict(learned.weights)
        return learned

    def on_trained(self, method: Method) -> None:
        """Ask it, and keep its weights if no round was better."""
        if not self.curve:
            self.asked = shrunk(self.asked, method)
        label, logits = self.asked.label, predict(method, self.asked, self.device)
        hit, margin = _balanced(logits.argmax(1), label), margins(logits, label)
        clear, self.right = clarity(margin), margin > 0
        self.curve.append((hit, clear))
        separates = hit >= MOST and clear >= needed(margin, self.how)
        self.pure |= separates and 2 * clear * float((margin <= 0).double().mean()) >= 1  # as surely wrong as right
        # most of the labels, and clearly wrong; failing that, as many labels as possible
        evidence = (True, clear / self.how.need) if separates else (False, hit)
        if evidence > self.evidence:
            self.evidence, self.round, self.odd = evidence, len(self.curve), margin <= 0
            self.weights = {name: value.detach().clone() for name, value in method.state_dict().items()}

    def recovered(self, members: Iterable[_Learned]) -> float:
        """The largest share of whom it contradicts that a better member is right about; 0 if it knows no shortcut.

        Better is who can learn more, and explains most labels in the end: one that is mostly wrong is right about these
        by being wrong about the rest. All were asked about the same samples.
        """
        more = (one for one in members if one.how.need < self.how.need or one.how.rounds > self.how.rounds)
        better = (one for one in more if self.evidence[0] and one.curve[-1][0] >= MOST)
        return max((float(one.right[self.odd].double().mean()) for one in better), default=0.0)

    def state(self) -> dict[str, Any]:
        names = "curve", "evidence", "pure", "round", "weights", "right", "odd"
        return {name: getattr(self, name) for name in names}

    def restore(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


def _balanced(said: Tensor, label: Tensor) -> float:
    """Mean over the classes of the share that is right."""
    size = torch.bincount(label)
    right = torch.bincount(label[said == label], minlength=len(size))
    return float((right[size > 0] / size[size > 0]).mean())
