"""Is something easy learned first that contradicts some labels, and can more be learned than that?

Three models judge every sample, none of which saw it in training (cross-fitting):

* a *biased* one, small and stopped early, trained with the generalized cross-entropy and, for its embedding, with the
  generalized supervised contrastive loss: what it knows is what is easy;
* an *ordinary* one, as somebody would train it;
* a *debiased* one, SelecMix with its defaults, which is kept from relying on what is easy.

Samples that the biased model gets wrong, and is as sure of as of what it gets right, are *suspected* of contradicting a
shortcut. Hard samples are among them in any data, so the ordinary model's loss of accuracy on them proves nothing by
itself. Its baseline is the debiased model's loss on the very same samples: what remains when the easy cue is not relied
on is their own hardness, and what is above it is the shortcut's doing.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from longcut import nets
from longcut.audit.association import balanced_accuracies
from longcut.audit.base import Finding, View
from longcut.bias import ContrastiveBias
from longcut.data import Batch, Dataset, Info, Splits, balance, generator
from longcut.errors import UserError
from longcut.fit import Epoch, fit, steps_per_epoch
from longcut.losses import gce
from longcut.methods import Method, build
from longcut.methods.base import MakeNet
from longcut.predict import predict
from longcut.training import Training

__all__ = ["Judged", "gap", "judge", "learned", "see", "suspicion"]

FOLDS = 4
EASY_UPDATES, UPDATES = 200, 600
EARLY = 0.98  # of the way from guessing to its best: where the biased model is stopped
SURE = 0.05  # a mistake is confident when it is as sure as all but this share of what is right
FEW = 8  # confident mistakes below which nothing is said
EASE = 0.2  # way from guessing to certainty below which a biased model knows nothing easy
NOTICE = 0.5  # loss of accuracy worth a look, where the biased model goes that far from guessing to certainty
WIDTH, TEMPERATURE = 32, 0.1  # of the biased embedding
POINTS = 16  # of the learning curves
MARGIN = 0.02  # excess cost that a model may have by the chances of training
DRAWS = 2000


class EasyCue(Method):
    """A deliberately biased classifier and embedding; see :class:`longcut.bias.ContrastiveBias`."""

    name = "easy-cue"
    paper = "the biased nets of Nam et al., NeurIPS 2020, and Hwang et al., NeurIPS 2022"

    def __init__(self, make_net: MakeNet, info: Info) -> None:
        super().__init__(make_net, info)
        self.contrastive = ContrastiveBias(nets.build("tiny", info, WIDTH), info, WIDTH)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Generalized cross-entropy plus, on parameters of its own, the generalized contrastive loss."""
        contrast = self.contrastive.loss(self.contrastive.embed(batch.x), batch.label)
        return gce(self.net(batch.x), batch.label).mean() + contrast, {}


@dataclass(frozen=True)
class Judged:
    """What models that did not see a sample say about it; see the module.

    Attributes:
        label: ``(n,)``.
        easy: probabilities of the biased model ``(n, C)``.
        profile: cosine with each class's centre in the biased embedding ``(n, C)``.
        ordinary, debiased: probabilities ``(n, C)``.
        updates: of the ordinary model, at the points of its learning curve ``(p,)``.
        hits: whether the ordinary model was right by then ``(p, n)``.
        stopped: updates after which the biased model was stopped.
    """

    label: NDArray[np.int64]
    easy: NDArray[np.float32]
    profile: NDArray[np.float32]
    ordinary: NDArray[np.float32]
    debiased: NDArray[np.float32]
    updates: list[int] = field(default_factory=list)
    hits: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 0), bool))
    stopped: int = 0

    @cached_property
    def looks(self) -> NDArray[np.int64]:
        """The class each sample looks like to the biased model ``(n,)``."""
        return self.easy.argmax(1)

    @cached_property
    def wrong(self) -> NDArray[np.bool_]:
        """Where the biased model contradicts the label ``(n,)``."""
        return self.looks != self.label

    @cached_property
    def sureness(self) -> NDArray[np.float32]:
        """How far the class that a sample looks like is ahead of its label or, where they agree, of the next class."""
        rows, rest = np.arange(len(self.label)), self.easy.copy()
        rest[rows, self.looks] = -1
        rival = np.where(self.wrong, self.easy[rows, self.label], rest.max(1))
        return self.easy.max(1) - rival

    @cached_property
    def suspected(self) -> NDArray[np.bool_]:
        """Where the biased model contradicts the label, as sure as it is of most that it gets right ``(n,)``.

        Nowhere, when it hardly knows more than guessing: then nothing is easy, and nothing contradicts it.
        """
        if self.ease < EASE:
            return np.zeros_like(self.wrong)
        return self.wrong & (self.sureness >= np.quantile(self.sureness[~self.wrong], SURE))

    @cached_property
    def score(self) -> NDArray[np.float32]:
        """Suspicion: the probability that the biased model gives to other labels than the sample's own ``(n,)``."""
        return 1 - self.easy[np.arange(len(self.label)), self.label]

    @cached_property
    def right(self) -> NDArray[np.bool_]:
        """Where the ordinary model gives the sample's own label ``(n,)``."""
        return self.ordinary.argmax(1) == self.label

    @cached_property
    def mended(self) -> NDArray[np.bool_]:
        """Where the debiased model gives the sample's own label ``(n,)``."""
        return self.debiased.argmax(1) == self.label

    @property
    def ease(self) -> float:
        """How far the biased model goes from guessing (0) to certainty (1), every class counting the same."""
        chance = 1 / self.easy.shape[1]
        return (_balanced(self.easy, self.label) - chance) / (1 - chance)

    @property
    def ceiling(self) -> float:
        """Held-out accuracy of the ordinary model, every class counting the same."""
        return _balanced(self.ordinary, self.label)


