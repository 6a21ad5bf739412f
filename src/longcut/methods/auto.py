"""Auto: a short race, judged where a label and a biased model disagree, decides which of several methods trains.

Nobody has to say what the shortcut is: :func:`longcut.methods.biased.early.explain` says of every training sample which
class it looks like to a small net that learned from others. One half of the training set is learned from, the other is
asked, where those whose label is contradicted weigh as much as others that look the same. What is not clearly better
there than ordinary training is not taken.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

import torch
from pydantic import Field
from torch import Tensor

from longcut.context import Observer
from longcut.data import Batch, Dataset, Info, Splits, split
from longcut.errors import UserError
from longcut.identify import Identification
from longcut.methods.base import FitHelper, MakeNet, Method
from longcut.methods.biased.early import explain
from longcut.methods.mixing.selecmix import SelecMix
from longcut.nets import Net
from longcut.numbers import number
from longcut.predict import predict
from longcut.training import Training

__all__ = ["Auto", "Cells", "by_class"]

ENOUGH = 5  # held-out samples in a cell that is asked
STRATA = 10  # of a class, by how sure the biased model is, at most
SPENT = 1.5  # runs that a race takes at most, whatever the number of runners


@dataclass(frozen=True)
class Cells:
    """Which samples are asked, and in which cell: of equal looks and sureness, those that contradict, or that do not.

    A biased model says which class a sample looks like, and how sure that is. In each stratum of samples of which it
    says the same, those whose label it is and those whose label it is not weigh alike. What a classifier knows beyond
    the biased model is all that can raise its score then: to say another class where the biased model is unsure wins
    among the ones what it loses among the others, while without strata it seems to be a gain, for what contradicts is
    what the biased model is unsure of.

    Attributes:
        of: cell of each sample ``(n,)``, -1 for none.
        weight: of each cell, float64, with sum 1.
        contradicting: how many samples of the cells look like another class than their own.
    """

    of: Tensor
    weight: Tensor
    contradicting: int

    @classmethod
    def made(cls, logits: Tensor, label: Tensor, enough: int = ENOUGH, strata: int = STRATA) -> Self:
        """Cells of samples with these labels ``(n,)`` of which a biased model says these logits ``(n, C)``.

        Classes that few contradicting samples look like are taken together. Each class weighs alike, and in it each
        stratum. A stratum in which few samples contradict, or few do not, weighs nothing.

        >>> Cells.made(torch.tensor([[1.0, 0.0]] * 4), torch.tensor([0, 0, 1, 1]), 2).of
        tensor([0, 0, 1, 1])
        """
        sure, looks = logits.double().softmax(1).max(1)
        odd, n_classes = looks != label, logits.shape[1]
        known = torch.bincount(looks[odd], minlength=n_classes) >= enough
        group = torch.where(known[looks], looks, n_classes)
        of, weight, cells = torch.full_like(label, -1), [], 0
        for value in group.unique():
            members = group == value
            count = min(strata, int((members & odd).sum()) // enough)
            if not count:
                continue
            edges = sure[members & odd].quantile(torch.arange(1, count).double() / count)
            stratum = torch.bucketize(sure, edges)
            size = torch.stack([torch.bincount(stratum[members & who], minlength=count) for who in (~odd, odd)])
            kept = (size >= enough).all(0)
            place = cells + 2 * (kept.cumsum(0) - 1)[stratum] + odd
            of = torch.where(members & kept[stratum], place, of)
            cells += 2 * int(kept.sum())
            share = (1 if value < n_classes else int((~known).sum())) / count
            weight += [share] * (2 * int(kept.sum()))
        found = torch.tensor(weight, dtype=torch.float64)
        return cls(of, found / found.sum(), int((odd & (of >= 0)).sum()))

    def count(self, who: Tensor) -> Tensor:
        """How many samples of each cell are among those ``(n,)``, boolean; float64."""
        return torch.bincount(self.of[who & (self.of >= 0)], minlength=len(self.weight)).double()

    def score(self, right: Tensor) -> float:
        """The share that is right ``(n,)``, boolean, of each cell by its weight."""
        return float(self.weight @ (self.count(right) / self.count(self.of >= 0)))

    def better(self, right: Tensor, base: Tensor) -> tuple[float, float]:
        """By how much the score of one is above that of another, and the standard error of that.

        The samples are paired: what counts is who is right where the other is not. Half a sample is added to each of
        the four outcomes of a cell for the error, without which five samples that agree would leave no doubt.

        Args:
            right, base: who is right ``(n,)``, boolean.

        Source: Agresti and Min, Simple improved confidence intervals for comparing matched proportions, Statistics in
        Medicine 2005.
        """
        size, won, lost = self.count(self.of >= 0), self.count(right & ~base), self.count(base & ~right)
        n, b, c = size + 2, won + 0.5, lost + 0.5
        variance = (b + c - (b - c) ** 2 / n) / n**2
        return float(self.weight @ ((won - lost) / size)), float((self.weight**2 @ variance).sqrt())


def by_class(right: Tensor, label: Tensor) -> float:
    """The mean over the classes of the share that is right ``(n,)``, boolean.

    >>> by_class(torch.tensor([True, True, False]), torch.tensor([2, 0, 0]))
    0.75
    """
    size = torch.bincount(label).double()
    return float((torch.bincount(label[right], minlength=len(size)) / size)[size > 0].mean())


class Auto(Method):
    """One of several methods, chosen by a race on half of the training set, or ``erm`` if none is clearly better.

    The loss is that of the method chosen, which then learns from all samples for the whole run, as if it had been
    named. The score is accuracy on the other half, balanced over label and what a sample looks like to a biased model,
    as published for choosing hyperparameters, and here also over how sure that model is (:class:`Cells`). A runner is
    taken whose score is above that of ``erm`` by more than chance and by more than it loses on these samples as
    frequent as they are. Where too few samples contradict the biased model, ``erm`` is taken without a race. Whoever
    trains, the loop has the settings that are ``selecmix``'s defaults.
    """

    name = "auto"
    paper = "the score: Tsirigotis et al., Group robust classification without any group information, NeurIPS 2023"
    needs_classes = "it chooses by which class a sample looks like"
    training_defaults = SelecMix.training_defaults
    variants = ({"runners": "jtt", "margin": 0.0}, {"runners": "jtt", "share": 0.6, "epochs": 5})

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        runners: Annotated[
            str,
            Field(
                min_length=1, description="names of methods that need no attribute, joined by '+'; erm runs in any case"
            ),
        ] = "erm+selecmix+fg-ccdb",
        share: Annotated[
            float, Field(gt=0, le=1, description="length of the race, as a share of the run's epochs; shorter for many")
        ] = 1 / 3,
        margin: Annotated[
            float, Field(ge=0, description="by how many standard errors a runner must be better than erm")
        ] = 1.5,
    ) -> None:
        self._random = torch.get_rng_state()  # every method begins as it would alone
        super().__init__(make_net, info)
        self._first = {name: value.clone() for name, value in self.net.state_dict().items()}
        self.names = list(dict.fromkeys(["erm", *(name.strip() for name in runners.split("+"))]))
        self.share, self.margin = share, margin
        self.register_buffer("choice", torch.zeros((), dtype=torch.long))
        self.said = ""
        for name in self.names:
            self._require(name)
        self._take(0)

    choice: Tensor  # position in the names
    runner: Method

    # --- building ---

    def _require(self, name: str) -> None:
        """Refuse a method that cannot run, or of which another one cannot play the part."""
        from longcut.methods import METHODS

        cls, why = METHODS.find(name), ""
        if cls is type(self):
            why = "which is itself"
        elif "attribute" in cls.needs:
            why = "which needs the attribute, and nobody is told it here"
        elif "classification" not in cls.tasks:
            why = "which learns no classes"
        else:
            made = self._made(name)
            shapes = {key: value.shape for key, value in made.net.state_dict().items()}
            if not cls.judged_by_epoch or shapes != {key: value.shape for key, value in self._first.items()}:
                why = "whose network is another one than the run's"
            elif made.observers():
                why = "which watches its own run"
        if why:
            raise UserError(f"{self.name} cannot race {name}, {why}; leave it out of runners.")

    def _made(self, name: str) -> Method:
        """A fresh method of that name, with the first weights that it would have alone."""
        from longcut.methods import METHODS

        first = [self._first]

        def make_net() -> Net:
            net = self.make_net()
            if first:  # the main one, which may start from another run
                net.load_state_dict(first.pop())
            return net

        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self._random)
            return METHODS.find(name)(make_net, self.info)

    def _take(self, choice: int) -> None:
        """Be the method at that position of the names."""
        device = next(self.parameters()).device
        self.choice.fill_(choice)
        self.runner = self._made(self.names[choice]).to(device)
        self.net = self.runner.net

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """The method that was chosen, with its weights."""
        self._take(int(state_dict["choice"]))
        return super().load_state_dict(state_dict, strict, assign)

    def get_extra_state(self) -> Tensor:
        """The remarks, as bytes."""
        return torch.tensor(list(self.said.encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        self.said = bytes(state.tolist()).decode()

    # --- choosing ---

    def check(self, splits: Splits) -> None:
        for name in self.names:
            self._made(name).check(splits)

    def prepare(self, train: Dataset, fit: FitHelper) -> Dataset:
        """What the method that is chosen makes of the training set, which draws what it would draw alone."""
        state = self.generator.get_state()
        with torch.random.fork_rng(devices=[]):
            choice = self._choose(train, fit)
        self._take(choice)
        try:
            self.runner.context = self.context
            self.generator.set_state(state)
            return self.runner.prepare(train, fit)
        except UserError as error:
            if choice == 0:
                raise
            self.said += f" But on all samples it could not train ({_clause(error)}), so erm did."
            self._take(0)
            self.runner.context = self.context
            return self.runner.prepare(train, fit)

    def _choose(self, train: Dataset, fit: FitHelper) -> int:
        """Position of the winner; what is to be said of the race is kept."""
        race, beside = _Meter(fit), _Meter(fit)  # the runners, and all that helps to choose
        device = next(self.parameters()).device
        learned, held = split(train, 0.5, self.generator)
        found = explain(train, beside, seed=self.generator.initial_seed(), device=device)
        logits = torch.zeros(train.info.n_stored, train.info.n_classes)
        logits[train.index] = found.logits
        cells = Cells.made(logits[held.index], held.label)
        if not cells.contradicting:
            self.said = (
                f"chose erm without a race: too few of the {len(held)} held-out samples look like another class to a "
                f"small net ({found.member}) to compare methods by."
            )
            return 0
        share = min(self.share, SPENT / len(self.names))
        epochs = max(1, round(share * self.context.epochs * len(train) / len(learned)))
        results = [self._result(name, learned, held, epochs, race, beside) for name in self.names]
        base = results[0]
        if isinstance(base, str):
            raise UserError(f"{base}.")
        winner, highest, plain = 0, cells.score(base), by_class(base, held.label)
        told, out = [f"erm {number(highest)} %"], []
        for i, (name, right) in enumerate(zip(self.names[1:], results[1:], strict=True), 1):
            if isinstance(right, str):
                out.append(f"{name} ({right})")
                continue
            score, (difference, error) = cells.score(right), cells.better(right, base)
            lost = plain - by_class(right, held.label)
            told.append(f"{name} {number(score)} % ({100 * difference:+.1f} ± {number(error)})")
            needed = self.margin * error
            if difference > needed >= difference - lost:
                out.append(f"{name} (loses {number(lost)} on samples as they come)")
            elif difference > needed and score > highest:
                winner, highest = i, score
        cost, small = (meter.samples / (len(train) * self.context.epochs) for meter in (race, beside))
        self.said = (
            f"chose {self.names[winner]}: accuracy on held-out samples, half by the {cells.contradicting} that look "
            f"like another class to a small net ({found.member}) and half by others that look the same: "
            f"{', '.join(told)}, where ± is a standard error and {self.margin:g} are asked for beyond what is lost on "
            f"samples as they come. {f'Out: {left}. ' if (left := ', '.join(out)) else ''}"
            f"The race took {cost:.2g} runs of erm, its helpers and small nets saw {small:.2g} times a run's samples."
        )
        return winner

    def _result(
        self, name: str, learned: Dataset, held: Dataset, epochs: int, fit: FitHelper, help: FitHelper
    ) -> Tensor | str:
        """Who of the held-out samples is told right ``(n,)``, or why that method cannot learn."""
        runner = self._made(name).to(self.choice.device)
        runner.context = dataclasses.replace(self.context, data=learned, epochs=epochs)
        try:
            train = runner.prepare(learned, help)
            fit(runner, train, epochs=epochs)
            runner.finish(train, None, help)
        except UserError as error:
            return _clause(error)
        return predict(runner, held, self.choice.device).argmax(1) == held.label

    # --- the method that was chosen ---

    def epoch_data(self, train: Dataset) -> Dataset:
        return self.runner.epoch_data(train)

    def on_pool(self, pool: Batch) -> Batch:
        return self.runner.on_pool(pool)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        return self.runner.loss(batch)

    def optimizers(self, training: Training) -> list[torch.optim.Optimizer]:
        return self.runner.optimizers(training)

    def step(
        self, batch: Batch, optimizers: list[torch.optim.Optimizer], backward: Callable[[Tensor], None]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        return self.runner.step(batch, optimizers, backward)

    def finish(self, train: Dataset, valid: Dataset | None, fit: FitHelper) -> None:
        self.runner.context = self.context
        self.runner.finish(train, valid, fit)
        self.net = self.runner.net

    def identification(self) -> Identification | None:
        return self.runner.identification()

    def remarks(self) -> Sequence[str]:
        """What was chosen, and why."""
        return [*([self.said] if self.said else []), *self.runner.remarks()]

    def pairs(self, train: Dataset, n: int) -> Mapping[str, Tensor] | None:
        return self.runner.pairs(train, n)

    def embedding(self, x: Tensor) -> Tensor | None:
        return self.runner.embedding(x)

    def biased_logits(self, x: Tensor) -> Tensor | None:
        return self.runner.biased_logits(x)


class _Meter:
    """The loop for helpers, which counts the samples that it shows."""

    def __init__(self, fit: FitHelper) -> None:
        self.fit, self.counts = fit, list[_Count]()

    @property
    def samples(self) -> int:
        return sum(count.samples for count in self.counts)

    def __call__(
        self, method: Method, train: Dataset, *, observers: Sequence[Observer] = (), **training: Any
    ) -> Method:
        draw, count = method.epoch_data, _Count()
        self.counts.append(count)

        def counted(data: Dataset) -> Dataset:
            drawn = draw(data)
            count.samples += len(drawn)
            return drawn

        method.epoch_data = counted  # type: ignore[method-assign]
        return self.fit(method, train, observers=[*observers, count], **training)


class _Count(Observer):
    """Samples shown to a helper."""

    samples = 0

    def state(self) -> dict[str, Any]:
        return {"samples": self.samples}

    def restore(self, state: dict[str, Any]) -> None:
        self.samples = state["samples"]


def _clause(error: UserError) -> str:
    """Its sentence, to stand in brackets."""
    return str(error).rstrip(".")
