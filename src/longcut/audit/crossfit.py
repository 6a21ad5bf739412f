"""Three models judge every sample, none of which saw it in training (cross-fitting).

* A *biased* one, small and stopped early: what it knows is what is easy. Where a net of a small family separates the
  labels into what a shortcut explains and what contradicts it (:func:`longcut.methods.biased.early.explain`), it is
  that net. Elsewhere it is trained with the generalized cross-entropy and, for its embedding, with the generalized
  supervised contrastive loss, and stopped where it is nearly as good as it gets.
* An *ordinary* one, as somebody would train it.
* A *debiased* one, SelecMix with a contrastive biased model, which is kept from relying on what is easy.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from longcut import nets
from longcut.audit.association import balanced_accuracies, folds_of
from longcut.audit.base import View
from longcut.audit.judged import Judged
from longcut.audit.kept import Keep, nowhere
from longcut.audit.storage import compact, laid_out
from longcut.bias import ContrastiveBias
from longcut.context import Epoch, Observer, calling
from longcut.data import Batch, Dataset, Info, Splits, balance, generator
from longcut.errors import UserError
from longcut.fit import fit
from longcut.helpers import helper
from longcut.loop import steps_per_epoch
from longcut.losses import gce
from longcut.methods import Method, build
from longcut.methods.base import FitHelper, MakeNet
from longcut.methods.biased import early
from longcut.nets.shrunk import shrunk
from longcut.predict import predict
from longcut.training import Training

__all__ = ["FOLDS", "judge", "see", "suspicion", "workload"]

FOLDS = 4
EASY_UPDATES, UPDATES = 200, 600
FEWEST_EPOCHS = 4  # so many points has a learning curve at least
EARLY = 0.98  # of the way from guessing to its best: where the biased model is stopped
WIDTH, TEMPERATURE = 32, 0.1  # of the biased embedding
POINTS = 16  # of the learning curves
TRIED = 12  # updates from which is told how long all will take
LARGE = 50_000_000  # numbers at all points that are held at a time; of more, a model is trained again up to the one


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


def judge(
    view: View,
    net: str,
    progress: Callable[[float, int], None] | None = None,
    folds: int = FOLDS,
    keep: Keep = nowhere,
) -> Judged:
    """For each fold in turn, train the three models on the others and let them judge it.

    Every class weighs the same in training, so that a rare class is not taken for a contradiction. Of a target of
    numbers, these are of its parts, and a fourth model, an ordinary one, learns the numbers.

    Args:
        view: what is audited.
        net: spec of the ordinary and the debiased network.
        progress: told how many of how many models are trained.
        folds: number of parts.
        keep: what each model said, so that it need not be trained again.

    Raises:
        UserError: for a regression, a single class, or a class that is too small to be cut into so many parts.
    """
    counter = _Counter(progress, (3 if view.original is None else 4) * folds)
    view = compact(view)
    fold, biased = _easy(view, folds, counter, keep)
    ordinary = _crossfit(view, fold, "erm", net, counter, keep)
    # calibrated so, and without confirmation, whose early guesses would make it another yardstick
    calibrated = {"pairs": "learned", "unmixed": 8.0, "confirm": False}
    if biased.member:
        calibrated = {"auxiliary": biased.member, "confirm": False}
    debiased = _crossfit(view, fold, "selecmix", net, counter, keep, points=0, **calibrated)
    hits = ordinary.chosen == view.label
    numbers = None
    if view.original is not None:
        of_numbers = dataclasses.replace(view, data=view.original)
        numbers = _crossfit(of_numbers, fold, "erm", net, counter, keep, points=0).said[0, :, 0]
    easy, profile, stopped, member = biased
    said = ordinary.said[0], debiased.said[0]
    return Judged(view.label, easy, profile, *said, ordinary.updates, hits, stopped, member, numbers)


def suspicion(data: Dataset, *, folds: int = FOLDS, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """How much a biased model contradicts the label of each sample, none of which it saw in training.

    Args:
        data: classes, not a regression.
        folds: number of parts the data is cut into.
        seed: of the parts and the models.

    Returns:
        Scores ``(n,)`` in [0, 1], and whether each sample is suspected ``(n,)``.

    Raises:
        UserError: for a regression, a single class, or a class that is too small to be cut into so many parts.
    """
    view = compact(View(data, data.source, seed=seed))
    _, biased = _easy(view, folds, _Counter(None, folds), nowhere)
    judged = Judged(view.label, biased.easy, biased.profile, biased.easy, biased.easy)
    return judged.score, judged.suspected


def see(view: View, data: Dataset, updates: int, member: str = "") -> Judged:
    """Judge other samples by a biased model that is trained on all audited ones for about ``updates`` updates.

    Args:
        view: the audited samples.
        data: the others.
        updates: after which it is stopped.
        member: spec of its net, if it is of the family of those that are chosen by evidence.
    """
    view = compact(view)
    if member:
        rounds = max(1, round(updates / early.UPDATES))
        with _seeded(view.seed):
            model = early.learn(member, view.data, _loop(view.seed), rounds, seed=view.seed)
        easy, profile = _seen(predict(model, data))
        return Judged(data.label.numpy(), easy, profile, easy, easy)
    train = balance(view.data, "class", generator(view.seed, 97, 31))
    model = build(EasyCue, train.info, net="tiny", seed=view.seed * 1009 + 97)
    training = _training(model, len(train), len(train))
    epochs = max(1, round(updates / steps_per_epoch(len(train), training)))
    training = dataclasses.replace(training, epochs=epochs, every=epochs)
    fit(model, Splits(train, None, data), training, seed=view.seed * 1009 + 97)
    easy, profile = np.swapaxes(_biased_view(model, train, data), 0, 1)
    return Judged(data.label.numpy(), easy, profile, easy, easy)


def workload(view: View, net: str, folds: int = FOLDS) -> float:
    """Seconds that the ordinary models will take, from a few updates of one: what a machine does, and how busy it is.

    Args:
        view: what is audited.
        net: spec of the ordinary network.
        folds: number of models.
    """
    n = len(view.label)
    with _seeded(view.seed):
        model = laid_out(build("erm", view.data.info, net=net, seed=view.seed))
        training = _training(model, n, n - n // folds)
        some = shrunk(view.data, model).take(torch.arange(min(n, TRIED * training.batch)))
        run = helper(training, view.seed, 9000, "cpu", ())
        run(model, some, epochs=1)  # what is loaded when it is first used is not counted
        began = time.perf_counter()
        run(model, some, epochs=1)
        pace = (time.perf_counter() - began) / steps_per_epoch(len(some), training)
    return pace * folds * training.epochs * steps_per_epoch(n - n // folds, training)


# --- cross-fitting ----------------------------------------------------------------------------------------------------


class _Counter:
    """Tells a progress bar of models that are trained one after the other."""

    def __init__(self, progress: Callable[[float, int], None] | None, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def __call__(self, epoch: Epoch) -> None:
        self.done += epoch.epoch == epoch.epochs
        if self.progress:
            self.progress(self.done + epoch.epoch / epoch.epochs % 1, self.total)

    def beside(self, done: int, total: int) -> None:
        """What is trained before the first model is not counted."""
        if self.progress:
            self.progress(self.done, self.total)


class _Biased(NamedTuple):
    """A biased model's probabilities and profile ``(n, C)``, the updates it had, and which of the family it is."""

    easy: NDArray[np.float32]
    profile: NDArray[np.float32]
    stopped: int
    member: str = ""  # of no family