def judge(view: View, net: str, progress: Callable[[float, int], None] | None = None, folds: int = FOLDS) -> Judged:
    """Train the three models on all folds but one, have them judge that one, in turn.

    Every class weighs the same in training, so that a rare class is not taken for a contradiction.

    Args:
        view: what is audited.
        net: spec of the ordinary and the debiased network.
        progress: told how many of how many models are trained.
        folds: number of parts.

    Raises:
        UserError: for a regression, a single class, or a class that is too small to be cut into so many parts.
    """
    counter = _Counter(progress, 3 * folds)
    fold, easy, profile, stopped = _easy(view, folds, counter)
    updates, ordinary = _crossfit(view, fold, "erm", net, counter)
    # calibrated without confirmation, whose early guesses would make it another yardstick
    _, debiased = _crossfit(view, fold, "selecmix", net, counter, points=0, confirm=False)
    hits = ordinary.argmax(2) == view.label
    return Judged(view.label, easy, profile, ordinary[-1], debiased[-1], updates, hits, stopped)


def gap(hits: NDArray[Any], judged: Judged, counts: NDArray[Any] | None = None) -> NDArray[np.float64]:
    """Accuracy where the biased model agrees with the label minus where it does not, weighted by how sure it is.

    Args:
        hits: of some model, right or not ``(n,)``.
        judged: gives weights and sides.
        counts: how often each sample stands in a resample ``(draws, n)``; default: once, in a single draw.

    Returns:
        ``(draws,)``; 0 where one of the sides is empty.
    """
    counts = np.ones((1, len(hits))) if counts is None else counts
    agree, against = (_accuracy(hits, judged.sureness * side, counts) for side in (~judged.wrong, judged.wrong))
    return np.nan_to_num(agree - against)


def _accuracy(hits: NDArray[Any], weight: NDArray[Any], counts: NDArray[Any]) -> NDArray[np.float64]:
    """Weighted accuracy in each resample ``(draws,)``; ``nan`` where no weight is left."""
    total = counts @ weight
    return np.divide(counts @ (weight * hits), total, out=np.full(len(total), np.nan), where=total > 0)


def learned(view: View, judged: Judged) -> Finding:
    """What the easy cue costs an ordinary model, above what the hardness of the samples costs.

    The statistic is the ordinary model's :func:`gap`, its baseline the debiased model's on the same samples. The test
    asks whether the difference is above ``MARGIN``, by a bootstrap over samples; the margin stands for the chances of
    training, which the bootstrap does not see.
    """
    n, draw = len(judged.label), view.random(2)
    counts = draw.multinomial(n, np.full(n, 1 / n), size=DRAWS).astype(np.float32)
    cost, baseline = float(gap(judged.right, judged)[0]), float(gap(judged.mended, judged)[0])
    costs = gap(judged.right, judged, counts)
    excess = costs - gap(judged.mended, judged, counts)
    p = float((1 + (excess <= MARGIN).sum()) / (1 + DRAWS))
    low, high = np.quantile(costs, [0.025, 0.975])
    few = int(judged.suspected.sum()) < FEW
    if cost - baseline > MARGIN and p <= view.level and not few:
        verdict = "alarm"
    elif few or low < NOTICE or judged.ease < NOTICE:
        verdict = "clear"
    else:
        verdict = "notice"
    table = tuple(_cells(view, judged))
    return Finding(
        name="learned",
        question="Is something learned early that contradicts some labels?",
        statistic=cost,
        measure="accuracy an ordinary model loses on the samples that contradict the easy cue",
        baseline=baseline,
        interval=(float(low), float(high)),
        p_value=p,
        verdict=verdict,
        sentence=_sentence(judged, verdict, few),
        table=table,
    )


