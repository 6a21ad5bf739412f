"""Bias models answer two questions: who is easy for a biased learner, and who looks alike to it?

Each is a small module that a pair rule, a weight or an audit can ask.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from longcut.contrast import generalized_supervised_contrastive, supervised_contrastive
from longcut.data import Batch, Dataset, Info, ranks, require_index
from longcut.losses import gce, relative_difficulty
from longcut.mixing import Pool
from longcut.nets import Net
from longcut.predict import at_once

__all__ = [
    "ClassifierBias",
    "ContrastiveBias",
    "Difficulty",
    "Likeness",
    "Seen",
    "class_similarity",
    "least_typical",
    "unexplained",
]


class Difficulty(nn.Module):
    """LfF's relative difficulty (Nam et al., NeurIPS 2020, §3.2) with a memory per sample.

    Each sample's loss under the biased and under the debiased net is averaged over visits and divided by the largest
    average of its class; the weight is ``biased / (biased + debiased)``: near 1 where only the biased net fails.

    Args:
        info: gives the number of samples and classes.
        decay: weight of the old average at each visit, in [0, 1); the first visit stores the loss itself.
    """

    def __init__(self, info: Info, decay: float = 0.7) -> None:
        super().__init__()
        self.decay, self.n_classes = decay, info.n_classes
        # rows: biased net, debiased net. Losses are not negative, so rows never visited (0) do not move a maximum.
        self.register_buffer("loss", torch.zeros(2, info.n_stored))
        self.register_buffer("label", torch.zeros(info.n_stored, dtype=torch.long))
        self.register_buffer("seen", torch.zeros(info.n_stored, dtype=torch.bool))
        self.register_buffer("peak", torch.zeros(2, info.n_classes), persistent=False)
        self._members: list[Tensor] | None = None  # the samples of each class; None: to be looked up
        self._peak_known = True
        self.register_load_state_dict_post_hook(lambda module, _: module._forget())

    loss: Tensor
    label: Tensor
    seen: Tensor
    peak: Tensor

    @torch.no_grad()
    def update(self, index: Tensor, label: Tensor, biased: Tensor, debiased: Tensor) -> Tensor:
        """Remember the losses ``(n,)`` of these samples and return their weights ``(n,)`` in [0, 1]."""
        now = torch.stack([biased, debiased]).to(self.loss.dtype)
        before, seen, was = self.loss[:, index], self.seen[index], self.label[index]
        self.loss[:, index] = self.decay * torch.where(seen, before, now) + (1 - self.decay) * now
        self.label[index] = label
        self.seen[index] = True
        self._follow(index, label, before, ~seen | (was != label))
        return self._weights(index, label)

    def weights(self, index: Tensor, label: Tensor) -> Tensor:
        """Those of these samples as they are remembered ``(n,)``."""
        self._look()
        return self._weights(index, label)

    def _weights(self, index: Tensor, label: Tensor) -> Tensor:
        scaled = self.loss[:, index] / self.peak[:, label].clamp_min(torch.finfo(torch.float32).tiny)
        return relative_difficulty(scaled[0], scaled[1])

    def _look(self) -> None:
        """The largest average of each class, of the whole memory."""
        self.peak.zero_().scatter_reduce_(1, self.label.expand(2, -1), self.loss, "amax")
        self._peak_known = True

    def _follow(self, index: Tensor, label: Tensor, before: Tensor, moved: Tensor) -> None:
        """The same after some samples changed, without a look at all others, which would cost more the more there are.

        Where the largest of a class falls, the class is looked at again. A GPU looks at all, and waits for nothing.

        Args:
            index, label: of the samples ``(n,)``.
            before: their averages before ``(2, n)``.
            moved: who was not of this class before ``(n,)``.
        """
        if self.loss.is_cuda or not self._peak_known or (moved & (before != 0).any(0)).any():
            self._members = None
            return self._look()
        if moved.any():
            self._members = None
        now = self.loss[:, index]
        fell = ((now < before) & (before >= self.peak[:, label])).any(0)
        self.peak.scatter_reduce_(1, label.expand(2, -1), now, "amax")
        if fell.any():
            if self._members is None:
                size = torch.bincount(self.label, minlength=self.n_classes)
                self._members = list(self.label.argsort(stable=True).split(size.tolist()))
            for c in label[fell].unique().tolist():
                self.peak[:, c] = self.loss[:, self._members[c]].amax(1)

    def _forget(self) -> None:
        """What follows from the memory, when another one was loaded."""
        self._members, self._peak_known = None, False


def class_similarity(z: Tensor, label: Tensor, n_classes: int) -> Tensor:
    """Cosine of each embedding with the mean direction of every class ``(n, n_classes)``."""
    centre = F.normalize(z.new_zeros(n_classes, z.shape[1]).index_add_(0, label, z), dim=1)
    return z @ centre.T


def unexplained(z: Tensor, label: Tensor, n_classes: int) -> float:
    """The share of samples that lie nearer to another class than to their own in a biased model's eyes.

    Early in training it estimates, without any label for the bias, how much of the data contradicts the easy cue.

    >>> z = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    >>> round(unexplained(z, torch.tensor([0, 0, 0, 1, 1]), 2), 2)
    0.2
    """
    return float((class_similarity(z, label, n_classes).argmax(1) != label).float().mean())


def least_typical(z: Tensor, label: Tensor, n_classes: int, share: float) -> Tensor:
    """The rows farthest from the mean direction of their class: where samples that contradict the shortcut lie.

    Args:
        z: unit vectors of a biased model ``(n, d)``.
        label: ``(n,)``.
        n_classes: number of classes.
        share: of each class to return, rounded up, at least two samples where a class has them.

    Returns:
        Positions, by class and from least typical on.

    >>> z = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    >>> least_typical(z, torch.tensor([0, 0, 0, 1]), 2, 0.5)
    tensor([2, 0, 3])
    """
    typical = class_similarity(z, label, n_classes).gather(1, label[:, None]).flatten()
    order = typical.argsort(stable=True)
    order = order[label[order].argsort(stable=True)]
    size = torch.bincount(label, minlength=n_classes)
    return order[ranks(label[order]) < (share * size).ceil().clamp_min(2)[label[order]]]


class Seen(NamedTuple):
    """A classifier that belongs to somebody else, as :class:`ClassifierBias` asks it: it is never trained here.

    Attributes:
        features: inputs to ``(n, width)``.
        logits: inputs to ``(n, C)``.
        width: of the features.
    """

    features: Callable[[Tensor], Tensor]
    logits: Callable[[Tensor], Tensor]
    width: int

    def __call__(self, x: Tensor) -> Tensor:
        """The logits."""
        return self.logits(x)


class Likeness(nn.Module):
    """A biased model that is asked who looks alike, and remembers what it said of each sample.

    Args:
        net: of the model; somebody else's (:class:`Seen`) is no part of this module.
        info: gives the number of samples.
        width: numbers that are remembered of each sample.
    """

    def __init__(self, net: nn.Module | Seen, info: Info, width: int) -> None:
        super().__init__()
        self.net = net
        # what the net says of each sample; it can be asked again, so it is not saved with the weights
        self.register_buffer("bank", torch.zeros(info.n_stored, width), persistent=False)

    bank: Tensor

    def embed(self, x: Tensor) -> Tensor:
        """What is remembered of inputs ``(n, width)``."""
        raise NotImplementedError

    def learning_loss(self, x: Tensor, label: Tensor) -> Tensor:
        """The loss it learns from, a mean over the batch."""
        raise NotImplementedError

    def direction(self, z: Tensor) -> Tensor:
        """What is remembered, as unit vectors ``(n, width)``."""
        return z

    def alike(self, own: Tensor, other: Tensor) -> Tensor:
        """Similarity ``(n, p)`` of what is remembered of two sets of samples, higher where they are more alike."""
        return own @ other.T

    def similarity(self, batch: Batch, pool: Pool) -> Tensor:
        """Similarity of batch and pool ``(n, p)`` by what is remembered of them, as pair rules ask it."""
        return self.alike(self.bank[require_index(batch)], self.bank[require_index(pool)])

    @torch.no_grad()
    def remember(self, index: Tensor, z: Tensor) -> None:
        """Keep what was said of these samples."""
        self.bank[index] = z.detach()

    @torch.no_grad()
    def remember_all(self, data: Dataset) -> None:
        """Embed and keep every sample of a data set, in evaluation mode: one coherent view of all."""
        was_training = self.training
        self.eval()
        device = self.bank.device
        for batch in data.batches(at_once(data.info.shape, device), device):
            self.remember(require_index(batch), self.embed(batch.x))
        self.train(was_training)


class ContrastiveBias(Likeness):
    """SelecMix's auxiliary model: an embedding in which samples that share the easy cue lie together.

    Trained with the generalized supervised contrastive loss, which trusts the pairs that already agree and so
    amplifies what was learned first (Hwang et al., NeurIPS 2022, Eq. 3). A bank keeps the embedding of samples, so
    that pairs can be sought in a pool or in the whole data set.

    Args:
        net: inputs to embeddings ``(n, width)``; normalised here.
        info: gives the number of samples.
        width: of the embedding.
        loss: ``"gsc"`` or ``"sc"`` (plain supervised contrastive).
        temperature: tau.
        q: amplification, for ``"gsc"``.
        scale: ``"paper"`` (weights p^q) or ``"code"`` (q p^q, as released).
    """

    def __init__(
        self,
        net: nn.Module,
        info: Info,
        width: int,
        *,
        loss: Literal["gsc", "sc"] = "gsc",
        temperature: float = 0.2,
        q: float = 0.7,
        scale: Literal["paper", "code"] = "paper",
    ) -> None:
        super().__init__(net, info, width)
        self.kind, self.temperature, self.q = loss, temperature, q
        self.scale: Literal["paper", "code"] = scale

    def embed(self, x: Tensor) -> Tensor:
        """Inputs to unit vectors ``(n, width)``."""
        return F.normalize(self.net(x), dim=1)

    def loss(self, z: Tensor, label: Tensor) -> Tensor:
        """Mean over the batch of the contrastive loss of embeddings ``(n, width)``."""
        if self.kind == "sc":
            return supervised_contrastive(z, label, self.temperature, reduction="mean")
        return generalized_supervised_contrastive(
            z, label, self.temperature, self.q, scale=self.scale, reduction="mean"
        )

    def learning_loss(self, x: Tensor, label: Tensor) -> Tensor:
        """:meth:`loss` of inputs."""
        return self.loss(self.embed(x), label)


class ClassifierBias(Likeness):
    """A classifier that is trained to be prejudiced, and how alike two samples are to it (SelecMix, Table 2).

    It is the biased net of LfF, which learns by the generalized cross-entropy (§4.2). Compared are the cosine of its
    features, minus their Euclidean distance, or minus the divergence ``KL(p_anchor || p_partner)`` of its predicted
    probabilities; which way round the divergence is taken, the paper does not say.

    Args:
        net: of which the features or outputs are compared; a :class:`Seen` one learns elsewhere.
        info: gives the number of samples and classes.
        kind: ``"cosine"``, ``"l2"`` or ``"kl"``.
        q: of the generalized cross-entropy.
        scale: ``"paper"`` or ``"code"`` (see :func:`longcut.losses.gce`).
    """

    net: Net | Seen

    def __init__(
        self,
        net: Net | Seen,
        info: Info,
        kind: Literal["cosine", "l2", "kl"],
        *,
        q: float = 0.7,
        scale: Literal["paper", "code"] = "paper",
    ) -> None:
        super().__init__(net, info, info.n_classes if kind == "kl" else net.width)
        self.kind, self.q = kind, q
        self.scale: Literal["paper", "code"] = scale

    def embed(self, x: Tensor) -> Tensor:
        """Features ``(n, width)``, of unit length for the cosine; log-probabilities ``(n, C)`` for the divergence."""
        if self.kind == "kl":
            return self.net(x).log_softmax(1)
        return F.normalize(self.net.features(x), dim=1) if self.kind == "cosine" else self.net.features(x)

    def learning_loss(self, x: Tensor, label: Tensor) -> Tensor:
        """Mean generalized cross-entropy."""
        return gce(self.net(x), label, self.q, scale=self.scale).mean()

    def direction(self, z: Tensor) -> Tensor:
        """What is remembered, as unit vectors."""
        return F.normalize(z.exp() if self.kind == "kl" else z, dim=1)

    def alike(self, own: Tensor, other: Tensor) -> Tensor:
        """Cosine, minus distance, or minus divergence ``(n, p)``."""
        if self.kind == "l2":
            return -torch.cdist(own, other)
        if self.kind == "kl":
            return own.exp() @ other.T - (own.exp() * own).sum(1, keepdim=True)
        return own @ other.T