class _Curve(NamedTuple):
    """Of held-out samples, at points of the learning curve: ``updates`` and ``chosen (points, n)``, the class.

    ``said (k, n, …)`` is all that was said at those points that it was asked for.
    """

    updates: list[int]
    chosen: NDArray[np.int32]
    said: NDArray[np.float32]


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """For the time of a ``with``, what is drawn follows from ``seed``; the caller's random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(generator(seed, 84).initial_seed())
        yield


def _loop(seed: int, *told: Observer) -> FitHelper:
    return helper(Training(), seed, 4000, "cpu", told)


def _seen(logits: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probabilities, and the cosine with each class's axis."""
    return logits.softmax(1).numpy(), F.normalize(logits, dim=1).numpy()


def _easy(view: View, folds: int, counter: _Counter, keep: Keep = nowhere) -> tuple[NDArray[np.int64], _Biased]:
    """Folds, and the biased model."""
    if view.data.info.task != "classification":
        raise UserError(f"{view.data.info.name} is a regression; suspicion needs classes.")
    if len(view.classes) < 2:
        raise UserError(f"all samples of {view.data.info.name} are of one class; an audit needs at least two.")
    counts = np.bincount(view.label, minlength=len(view.classes))
    if counts.min() < folds:
        name = view.classes[int(counts.argmin())]
        raise UserError(
            f"class '{name}' has {counts.min()} samples, too few to be cut into {folds} parts; "
            "add samples or leave the class out."
        )
    fold = folds_of(view.label, folds, view.random(1))

    def explained() -> dict[str, NDArray[Any]]:
        with _seeded(view.seed):
            found = early.explain(view.data, _loop(view.seed, calling(on_helper=counter.beside)), seed=view.seed)
        if not found.separates:
            return {}
        member = np.frombuffer(found.member.encode(), np.uint8)
        return {"logits": found.logits.numpy(), "rounds": np.array([found.rounds]), "member": member}

    if found := keep("explained", explained):
        counter.done += folds
        seen, member = _seen(torch.from_numpy(found["logits"])), found["member"].tobytes().decode()
        return fold, _Biased(*seen, int(found["rounds"][0]) * early.UPDATES, member)
    large = 2 * POINTS * view.label.size * len(view.classes) > LARGE
    curve = _crossfit(view, fold, EasyCue, "tiny", counter, keep, asked=() if large else None)
    hit = balanced_accuracies(curve.chosen, view.label)
    chance = 1 / len(view.classes)
    stop = int(np.argmax(hit - chance >= EARLY * (hit.max() - chance)))
    said = curve.said
    if large:
        said = _crossfit(view, fold, EasyCue, "tiny", _Counter(None, folds), keep, asked=(stop,)).said
    easy, profile = (said[0 if large else stop, :, what].copy() for what in (0, 1))
    return fold, _Biased(easy, profile, curve.updates[stop])


