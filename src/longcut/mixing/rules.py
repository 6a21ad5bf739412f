"""Mixing as four plain rules: who is mixed with whom, how much, how, and what the label becomes.

>>> mix = Mix(pair=anyone(), ratio=beta(1.0), blend=linear, label=proportional)
>>> batch = Batch(torch.rand(8, 3, 4, 4), torch.arange(8) % 2)
>>> mixed = mix(batch, generator=torch.Generator().manual_seed(0))
>>> mixed.x.shape, mixed.target.share.shape
(torch.Size([8, 3, 4, 4]), torch.Size([8]))

``share`` is everywhere the share of the *anchor*, the sample that a row of the batch started as, in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from longcut.data import Batch, Rows
from longcut.errors import UserError

__all__ = [
    "Mix",
    "Mixed",
    "PairRule",
    "Pairs",
    "Partners",
    "Pool",
    "Target",
    "across",
    "anyone",
    "beta",
    "choose",
    "coin",
    "contradicting",
    "cut",
    "either",
    "keep_both",
    "keyed",
    "linear",
    "of_partner",
    "own",
    "proportional",
    "require_contradiction",
    "same_attribute",
    "same_label",
    "sometimes",
    "target_loss",
    "uniform",
]

Mode = Literal["positive", "negative"]
Take = Literal["random", "first"]


class Pool(Protocol):
    """Where partners come from: a :class:`~longcut.Batch`, a :class:`~longcut.Dataset`, or anything like them."""

    @property
    def label(self) -> Tensor: ...
    @property
    def attribute(self) -> Tensor | None: ...
    @property
    def identity(self) -> Tensor:
        """Who each sample is; asked only by rules that remember samples."""
        ...

    def __len__(self) -> int: ...
    def gather(self, rows: Tensor) -> Tensor:
        """Inputs of the samples at positions ``rows``."""
        ...


@dataclass(frozen=True)
class Pairs(Rows):
    """Who is mixed with whom.

    Attributes:
        partner: position in the pool of each anchor's partner ``(n,)``.
        found: False where an anchor has no partner and stays as it is ``(n,)``.
    """

    partner: Tensor
    found: Tensor


@dataclass(frozen=True)
class Partners(Rows):
    """Drawn partners, gathered: what is left to do is to blend.

    Attributes:
        x: the partners' inputs ``(n, ...)``; a sample without a partner is its own.
        label: theirs.
        share: how much of the anchor to keep ``(n,)``; 1 where there is no partner.
        found: False where there is none ``(n,)``.
        attribute: the partners', for the record; None when unknown.
    """

    x: Tensor
    label: Tensor
    share: Tensor
    found: Tensor
    attribute: Tensor | None = None


@dataclass(frozen=True)
class Target(Rows):
    """The canonical target of a mixed sample: two labels, how much each counts, and a weight for each term.

    Attributes:
        label_a, label_b: labels of anchor and partner ``(n,)``, or float targets ``(n, width)``.
        share: how much of ``label_a`` counts ``(n,)``; the rest goes to ``label_b``.
        weight_a, weight_b: factors of the two terms ``(n,)``; UMIX weighs them apart, everybody else has ones.
    """

    label_a: Tensor
    label_b: Tensor
    share: Tensor
    weight_a: Tensor
    weight_b: Tensor

    def soft(self, n_classes: int) -> Tensor:
        """The target as one row of class weights per sample ``(n, n_classes)``; rows sum to 1 if the weights are 1."""
        a, b = F.one_hot(self.label_a, n_classes), F.one_hot(self.label_b, n_classes)
        share = self.share[:, None]
        return self.weight_a[:, None] * share * a + self.weight_b[:, None] * (1 - share) * b


@dataclass(frozen=True)
class Mixed(Rows):
    """What mixing returns: inputs ``(n, ...)``, their target, and which rows found a partner ``(n,)``."""

    x: Tensor
    target: Target
    found: Tensor


PairRule = Callable[[Batch, Pool, torch.Generator | None], Pairs]
RatioRule = Callable[[int, torch.Generator | None], Tensor]
Blend = Callable[[Tensor, Tensor, Tensor, torch.Generator | None], tuple[Tensor, Tensor]]
LabelRule = Callable[[Tensor, Tensor, Tensor], Target]
Similarity = Callable[[Batch, Pool], Tensor]


# --- who: pair rules --------------------------------------------------------------------------------------------------


def choose(score: Tensor, allowed: Tensor, generator: torch.Generator | None, *, within: float = 0.0) -> Pairs:
    """The one helper every pair rule ends in: for each row one of its best allowed columns, at random.

    What is not allowed is masked with −∞, so a row of negative scores never falls to a forbidden column, as happens
    in released code that multiplies by a 0/1 mask.

    Args:
        score: ``(n, p)`` floats, higher is better; −∞ and what is not a number are worst.
        allowed: ``(n, p)`` boolean.
        generator: source of randomness.
        within: how far from the best a column may be, as a fraction in [0, 1] of the range from the row's best to its
            worst allowed score: 0 draws from the best alone (and its ties), 1 from all that are allowed.

    Returns:
        Pairs; ``found`` is False exactly where a row has no allowed column.

    >>> choose(torch.tensor([[-3.0, -1.0]]), torch.tensor([[True, False]]), None).partner
    tensor([0])
    """
    found = allowed.any(1)
    if score.shape[1] == 0:
        return Pairs(torch.zeros(len(score), dtype=torch.long, device=score.device), found)
    score = score.nan_to_num(torch.finfo(score.dtype).min)
    masked = score.masked_fill(~allowed, -torch.inf)
    threshold = masked.amax(1, keepdim=True)
    if within:
        worst = score.masked_fill(~allowed, torch.inf).amin(1, keepdim=True)
        threshold = (1 - within) * threshold + within * worst
    best = allowed & (masked >= threshold)
    partner = masked.argmax(1)
    rows = (best.sum(1) > 1).nonzero().flatten()
    if len(rows):
        noise = torch.rand(len(rows), score.shape[1], generator=generator, device=score.device)
        partner[rows] = noise.masked_fill(~best[rows], -1).argmax(1)
    return Pairs(partner, found)


def _random(allowed: Tensor, generator: torch.Generator | None) -> Pairs:
    """A uniformly random allowed column for each row."""
    noise = torch.rand(allowed.shape, generator=generator, device=allowed.device)
    return choose(noise, allowed, generator)


def _same_sample(batch: Batch, pool: Pool) -> Tensor:
    """``(n, p)``, True where a column is the row's own sample, or a repeat of it."""
    theirs = getattr(pool, "index", None)
    if batch.index is not None and theirs is not None:
        return batch.index[:, None] == theirs.to(batch.index.device)
    same = torch.zeros(len(batch), len(pool), dtype=torch.bool, device=batch.label.device)
    return same.fill_diagonal_(True) if pool is batch else same


