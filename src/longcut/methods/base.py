"""The contract of a method: one class, one file, one scalar loss per batch.

A method is an ``nn.Module`` that owns its networks. Every step has a default, that of empirical risk minimisation, and
is overridden by the methods whose paper needs it; for most that is ``loss`` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from longcut.context import Context, Observer
from longcut.data import Batch, Dataset, Info, Splits
from longcut.errors import UserError, unknown
from longcut.identify import Identification
from longcut.losses import cross_entropy, squared_error
from longcut.nets import Net
from longcut.nets.tuning import lr_scale
from longcut.optimizers import SGD, Adam, AdamW
from longcut.training import Training

__all__ = [
    "FitHelper",
    "MakeNet",
    "Method",
    "Recipe",
    "adam",
    "beside",
    "optimizer",
    "require_attribute",
    "require_images",
    "require_known",
]

MakeNet = Callable[[], Net]


class FitHelper(Protocol):
    """What a method is handed to train a helper with: the same loop, its own seed."""

    def __call__(
        self, method: Method, train: Dataset, *, observers: Sequence[Observer] = (), **training: Any
    ) -> Method:
        """Train ``method`` on ``train`` (keywords override the run's training settings) and return it."""
        ...


def require_attribute(who: str, data: str, known: bool) -> None:
    """Refuse data of which no attribute is known.

    Raises:
        UserError: saying that ``who`` needs it and ``data`` has none.
    """
    if not known:
        raise UserError(
            f"{who} needs the attribute of each training sample, but {data} has none; "
            "pass attribute=…, of some at least and -1 for the others, or take a method that needs none, such as "
            "selecmix or lff."
        )


def require_images(who: str, info: Info) -> None:
    """Refuse what are no images.

    Raises:
        UserError: saying that ``who`` needs them, and what the data are.
    """
    if len(info.shape) != 3:
        raise UserError(
            f"{who} needs images (C, H, W), but {info.name} is of kind '{info.kind}' and shape {info.shape}; "
            "take another method, such as mixup."
        )


@dataclass(frozen=True)
class Recipe:
    """A published setting, quirks included.

    Attributes:
        why: what it reproduces and which quirks it takes over.
        options: of the method.
        training: settings of the loop.
        net: spec of the main network, or None to leave it.
    """

    why: str
    options: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    net: str | None = None


class Method(nn.Module):
    """Base of every method.

    Class attributes:
        name: what users type.
        paper: authors, venue, year.
        needs: ``{"attribute"}`` when training samples must have their attribute.
        partial: whether it is enough that some of them have it, the others having -1 and belonging to no group.
        tasks: what it can learn.
        needs_classes: why it learns no regression, to end a sentence with.
        kinds: of inputs that it can learn from; what learns from images alone refuses others.
        judged_by_epoch: False where the net is no classifier before ``finish``: no epoch is judged or selected then.
        training_defaults: training settings that belong to the method and differ from the general defaults.
        recipes: published settings by name.
        variants: options, settings of the loop or ``net`` that act only together, for the tests to try.

    Args:
        make_net: call it once per network of the main kind that the method needs; the first is the main one, which
            may start from another run (``init``).
        info: of the data.

    A subclass adds its hyperparameters as keyword-only arguments, ``Annotated`` with a ``pydantic.Field`` that gives
    description and range: that is their one declaration, from which command line, validation, docs and run record
    follow. It keeps the network that will be used in ``self.net``.
    """

    name: ClassVar[str]
    paper: ClassVar[str] = ""
    needs: ClassVar[frozenset[str]] = frozenset()
    partial: ClassVar[bool] = False
    tasks: ClassVar[frozenset[str]] = frozenset({"classification"})
    needs_classes: ClassVar[str] = ""
    kinds: ClassVar[frozenset[str]] = frozenset({"image", "table", "tokens"})
    judged_by_epoch: ClassVar[bool] = True
    training_defaults: ClassVar[Mapping[str, Any]] = {}
    recipes: ClassVar[Mapping[str, Recipe]] = {}
    variants: ClassVar[Sequence[Mapping[str, Any]]] = ()

    def __init__(self, make_net: MakeNet, info: Info) -> None:
        super().__init__()
        if "attribute" in self.needs:
            require_attribute(self.name, info.name, info.n_attributes > 0)
        if self.kinds == {"image"}:
            require_images(self.name, info)
        self.info = info
        self.make_net = make_net
        self.net: Net = make_net()
        self._context: Context | None = None

    @property
    def context(self) -> Context:
        """What holds at the moment: set by the loop, and by a method for the one beside it.

        Raises:
            UserError: where nobody set it.
        """
        if self._context is None:
            raise UserError(f"{self.name} is in no loop yet; begin with method.on_epoch(Context(generator, data)).")
        return self._context

    @context.setter
    def context(self, context: Context) -> None:
        self._context = context

    def forward(self, x: Tensor) -> Tensor:
        """Outputs ``(n, C)`` of the network that will be used."""
        return self.net(x)

    @property
    def generator(self) -> torch.Generator:
        """The context's: the source of all randomness."""
        return self.context.generator

    def mixable(self, x: Tensor, level: int | None = None) -> Tensor:
        """Inputs after the first ``level`` stages of the net, where they can be mixed.

        By default that is the net's first level: images and tables themselves, token ids behind their embedding.
        """
        return self.net.between(x, 0, self.net.levels[0] if level is None else level)

    def outputs(self, mixed: Tensor, level: int | None = None) -> Tensor:
        """Outputs ``(n, C)`` for what was made from inputs that were ``mixable`` at that level."""
        level = self.net.levels[0] if level is None else level
        if level == 0:
            return self(mixed)
        return self.net.answer(self.net.between(mixed, level))

    def per_sample_loss(self, outputs: Tensor, label: Tensor) -> Tensor:
        """Of each sample ``(n,)``: the cross-entropy, or of targets the run's loss, in the units the head learns."""
        if self.info.task == "classification":
            return cross_entropy(outputs, label)
        loss = squared_error if self._context is None else self._context.loss
        return loss(self.net.standardized(outputs), self.net.standardized(label))

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The whole idea of the paper: a scalar for a minibatch, and numbers worth logging.

        By default it is the mean loss of the samples, what empirical risk minimisation minimises. A number to log is a
        detached scalar, whose mean over the epoch is kept, or a pair ``(sum, count)``, whose sums are divided.
        """
        outputs = self(batch.x)
        losses = self.per_sample_loss(outputs, batch.label)
        self.context.saw(batch, outputs, losses)
        return losses.mean(), {}

    def check(self, splits: Splits) -> None:
        """Before anything is trained: refuse data that the method cannot do with, beyond what ``needs`` says."""

    def prepare(self, train: Dataset, fit: FitHelper) -> Dataset:
        """Once, before training: what to train on. JTT and JM1 train a helper model here first."""
        return train

    def on_epoch(self, context: Context) -> None:
        """At the start of each epoch, with what holds in it, also for a method beside; who overrides this calls it."""
        self.context = context
        for part in self.children():
            if isinstance(part, Method):
                part.on_epoch(context)

    def epoch_data(self, train: Dataset) -> Dataset:
        """At the start of each epoch, after ``on_epoch``: the samples it walks; balanced sampling is drawn here."""
        return train

    def on_pool(self, pool: Batch) -> Batch:
        """Once per pool of several minibatches, augmented and in training mode: methods that mix draw partners here.

        Return the pool, with extra columns that ``loss`` will find in its minibatches.
        """
        return pool

    def optimizers(self, training: Training) -> list[torch.optim.Optimizer]:
        """The optimizers that ``step`` steps; default: the run's own on all parameters."""
        return [optimizer(self.parameters(), training)]

    def step(
        self, batch: Batch, optimizers: list[torch.optim.Optimizer], backward: Callable[[Tensor], None]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One update. Overridden where two players take turns."""
        loss, logs = self.loss(batch)
        for optimizer in optimizers:
            optimizer.zero_grad()
        backward(loss)
        for optimizer in optimizers:
            optimizer.step()
        return loss.detach(), logs

    def finish(self, train: Dataset, valid: Dataset | None, fit: FitHelper) -> None:
        """Once, after training, on the selected weights: DFR refits the head, contrastive methods fit a probe."""

    def observers(self) -> Sequence[Observer]:
        """Who watches a run of this method, beside those that the caller of the loop brings."""
        return ()

    def identification(self) -> Identification | None:
        """For the run folder: who is taken for the minority, and the record that says so; None for most."""
        return None

    def minority(self, train: Dataset) -> Tensor | None:
        """Whom it took for the minority by itself ``(n,)``, boolean, once trained: judged when the run is recorded.

        None for most, and where it was told. See :func:`longcut.methods.identified.evidence.judge_minority`.
        """
        return None

    def remarks(self) -> Sequence[str]:
        """For the record, once the run is over: what its reader must know, such as what was chosen and why, or a doubt.

        Each is sentences that begin in lower case, for they stand behind the method's name and a colon.
        """
        return ()

    def pairs(self, train: Dataset, n: int) -> Mapping[str, Tensor] | None:
        """For the report: ``n`` pairs as columns ``anchor, partner`` (positions in ``train``) and ``share``."""
        return None

    def embedding(self, x: Tensor) -> Tensor | None:
        """For the report: how the method's bias model sees inputs, ``(n, d)``; None when it has none."""
        return None

    def biased_logits(self, x: Tensor) -> Tensor | None:
        """For the report: what the bias model predicts for inputs, ``(n, C)``; None when it is no classifier."""
        return None


def require_known(method: Method, train: Dataset) -> None:
    """Refuse samples of which no attribute is known, or where the method needs all, not every one.

    Raises:
        UserError: saying what to do.
    """
    require_attribute(method.name, train.info.name, bool(train.known.any()))
    if not (method.partial or train.known.all()):
        raise UserError(
            f"{method.name} needs the attribute of each training sample, but {train.info.name} has it of "
            f"{int(train.known.sum()):,} of {len(train):,}; guess the others with the data set spread, or take a "
            "method that can do with some, such as group-dro or resample by group."
        )


def beside(base: Callable[..., Method], method: Method, **options: Any) -> Method:
    """Another method that is trained beside ``method``, on the samples as they are, and shares its network.

    The first network the base makes is the one ``method`` has; what the base makes of it, ``method`` takes over.

    Args:
        base: class of the other method.
        method: it has its network, and will get the base's.
        **options: of the base.
    """
    own = iter([method.net])
    built = base(lambda: next(own, None) or method.make_net(), method.info, **options)
    method.net = built.net
    return built


def adam(
    parameters: Iterable[nn.Parameter],
    training: Training,
    *,
    lr: float | None = None,
    weight_decay: float | None = None,
) -> torch.optim.Optimizer:
    """Adam with the run's learning rate and weight decay, or with those of a network's own, such as a biased model."""
    lr, decay = lr or training.lr, training.weight_decay if weight_decay is None else weight_decay
    return Adam(_by_rate(parameters, lr), lr, weight_decay=decay, fused=True)


def _by_rate(parameters: Iterable[nn.Parameter], lr: float, **settings: Any) -> list[dict[str, Any]]:
    """Groups of parameters for an optimizer: one, and one more for each part whose net wants another learning rate."""
    groups: dict[float, list[nn.Parameter]] = {}
    for parameter in parameters:
        groups.setdefault(lr_scale(parameter), []).append(parameter)
    return [{"params": some, "lr": lr * scale, **settings} for scale, some in groups.items()]


def optimizer(
    parameters: Iterable[nn.Parameter],
    training: Training,
    *,
    lr: float | None = None,
    weight_decay: float | None = None,
) -> torch.optim.Optimizer:
    """The run's optimizer (``training.optimizer``), with its learning rate and weight decay or with those given.

    ``adamw`` decays weights (matrices, kernels, embeddings) and spares vectors and scalars: the biases and the gains of
    norms. ``adamw-inverted`` does the reverse, as the released code of SubpopBench, BalancingGroups and XRM
    does for BERT. ``sgd`` has momentum 0.9.

    Raises:
        UserError: when there is no such optimizer.
    """
    if training.optimizer == "adam":
        return adam(parameters, training, lr=lr, weight_decay=weight_decay)
    lr, decay = lr or training.lr, training.weight_decay if weight_decay is None else weight_decay
    if training.optimizer == "sgd":
        return SGD(_by_rate(parameters, lr), lr, momentum=0.9, weight_decay=decay, fused=True)
    if training.optimizer not in ("adamw", "adamw-inverted"):
        raise unknown("optimizer", training.optimizer, ["adam", "adamw", "adamw-inverted", "sgd"])
    vectors, weights = [], []
    for parameter in parameters:
        (vectors if parameter.ndim < 2 else weights).append(parameter)
    decayed, spared = (weights, vectors) if training.optimizer == "adamw" else (vectors, weights)
    groups = [*_by_rate(decayed, lr, weight_decay=decay), *_by_rate(spared, lr, weight_decay=0.0)]
    return AdamW(groups, lr, fused=True)