def _crossfit(
    view: View,
    fold: NDArray[np.int64],
    method: str | type[Method],
    net: str,
    counter: _Counter,
    keep: Keep = nowhere,
    points: int = POINTS,
    asked: Sequence[int] | None = (-1,),
    **options: Any,
) -> _Curve:
    """What was said of held-out samples at points of the learning curve.

    The last point is the end of training; with ``points=0`` it is the only one. All is kept of the points that are
    ``asked`` for; None: of every one. The options are the method's.
    """
    parts, updates = fold.max() + 1, list[int]()
    chosen, said = np.zeros((0, 0), np.int32), np.zeros(0, np.float32)
    called = method if isinstance(method, str) else method.name
    data: Dataset | None = None
    for part in range(parts):
        held_out = torch.from_numpy(fold == part)
        model = laid_out(build(method, view.data.info, net=net, options=options, seed=view.seed * 1009 + part))
        if data is None:  # a biased model of the family, which is made later, may look closer
            data = view.data if "auxiliary" in options else shrunk(view.data, model)
        held, train = data.take(held_out), data.take(~held_out)
        if train.info.task == "classification":
            train = balance(train, "class", generator(view.seed, part, 31))
        training = _training(model, len(fold), len(fold) - len(fold) // parts)  # parts differ by a few samples
        marks = _marks(training.epochs, points)
        where = range(len(marks)) if asked is None else [range(len(marks))[point] for point in asked]
        before, seed = counter.done, view.seed * 1009 + part
        trained = partial(_trained, model, Splits(train, None, held), training, seed, marks, where, counter)
        of = "" if asked in (None, (-1,)) else f"-{'-'.join(map(str, where))}"
        found = keep(f"{called}-{view.data.info.task}-{part}{of}", trained)
        counter.done = before + 1
        updates = [mark * steps_per_epoch(len(train), training) for mark in marks]
        if part == 0:
            chosen = np.zeros((len(marks), len(fold)), np.int32)
            said = np.zeros((len(where), len(fold), *found["said"].shape[2:]), np.float32)
        chosen[:, fold == part], said[:, fold == part] = found["chosen"], found["said"]
    return _Curve(updates, chosen, said)


def _trained(
    model: Method,
    splits: Splits,
    training: Training,
    seed: int,
    marks: list[int],
    asked: Sequence[int],
    counter: _Counter,
) -> dict[str, NDArray[Any]]:
    """What a model says of held-out samples after these epochs, the last of them its last; all where it is asked."""
    chosen, said = dict[int, NDArray[np.int32]](), dict[int, NDArray[np.float32]]()
    say = partial(_biased_view if isinstance(model, EasyCue) else _said, model, splits.train, splits.test)

    def note(epoch: int) -> None:
        point, now = marks.index(epoch), say()
        chosen[point] = (now[:, 0] if isinstance(model, EasyCue) else now).argmax(1).astype(np.int32)
        if point in asked:
            said[point] = now

    def listen(epoch: Epoch) -> None:
        if epoch.epoch in marks[:-1]:
            note(epoch.epoch)
        counter(epoch)

    few = dataclasses.replace(splits, test=splits.test.take(torch.arange(1)))  # its metrics are not looked at
    fit(model, few, training, seed=seed, observers=[calling(on_epoch=listen)])
    note(training.epochs)  # only now with the averaged weights, where there are some
    kept = np.stack([said[point] for point in asked]) if asked else np.zeros((0, len(splits.test)), np.float32)
    said.clear()  # the model knows who watched it, and they the model, so that both stay a while
    return {"chosen": np.stack([chosen[point] for point in range(len(marks))]), "said": kept}


def _training(model: Method, n: int, n_train: int) -> Training:
    """A fixed number of updates whatever the size of the data, in batches so small that an early stop can be found.

    Of much data batches are larger, so that a few epochs are no more updates.
    """
    easy, kind = isinstance(model, EasyCue), model.info.kind
    size = max(32, min(256 if easy else 64, n // 16), 0 if easy else math.ceil(FEWEST_EPOCHS * n_train / UPDATES))
    epochs = max(FEWEST_EPOCHS, round((EASY_UPDATES if easy else UPDATES) / math.ceil(n_train / size)))
    quick = kind == "tokens" or (easy and kind == "table")  # there, slower learners know no cue before they stop
    rate = 1e-2 if quick else 1e-3 if easy else 2e-3
    return Training(epochs=epochs, batch=size, pool=4, lr=rate, every=epochs, **model.training_defaults)


def _marks(epochs: int, points: int = POINTS) -> list[int]:
    """About so many epochs, close together at first, and the last one."""
    return sorted({*(round(mark) for mark in np.geomspace(1, epochs, points)), epochs})


@torch.no_grad()
def _said(model: Method, train: Dataset, held: Dataset) -> NDArray[np.float32]:
    """Probabilities of the classes, or the target, for held-out samples ``(m, C)``."""
    said = predict(model, held)
    return (said.softmax(1) if model.info.task == "classification" else said).numpy()


@torch.no_grad()
def _biased_view(model: Method, train: Dataset, held: Dataset) -> NDArray[np.float32]:
    """Mean probability by classifier and embedding, and cosine with the classes' centres ``(m, 2, C)``."""
    assert isinstance(model, EasyCue)
    own = predict(model.contrastive.embed, train)
    centre = torch.zeros(train.info.n_classes, WIDTH).index_add_(0, train.label, own)
    profile = predict(model.contrastive.embed, held) @ F.normalize(centre, dim=1).T
    said = predict(model, held).softmax(1)
    return torch.stack([(said + (profile / TEMPERATURE).softmax(1)) / 2, profile], 1).numpy()