def _alike_label(batch: Batch, pool: Pool) -> Tensor:
    """``(n, p)``; a data set's own columns stay on the CPU."""
    return batch.label[:, None] == pool.label.to(batch.label.device)


def _attributes(batch: Batch, pool: Pool, rule: str) -> tuple[Tensor, Tensor]:
    if batch.attribute is None or pool.attribute is None:
        raise UserError(f"pair rule '{rule}' needs the attribute of each sample; pass Batch(x, label, attribute).")
    return batch.attribute, pool.attribute.to(batch.attribute.device)


def anyone() -> PairRule:
    """Anyone: a random permutation of the batch (fixed points allowed, as in mixup), or random rows of a pool."""

    def rule(batch: Batch, pool: Pool, generator: torch.Generator | None) -> Pairs:
        n, device = len(batch), batch.label.device
        if pool is batch:
            partner = torch.randperm(n, generator=generator, device=device)
        else:
            partner = torch.randint(max(len(pool), 1), (n,), generator=generator, device=device)
        return Pairs(partner, torch.full((n,), len(pool) > 0, device=device))

    return rule


def _first(allowed: Tensor, generator: torch.Generator | None) -> Pairs:
    """The first allowed column of each row."""
    if not allowed.shape[1]:
        return _random(allowed, generator)
    return Pairs(allowed.int().argmax(1), allowed.any(1))


TAKE = {"random": _random, "first": _first}


def same_label(*, other_attribute: bool = False, take: Take = "random") -> PairRule:
    """Another sample of the same label: class-conditional mixup; with ``other_attribute``, LISA's intra-label pairs.

    With ``other_attribute`` these are also SelecMix's contradicting positives by the true attribute.

    Args:
        other_attribute: whether the partner must differ in its attribute.
        take: a ``"random"`` partner among those that fit, or the ``"first"`` in the order of the pool, the same one for
            all anchors of a cell, as in SelecMix's released program.
    """

    def rule(batch: Batch, pool: Pool, generator: torch.Generator | None) -> Pairs:
        allowed = _alike_label(batch, pool) & ~_same_sample(batch, pool)
        if other_attribute:
            ours, theirs = _attributes(batch, pool, "same_label(other_attribute=True)")
            allowed &= ours[:, None] != theirs
        return TAKE[take](allowed, generator)

    return rule