def _sentence(judged: Judged, verdict: str, few: bool) -> str:
    agree = float((judged.looks == judged.label).mean())
    found = f"A small model, stopped after {judged.stopped} updates, already gives {agree:.0%} of the labels"
    if judged.ease < EASE:
        return f"{found}, hardly more than guessing: nothing here is learned easily, so there is no easy cue."
    if few:
        return f"{found}, and contradicts hardly any with confidence: nothing easy stands against the labels."
    weight, once = judged.sureness * judged.wrong, np.ones((1, len(judged.label)))
    right, mended = (float(_accuracy(hits, weight, once)[0]) for hits in (judged.right, judged.mended))
    found += (
        f"; of the {judged.wrong.sum():,} it contradicts, an ordinary model gets {right:.0%} right, and one that is "
        f"kept from relying on the easy cue {mended:.0%} (each sample weighs as much as it is clear)"
    )
    meaning = {
        "alarm": ": the ordinary model takes a shortcut.",
        "notice": ", which is no clear gain: these samples are hard, mislabelled, or contradict a shortcut that "
        "nothing else here can replace. Look at them.",
        "clear": ": no clear gain, and not much is lost.",
    }
    return found + meaning[verdict]


def _cells(view: View, judged: Judged) -> Iterator[dict[str, Any]]:
    """For each class and what its samples look like: how many, and how the models do."""
    for c, name in enumerate(view.classes):
        for k, looks in enumerate(view.classes):
            rows = (judged.label == c) & (judged.looks == k)
            if rows.any():
                yield {
                    "label": name,
                    "looks_like": looks,
                    "samples": int(rows.sum()),
                    "suspected": int(judged.suspected[rows].sum()),
                    "ordinary": float(judged.right[rows].mean()),
                    "debiased": float(judged.mended[rows].mean()),
                }


