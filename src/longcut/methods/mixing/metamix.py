"""MetaMix: learn where a few steps lead far, judged on queries that are mixed with what the steps learned from."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from longcut import mixing
from longcut.data import Batch, Dataset, Episodes, Info, Splits, episodes, generator
from longcut.methods.base import FitHelper, MakeNet, Method, Recipe
from longcut.methods.shared import Episodic, Queries, Shots, Ways
from longcut.mixing import Pool
from longcut.nets import Net

Weights = dict[str, Tensor]


class MetaMix(Method):
    """``min_w mean_tasks L(mix_k(query, support); w - a grad L(support; w))``, mixed at a level k by the adapted net.

    Each step draws tasks of its own from the training samples; the minibatches say how many steps there are. A task of
    classes is a few of them, under their own numbers; one of a regression has one value of the attribute (data without
    an attribute is one task). The evaluation of an epoch is that of the weights before they adapt. At the end they take
    ``adapt`` steps on a few training samples of every class, or of every task, and that net is used.
    """

    name = "metamix"
    paper = "Yao et al., Improving generalization in meta-learning via task augmentation (MetaMix), ICML 2021"
    tasks = frozenset({"classification", "regression"})
    variants = ({"mix": False}, {"pairs": "c-mixup", "sigma": 1.0})
    recipes = {
        "pose": Recipe(
            "the released script for Pose, which takes 20 steps in a new task; its net is another",
            {"shots": 10, "queries": 10, "episodes": 10, "steps": 5, "inner_lr": 0.01, "alpha": 0.5, "adapt": 20},
            {"lr": 1e-3},
        ),
        "images": Recipe("the released shares for mini-ImageNet and Omniglot", {"alpha": 2.0, "steps": 5}, {}),
    }

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        ways: Ways = 5,
        shots: Shots = 5,
        queries: Queries = 5,
        episodes: Episodic = 4,
        steps: Annotated[int, Field(ge=1, description="inner steps, in training")] = 1,
        inner_lr: Annotated[float, Field(gt=0, description="step size of the inner steps")] = 0.01,
        alpha: Annotated[float, Field(ge=0, description="the share is Beta(alpha, alpha), one for a task")] = 2.0,
        pairs: Annotated[
            Literal["random", "c-mixup"],
            Field(description="a query's partner in the support: anyone, or the likelier the nearer its label"),
        ] = "random",
        sigma: Annotated[
            float, Field(gt=0, description="pairs=c-mixup: bandwidth, in the target's unit; classes lie sqrt(2) apart")
        ] = 1.0,
        mix: Annotated[bool, Field(description="false: the control, queries as they are, which is MAML")] = True,
        adapt: Annotated[int, Field(ge=0, description="steps of the net that is used, at the end")] = 5,
    ) -> None:
        super().__init__(make_net, info)
        self.ways = min(ways, info.n_classes) if info.task == "classification" else 1
        self.shots, self.queries, self.episodes = shots, queries, episodes
        self.steps, self.inner_lr, self.adapt = steps, inner_lr, adapt
        pair = mixing.anyone() if pairs == "random" else mixing.weighted(partial(self._nearness, sigma=sigma))
        ratio = mixing.beta(alpha, scope="batch")
        self.mix = mixing.Mix(pair, ratio, mixing.linear, mixing.proportional) if mix else None

    def _nearness(self, query: Batch, support: Pool, sigma: float) -> Tensor:
        """The logarithm of C-Mixup's kernel ``exp(-|y - y'|^2 / 2 sigma^2)``."""
        ours, theirs = query.label, support.label
        if self.info.task == "classification":
            ours, theirs = (F.one_hot(label, self.info.n_classes).float() for label in (ours, theirs))
        return -(ours[:, None] - theirs).square().sum(2) / (2 * sigma**2)

    def check(self, splits: Splits) -> None:
        """Refuse data with a class or a task too small for an episode."""
        self.draw(splits.train, 1, generator(0))

    def draw(self, data: Dataset, count: int, generator: torch.Generator, ways: int | None = None) -> Episodes:
        """As many tasks."""
        by = "class" if self.info.task == "classification" else "attribute"
        if by == "attribute" and not data.known.any():
            by = torch.zeros(len(data), dtype=torch.long)
        how = {"shots": self.shots, "queries": self.queries, "count": count, "generator": generator}
        return episodes(data, by, ways=ways or self.ways, **how)

    def adapted(self, support: Batch, steps: int, *, differentiable: bool = False) -> Weights:
        """The net's weights by name, after steps of gradient descent on the mean loss of the support.

        Args:
            support: what a task has to learn from.
            steps: how many.
            differentiable: whether a loss of the result is to have a gradient through the steps.
        """
        weights: Weights = {name: value for name, value in self.net.named_parameters() if value.requires_grad}
        for _ in range(steps):
            outputs = functional_call(self.net, weights, (support.x,))
            loss = self.per_sample_loss(outputs, support.label).mean()
            slopes = torch.autograd.grad(loss, [*weights.values()], create_graph=differentiable)
            weights = {name: w - self.inner_lr * by for (name, w), by in zip(weights.items(), slopes, strict=True)}
        return weights

    def query_losses(self, weights: Weights, query: Batch, support: Batch) -> Tensor:
        """The outer loss of one task ``(n,)``, with the support's activations as the adapted net makes them."""
        if self.mix is None:
            return self.per_sample_loss(functional_call(self.net, weights, (query.x,)), query.label)
        levels = self.net.levels
        level = levels[int(torch.randint(len(levels), (), generator=self.generator, device=self.generator.device))]
        net = partial(functional_call, _Between(self.net), {f"net.{name}": value for name, value in weights.items()})
        own, others = net((torch.cat([query.x, support.x]), 0, level)).split([len(query), len(support)])
        mixed = self.mix(Batch(own, query.label), Batch(others, support.label), self.generator)
        return mixing.target_loss(self.per_sample_loss, net((mixed.x, level, None)), mixed.target)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean over tasks, each of which has a net of its own."""
        data, device = self.context.data, batch.x.device
        drawn, losses = self.draw(data, self.episodes, self.generator), []
        for rows in zip(drawn.support, drawn.query, strict=True):
            support, query = (self._gathered(data, some, device) for some in rows)
            weights = self.adapted(support, self.steps, differentiable=True)
            losses.append(self.query_losses(weights, query, support).mean())
        return torch.stack(losses).mean(), {}

    def finish(self, train: Dataset, valid: Dataset | None, fit: FitHelper) -> None:
        """The few steps in which every class, or every task, takes part."""
        ids = train.label if self.info.task == "classification" else train.attribute
        tasks = 0 if ids is None else len(ids[ids >= 0].unique())
        drawn = self.draw(train, 1, self.generator, max(tasks, 1))
        support = train.batch(drawn.support[0], next(self.parameters()).device)
        self.net.load_state_dict({**self.net.state_dict(), **self.adapted(support, self.adapt)})

    def _gathered(self, data: Dataset, rows: Tensor, device: torch.device) -> Batch:
        found = data.batch(rows, device)
        return Batch(self.context.augment(found.x, self.generator), found.label)


class _Between(nn.Module):
    """Some stages of a net, up to its outputs if there is no stop, as a module, which a functional call takes."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, start: int, stop: int | None) -> Tensor:
        x = self.net.between(x, start, stop)
        return self.net.answer(x) if stop is None else x