def same_attribute(*, take: Take = "random") -> PairRule:
    """Another label, same attribute: LISA's intra-domain pairs.

    These are also SelecMix's contradicting negatives by the true attribute.

    Args:
        take: see :func:`same_label`.
    """

    def rule(batch: Batch, pool: Pool, generator: torch.Generator | None) -> Pairs:
        ours, theirs = _attributes(batch, pool, "same_attribute")
        return TAKE[take](~_alike_label(batch, pool) & (ours[:, None] == theirs), generator)

    return rule


def contradicting(
    similarity: Similarity, mode: Mode, *, within: float = 0.0, argmax: Literal["paper", "code"] = "paper"
) -> PairRule:
    """SelecMix's pairs (Hwang et al., NeurIPS 2022, §3.2), by the similarity a biased model sees.

    Args:
        similarity: ``(batch, pool) -> (n, p)``.
        mode: ``"positive"``, the least similar of the same label; ``"negative"``, the most similar of another label.
        within: how far from the best a partner may be (see :func:`choose`); the paper takes the best.
        argmax: ``"paper"``; or ``"code"``, as released, where what is not allowed counts as a similarity of 1
            (positive) or 0 (negative) and the best of the whole row is taken. A row whose negatives are all below 0
            then gets a sample of the anchor's own label, and an anchor without positives gets anybody.
    """

    def rule(batch: Batch, pool: Pool, generator: torch.Generator | None) -> Pairs:
        same, alike = _alike_label(batch, pool), similarity(batch, pool)
        if argmax == "code" and len(pool):
            score = torch.where(same, -alike, -1) if mode == "positive" else torch.where(same, 0, alike)
            return Pairs(score.argmax(1), torch.ones_like(batch.label, dtype=torch.bool))
        if mode == "positive":
            return choose(-alike, same & ~_same_sample(batch, pool), generator, within=within)
        return choose(alike, ~same, generator, within=within)

    return rule


def keyed(wanted: Callable[[Batch], Tensor], key: Callable[[Pool], Tensor]) -> PairRule:
    """A random one of the pool's samples that have the key which the anchor wants, out of pools of any size.

    Args:
        wanted: ``batch -> (n,)`` whole numbers.
        key: ``pool -> (p,)`` whole numbers.

    >>> rule = keyed(lambda batch: 1 - batch.label, lambda pool: pool.label)
    >>> batch = Batch(torch.zeros(3, 1), torch.tensor([0, 1, 0]))
    >>> batch.label[rule(batch, batch, None).partner]
    tensor([1, 0, 1])
    """

    def rule(batch: Batch, pool: Pool, generator: torch.Generator | None) -> Pairs:
        device = batch.label.device
        keys, order = key(pool).to(device).sort()
        want = wanted(batch)
        first, last = torch.searchsorted(keys, want), torch.searchsorted(keys, want, right=True)
        chance = torch.rand(len(batch), generator=generator, device=device)
        place = torch.minimum(first + (chance * (last - first)).long(), last - 1).clamp_min(0)
        return Pairs(order[place] if len(order) else place, last > first)

    return rule


def across(flag: Tensor, *, conditional: bool = True) -> PairRule:
    """Just Mix Once's pairs (JM1, Eq. 1): from the other side of a flag, such as a model's errors.

    Args:
        flag: by identity ``(n_stored,)`` boolean.
        conditional: whether the partner has the anchor's label, as in the paper's method; else it has any.
    """

    def key(pool: Pool) -> Tensor:
        return 2 * pool.label * conditional + flag.to(pool.identity.device)[pool.identity]

    def wanted(batch: Batch) -> Tensor:
        return 2 * batch.label * conditional + ~flag.to(batch.label.device)[batch.identity]

    return keyed(wanted, key)


def either(first: PairRule, second: PairRule) -> PairRule:
    """One rule or the other, by one fair coin for the whole batch (SelecMix's and LISA's "both")."""

    def rule(batch: Batch, pool: Pool, generator: torch.Generator | None) -> Pairs:
        return (first if coin(generator) else second)(batch, pool, generator)

    return rule


def sometimes(rule: PairRule, probability: float) -> PairRule:
    """The rule for each sample with this probability; the others stay as they are."""

    def sparing(batch: Batch, pool: Pool, generator: torch.Generator | None) -> Pairs:
        pairs = rule(batch, pool, generator)
        chosen = torch.rand(len(batch), generator=generator, device=pairs.found.device) < probability
        return Pairs(pairs.partner, pairs.found & chosen)

    return sparing


