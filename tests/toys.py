"""Two shapes of methods to come, each in at most 30 lines: what the contract must be able to carry.

They are as small as their shape allows and are no faithful versions of the papers they are named after.
And a table with a shortcut, for the tests of methods that look for it.
"""

# A toy says neither types nor that its data has an attribute, which "needs" has already checked.
# pyright: reportArgumentType=false, reportOptionalSubscript=false
from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from longcut.contrast import supervised_contrastive
from longcut.data import Dataset, generator
from longcut.losses import cross_entropy
from longcut.methods.base import Method, adam
from longcut.methods.erm import ERM
from longcut.nets import Net


class SimCLR(Method):
    """Two views and no label in the loss; a linear probe at the end makes it a classifier."""

    name, paper = "toy-simclr", "Chen et al., ICML 2020"

    def __init__(self, make_net, info, *, noise: float = 0.1):
        super().__init__(make_net, info)
        self.noise = noise

    def view(self, x):
        return x + self.noise * torch.randn(x.shape, generator=self.generator)

    def loss(self, batch):
        two_views = torch.cat([self.view(batch.x), self.view(batch.x)])
        z = F.normalize(self.net.features(two_views), dim=1)
        itself = torch.arange(len(batch)).repeat(2)  # the label of a view is the sample it shows
        return supervised_contrastive(z, itself, reduction="mean"), {}

    def finish(self, train, valid, fit):
        with torch.no_grad():
            features = self.net.features(train.gather(torch.arange(len(train))))
        probe = ERM(lambda: Net([], nn.Linear(features.shape[1], self.info.n_classes)), self.info)
        probe = fit(probe, Dataset.of(features, train.label, n_classes=self.info.n_classes), epochs=5)
        self.net.head.load_state_dict(probe.net.head.state_dict())


class Adversary(Method):
    """Two players take turns, each with an optimizer of its own (ReBias, LAFTR)."""

    name, paper, needs = "toy-adversary", "Madras et al., ICML 2018", frozenset({"attribute"})

    def __init__(self, make_net, info, *, strength: float = 0.5):
        super().__init__(make_net, info)
        self.adversary = nn.Linear(info.n_classes, info.n_attributes)
        self.strength = strength

    def optimizers(self, training):
        return [adam(self.net.parameters(), training), adam(self.adversary.parameters(), training, lr=1e-2)]

    def step(self, batch, optimizers, backward):
        guess = cross_entropy(self.adversary(self(batch.x).detach()), batch.attribute).mean()
        logits = self(batch.x)
        hidden = cross_entropy(self.adversary(logits), batch.attribute).mean()
        loss = cross_entropy(logits, batch.label).mean() - self.strength * hidden
        for optimizer, own_loss in zip(optimizers, (loss, guess), strict=True):
            backward_only = [p for group in optimizer.param_groups for p in group["params"]]
            grads = torch.autograd.grad(own_loss, backward_only, retain_graph=True)
            for parameter, gradient in zip(backward_only, grads, strict=True):
                parameter.grad = gradient
        for optimizer in optimizers:
            optimizer.step()
        return loss.detach(), {"guess": guess.detach()}


TOYS = (SimCLR, Adversary)


def shortcut(n: int = 600, conflicting: float = 0.1, seed: int = 0) -> Dataset:
    """Coordinate 0 tells the label through noise, coordinate 1 the attribute clearly; nobody says so."""
    label = torch.arange(n) % 2
    other = torch.rand(n, generator=generator(seed, 1)) < conflicting
    attribute = torch.where(other, 1 - label, label)
    deviation = torch.tensor([1.5, 0.2])
    x = 2.0 * torch.stack([label, attribute], 1) - 1 + deviation * torch.randn(n, 2, generator=generator(seed, 2))
    return Dataset.of(x, label, attribute, name="toy", aligned=(0, 1))


def blind(data: Dataset) -> Dataset:
    return Dataset.of(data.x, data.label, name="blind")