def suspicion(data: Dataset, *, folds: int = FOLDS, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """How much a biased model that did not see a sample contradicts its label.

    Args:
        data: classes, not a regression.
        folds: number of parts the data is cut into.
        seed: of the parts and the models.

    Returns:
        Scores ``(n,)`` in [0, 1], and whether each sample is suspected ``(n,)``.

    Raises:
        UserError: for a regression, a single class, or a class that is too small to be cut into so many parts.
    """
    view = View(data, data.source, seed=seed)
    _, easy, profile, _ = _easy(view, folds, _Counter(None, folds))
    judged = Judged(view.label, easy, profile, easy, easy)
    return judged.score, judged.suspected


def see(view: View, data: Dataset, updates: int) -> Judged:
    """Other samples, judged by a biased model that was trained on all audited ones for about ``updates`` updates."""
    train = balance(view.data, "class", generator(view.seed, 97, 31))
    model = build(EasyCue, train.info, net="tiny", seed=view.seed * 1009 + 97)
    training = _training(model, len(train), len(train))
    epochs = max(1, round(updates / steps_per_epoch(len(train), training)))
    training = dataclasses.replace(training, epochs=epochs, every=epochs)
    fit(model, Splits(train, None, data), training, seed=view.seed * 1009 + 97)
    easy, profile = np.swapaxes(_biased_view(model, train, data), 0, 1)
    return Judged(data.label.numpy(), easy, profile, easy, easy)


# --- cross-fitting ----------------------------------------------------------------------------------------------------


class _Counter:
    """Tells a progress bar of models that are trained one after the other."""

    def __init__(self, progress: Callable[[float, int], None] | None, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def __call__(self, epoch: Epoch) -> None:
        self.done += epoch.epoch == epoch.epochs
        if self.progress:
            self.progress(self.done + epoch.epoch / epoch.epochs % 1, self.total)


def _easy(
    view: View, folds: int, counter: _Counter
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32], int]:
    """Folds, the biased model's probabilities and profile, and the updates after which it was stopped."""
    if view.data.info.task != "classification":
        raise UserError(f"{view.data.info.name} is a regression; an audit needs classes.")
    if len(view.classes) < 2:
        raise UserError(f"all samples of {view.data.info.name} are of one class; an audit needs at least two.")
    counts = np.bincount(view.label, minlength=len(view.classes))
    if counts.min() < folds:
        name = view.classes[int(counts.argmin())]
        raise UserError(
            f"class '{name}' has {counts.min()} samples, too few to be cut into {folds} parts; "
            "add samples or leave the class out."
        )
    fold = _folds(view.label, folds, view.random(1))
    updates, seen = _crossfit(view, fold, EasyCue, "tiny", counter)
    hit = balanced_accuracies(seen[:, :, 0].argmax(2), view.label)
    chance = 1 / len(view.classes)
    stop = int(np.argmax(hit - chance >= EARLY * (hit.max() - chance)))
    return fold, seen[stop, :, 0], seen[stop, :, 1], updates[stop]


def _crossfit(
    view: View,
    fold: NDArray[np.int64],
    method: str | type[Method],
    net: str,
    counter: _Counter,
    points: int = POINTS,
    **options: Any,
) -> tuple[list[int], NDArray[np.float32]]:
    """Updates at points of the learning curve, and what was then said of held-out samples ``(points, n, …)``.

    The end is always one of the points, and the only one when none are asked for. The options are the method's.
    """
    updates: list[int] = []
    answers: list[NDArray[np.float32]] = []
    parts = fold.max() + 1
    for part in range(parts):
        held_out = torch.from_numpy(fold == part)
        held = view.data.take(held_out)
        train = balance(view.data.take(~held_out), "class", generator(view.seed, part, 31))
        model = build(method, view.data.info, net=net, options=options, seed=view.seed * 1009 + part)
        training = _training(model, len(fold), len(fold) - len(fold) // parts)  # parts differ by a few samples
        ask = _biased_view if isinstance(model, EasyCue) else _probabilities
        marks = _marks(training.epochs, points)
        seen: dict[int, NDArray[np.float32]] = {}

        say = partial(ask, model, train, held)
        on_epoch = partial(_listen, marks, say, seen, counter)
        fit(model, Splits(train, None, held), training, seed=view.seed * 1009 + part, on_epoch=on_epoch)
        seen[training.epochs] = say()  # only now with the averaged weights, where there are some
        updates = [mark * steps_per_epoch(len(train), training) for mark in marks]
        answers = answers or [np.zeros((len(fold), *seen[mark].shape[1:]), np.float32) for mark in marks]
        for whole, mark in zip(answers, marks, strict=True):
            whole[fold == part] = seen[mark]
    return updates, np.stack(answers)


def _listen(
    marks: list[int],
    say: Callable[[], NDArray[np.float32]],
    seen: dict[int, NDArray[np.float32]],
    counter: _Counter,
    epoch: Epoch,
) -> None:
    if epoch.epoch in marks[:-1]:
        seen[epoch.epoch] = say()
    counter(epoch)


def _training(model: Method, n: int, n_train: int) -> Training:
    """A fixed number of updates, whatever the size of the data, in batches that let an early stop be seen."""
    easy, kind = isinstance(model, EasyCue), model.info.kind
    size = max(32, min(256 if easy else 64, n // 16))
    epochs = max(4, round((EASY_UPDATES if easy else UPDATES) / math.ceil(n_train / size)))
    quick = kind == "tokens" or (easy and kind == "table")  # there, slower learners know no cue before they stop
    rate = 1e-2 if quick else 1e-3 if easy else 2e-3
    return Training(epochs=epochs, batch=size, pool=4, lr=rate, every=epochs, **model.training_defaults)


def _marks(epochs: int, points: int = POINTS) -> list[int]:
    """About so many epochs, close together at first, and the last one."""
    return sorted({*(round(mark) for mark in np.geomspace(1, epochs, points)), epochs})


def _folds(label: NDArray[np.int64], folds: int, draw: np.random.Generator) -> NDArray[np.int64]:
    """A part for every sample, each class spread evenly over the parts."""
    fold = np.empty(len(label), np.int64)
    for value in np.unique(label):
        rows = draw.permutation(np.flatnonzero(label == value))
        fold[rows] = (np.arange(len(rows)) + draw.integers(folds)) % folds
    return fold


@torch.no_grad()
def _probabilities(model: Method, train: Dataset, held: Dataset) -> NDArray[np.float32]:
    """Of the classes, for held-out samples ``(m, C)``."""
    return predict(model, held).softmax(1).numpy()


@torch.no_grad()
def _biased_view(model: Method, train: Dataset, held: Dataset) -> NDArray[np.float32]:
    """Mean probability by classifier and embedding, and cosine with the classes' centres ``(m, 2, C)``."""
    assert isinstance(model, EasyCue)
    own = predict(model.contrastive.embed, train)
    centre = torch.zeros(train.info.n_classes, WIDTH).index_add_(0, train.label, own)
    profile = predict(model.contrastive.embed, held) @ F.normalize(centre, dim=1).T
    said = predict(model, held).softmax(1)
    return torch.stack([(said + (profile / TEMPERATURE).softmax(1)) / 2, profile], 1).numpy()


def _balanced(probability: NDArray[np.float32], label: NDArray[np.int64]) -> float:
    """Balanced accuracy of the most probable class."""
    return float(balanced_accuracies(probability.argmax(1)[None], label)[0])