def require_contradiction(label: Tensor, attribute: Tensor | None, mode: Literal["A", "B", "both"], who: str) -> None:
    """Refuse data whose known attribute leaves a selective rule nobody to mix with.

    Args:
        label, attribute: of the training set ``(n,)``.
        mode: ``"A"`` needs a label with two attributes, ``"B"`` an attribute with two labels, ``"both"`` both.
        who: the method, for the sentence.

    Raises:
        UserError: when there is not one pair.
    """
    if attribute is None:
        raise UserError(f"{who} needs the attribute of each training sample; pass attribute=….")
    cells = torch.unique(torch.stack([label, attribute]), dim=1)
    for rule, row, sentence in (
        ("A", 0, "every label has a single attribute"),
        ("B", 1, "every attribute has a single label"),
    ):
        if mode in (rule, "both") and len(torch.unique(cells[row])) == cells.shape[1]:
            raise UserError(
                f"{who} finds no pair to mix in mode {rule}: in the training set {sentence}, so no sample contradicts "
                "the shortcut; add such samples, or take erm."
            )


def coin(generator: torch.Generator | None, probability: float = 0.5) -> bool:
    """True with this probability; a fair coin by default."""
    device = generator.device if generator else "cpu"
    return bool(torch.rand((), generator=generator, device=device) < probability)


# --- how much: ratio rules --------------------------------------------------------------------------------------------


def uniform(low: float = 0.0, high: float = 1.0, *, scope: Literal["sample", "batch"] = "sample") -> RatioRule:
    """A share from U(low, high), one for each sample or for the batch; SelecMix's is U(0, ½), that of min(λ, 1−λ)."""

    def rule(n: int, generator: torch.Generator | None) -> Tensor:
        device = generator.device if generator else None
        size = n if scope == "sample" else 1
        return (low + (high - low) * torch.rand(size, generator=generator, device=device)).expand(n)

    return rule


def beta(alpha: float, other: float | None = None, *, scope: Literal["sample", "batch"] = "sample") -> RatioRule:
    """A share from Beta(α, α), one for each sample or (mixup's and CutMix's released code) one for the batch.

    ``alpha=0`` keeps every sample as it is, as in the released code of mixup. With ``other`` the law is
    Beta(α, other), whose mean is ``α / (α + other)``.
    """
    if not (alpha >= 0 and (other is None or other > 0)):
        raise UserError(f"alpha is {alpha}; a Beta distribution needs alpha > 0 (0 switches mixing off).")

    def rule(n: int, generator: torch.Generator | None) -> Tensor:
        device = generator.device if generator else None
        size = n if scope == "sample" else 1
        if alpha == 0:
            return torch.ones(n, device=device)
        # A Beta variate is G / (G + G') of two gammas, and torch's gamma sampler is the one that takes a generator. In
        # logarithms, with G(α) = G(α + 1) · U^(1/α), no gamma of a small α rounds to the smallest float (and two to ½).
        both = torch.tensor([[alpha], [alpha if other is None else other]], dtype=torch.float32, device=device)
        shape = both.expand(2, size)
        gamma = torch._standard_gamma(shape + 1, generator=generator)  # pyright: ignore[reportPrivateImportUsage]
        u = torch.rand(2, size, generator=generator, device=device)
        log = gamma.log() + torch.log1p(-u) / shape
        return (log[0] - log[1]).sigmoid().expand(n)

    return rule


# --- how: blends ------------------------------------------------------------------------------------------------------


def linear(own: Tensor, partner: Tensor, share: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """``share * own + (1 - share) * partner``."""
    return torch.lerp(partner, own, _column(share, own)), share


def cut(own: Tensor, partner: Tensor, share: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """CutMix (Yun et al., ICCV 2019): a box of the partner pasted at the same place, clipped at the border.

    The box has area fraction ``1 - share`` before clipping, its own place for each sample, corners at
    ``centre ∓ side // 2``; the share returned is what is left of the anchor, in pixels.
    """
    if own.ndim != 4:
        raise UserError(f"blend 'cut' needs images (n, C, H, W), but these inputs have shape {tuple(own.shape)}.")
    n, _, h, w = own.shape
    device, side = own.device, (1 - share).sqrt()

    def inside(length: int) -> Tensor:
        half = (length * side).int() // 2
        centre = torch.randint(length, (n,), generator=generator, device=device)
        at = torch.arange(length, device=device)
        return (at >= (centre - half)[:, None]) & (at < (centre + half)[:, None])

    box = inside(h)[:, :, None] & inside(w)[:, None, :]
    realised = 1 - box.float().mean((1, 2))
    return torch.where(box[:, None], partner, own), realised


def keep_both(own: Tensor, partner: Tensor, share: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """The control of every pair rule: the same anchors and partners are drawn, but one of the two is shown whole.

    The anchor is shown with probability ``share``, so on average both weigh what they weigh in the blend. What a
    method gains over this is the mixing; the rest is resampling (Teney et al., ICML 2024).
    """
    keep = (torch.rand(len(own), generator=generator, device=own.device) < share).to(share.dtype)
    return torch.where(_column(keep, own) == 1, own, partner), keep


def _column(share: Tensor, like: Tensor) -> Tensor:
    return share.to(like.dtype).view(-1, *[1] * (like.ndim - 1))


# --- what label -------------------------------------------------------------------------------------------------------


def _target(own: Tensor, partner: Tensor, share: Tensor) -> Target:
    one = torch.ones_like(share)
    return Target(own, partner, share, one, one)


def proportional(own: Tensor, partner: Tensor, share: Tensor) -> Target:
    """Both labels, in the proportion of the two inputs (mixup, CutMix, LISA)."""
    return _target(own, partner, share)


def own(own: Tensor, partner: Tensor, share: Tensor) -> Target:
    """The anchor's label (class-conditional mixup, Just Mix Once)."""
    return _target(own, own, torch.ones_like(share))


def of_partner(own: Tensor, partner: Tensor, share: Tensor) -> Target:
    """The partner's label, hard, whatever the share (SelecMix)."""
    return _target(partner, partner, torch.zeros_like(share))


# --- together ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mix:
    """Four rules in one frozen object, for anybody's training loop.

    Args:
        pair: who is mixed with whom.
        ratio: how much of the anchor is kept.
        blend: how the two inputs become one.
        label: what the label becomes.
    """

    pair: PairRule
    ratio: RatioRule
    blend: Blend
    label: LabelRule

    def __call__(self, batch: Batch, pool: Pool | None = None, generator: torch.Generator | None = None) -> Mixed:
        """Mix every sample of ``batch`` with a partner from ``pool`` (None: from the batch itself).

        A sample without a partner is returned as it is, with its own label. The pool may be another batch or a
        whole data set.
        """
        return self.blend_with(batch, self.draw(batch, pool, generator), generator)

    def draw(self, batch: Batch, pool: Pool | None = None, generator: torch.Generator | None = None) -> Partners:
        """The first half of mixing: who and how much. Partners can be drawn for a large pool and blended in slices."""
        source = batch if pool is None else pool
        pairs = self.pair(batch, source, generator)
        share = self.ratio(len(batch), generator).to(batch.label.device)
        share = torch.where(pairs.found, share, 1)
        if not len(source):
            return Partners(batch.x, batch.label, share, pairs.found, batch.attribute)
        x, label = source.gather(pairs.partner).to(batch.x.device), source.label[pairs.partner.to(source.label.device)]
        alone = ~pairs.found.view(-1, *[1] * (x.ndim - 1))
        label = label.to(batch.label.device)
        label = torch.where(pairs.found.view(-1, *[1] * (label.ndim - 1)), label, batch.label)
        attribute = source.attribute
        if attribute is not None:
            attribute = attribute[pairs.partner.to(attribute.device)].to(batch.label.device)
        return Partners(torch.where(alone, batch.x, x) if alone.any() else x, label, share, pairs.found, attribute)

    def blend_with(self, batch: Batch, partners: Partners, generator: torch.Generator | None = None) -> Mixed:
        """The second half: how, and what label. A hidden level is mixed by passing its activations as both ``x``."""
        if not batch.x.is_floating_point():
            raise UserError(
                f"mixing needs float inputs, but x is {batch.x.dtype}; for images divide by 255 first, "
                "for token ids mix behind the embedding."
            )
        x, realised = self.blend(batch.x, partners.x, partners.share, generator)
        return Mixed(x, self.label(batch.label, partners.label, realised), partners.found)


def target_loss(per_sample: Callable[[Tensor, Tensor], Tensor], outputs: Tensor, target: Target) -> Tensor:
    """The loss of mixed samples: ``share * w_a * l(out, label_a) + (1 - share) * w_b * l(out, label_b)``.

    Args:
        per_sample: ``(outputs, label) -> (n,)``, such as :func:`longcut.losses.cross_entropy`.
        outputs: ``(n, C)``.
        target: of the mixed samples.

    Returns:
        One value per sample ``(n,)``.
    """
    if target.label_a is target.label_b:  # a hard label is one term
        weight = target.share * target.weight_a + (1 - target.share) * target.weight_b
        return weight * per_sample(outputs, target.label_a)
    a, b = per_sample(outputs, target.label_a), per_sample(outputs, target.label_b)
    return target.share * target.weight_a * a + (1 - target.share) * target.weight_b * b
