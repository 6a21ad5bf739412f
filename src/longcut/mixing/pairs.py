"""Who is mixed with whom: pair rules, ``(batch, pool, generator) -> Pairs``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from longcut.data import Batch, require_index
from longcut.errors import UserError
from longcut.mixing.types import PairRule, Pairs, Pool, Similarity
from longcut.registry import Registry, required

__all__ = [
    "PAIRS",
    "across",
    "anyone",
    "by_class",
    "choose",
    "coin",
    "contradicting",
    "either",
    "keyed",
    "require_contradiction",
    "same_attribute",
    "same_label",
    "sometimes",
    "weighted",
]

Mode = Literal["positive", "negative"]
Take = Literal["random", "first"]


def choose(score: Tensor, allowed: Tensor, generator: torch.Generator | None, *, within: float = 0.0) -> Pairs:
    """For each row one of its best allowed columns, at random: the end of every rule that scores the whole pool.

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
    if score.shape[1] == 0:
        return Pairs(torch.zeros(len(score), dtype=torch.long, device=score.device), allowed.any(1))
    score = score.nan_to_num(torch.finfo(score.dtype).min)
    bar = _bar(allowed, score)
    masked = score + bar
    threshold = masked.amax(1, keepdim=True)
    found = threshold > -torch.inf
    if within:
        worst = score.sub_(bar).amin(1, keepdim=True)
        threshold = (1 - within) * threshold + within * worst
    best = masked >= threshold.masked_fill(~found, torch.inf)
    partner = masked.argmax(1)
    rows = (best.sum(1, dtype=torch.int32) > 1).nonzero().flatten()
    if len(rows):
        noise = torch.rand(len(rows), score.shape[1], generator=generator, device=score.device)
        partner[rows] = noise.add_(_bar(best.index_select(0, rows), noise)).argmax(1)
    return Pairs(partner, found[:, 0])


def _bar(allowed: Tensor, like: Tensor) -> Tensor:
    """0 where allowed and −∞ elsewhere: on the CPU, adding it takes a third of the time of masking."""
    return 1 - allowed.to(like.dtype).reciprocal_()


def _random(allowed: Tensor, generator: torch.Generator | None) -> Pairs:
    """A uniformly random allowed column for each row."""
    noise = torch.rand(allowed.shape, generator=generator, device=allowed.device)
    return choose(noise, allowed, generator)


def same_sample(batch: Batch, pool: Pool) -> Tensor:
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

    With ``other_attribute`` these are also SelecMix's contradicting positives by the true attribute, and a sample whose
    attribute is not known has no partner and is nobody's.

    Args:
        other_attribute: whether the partner must differ in its attribute.
        take: a ``"random"`` partner among those that fit, or the ``"first"`` in the order of the pool, the same one for
            all anchors of a cell, as in SelecMix's released program.
    """

    def rule(batch: Batch, pool: Pool, generator: torch.Generator | None) -> Pairs:
        allowed = _alike_label(batch, pool) & ~same_sample(batch, pool)
        if other_attribute:
            ours, theirs = _attributes(batch, pool, "same_label(other_attribute=True)")
            allowed &= (ours[:, None] != theirs) & (ours[:, None] >= 0) & (theirs >= 0)
        return TAKE[take](allowed, generator)

    return rule


def same_attribute(*, take: Take = "random") -> PairRule:
    """Another label, same attribute: LISA's intra-domain pairs. Who has no known attribute has no partner.

    These are also SelecMix's contradicting negatives by the true attribute.

    Args:
        take: see :func:`same_label`.
    """

    def rule(batch: Batch, pool: Pool, generator: torch.Generator | None) -> Pairs:
        ours, theirs = _attributes(batch, pool, "same_attribute")
        return TAKE[take](~_alike_label(batch, pool) & (ours[:, None] == theirs) & (theirs >= 0), generator)

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
            return choose(-alike, same & ~same_sample(batch, pool), generator, within=within)
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
        flag: by index ``(n_stored,)`` boolean.
        conditional: whether the partner has the anchor's label, as in the paper's method; else it has any.
    """

    def key(pool: Pool) -> Tensor:
        return 2 * pool.label * conditional + flag.to(require_index(pool).device)[require_index(pool)]

    def wanted(batch: Batch) -> Tensor:
        return 2 * batch.label * conditional + ~flag.to(batch.label.device)[require_index(batch)]

    return keyed(wanted, key)


def weighted(log_weight: Callable[[Batch, Pool], Tensor]) -> PairRule:
    """A partner drawn in proportion to a weight, such as C-Mixup's kernel on the distance of the targets.

    Args:
        log_weight: ``(batch, pool) -> (n, p)``, the logarithm of each weight up to a number per row; −∞ is never drawn.

    >>> nearness = weighted(lambda batch, pool: -((batch.label[:, None] - pool.label) ** 2) / 0.1**2)
    >>> batch = Batch(torch.zeros(4, 1), torch.tensor([0.0, 0.01, 5.0, 5.01]))
    >>> (nearness(batch, batch, torch.Generator().manual_seed(0)).partner < 2).tolist()
    [True, True, False, False]
    """

    def rule(batch: Batch, pool: Pool, generator: torch.Generator | None) -> Pairs:
        score = log_weight(batch, pool).log_softmax(1)  # which a large number per row does not drown
        noise = torch.rand(score.shape, generator=generator, device=score.device)
        gumbel = -(-noise.clamp_min(torch.finfo(noise.dtype).tiny).log()).log()  # the largest sum is such a draw
        return choose(score + gumbel, score > -torch.inf, generator)

    return rule


def by_class(log_law: Tensor) -> PairRule:
    """The partner's class is drawn by the class of the anchor, and then anyone in it, out of pools of any size.

    Where the law allows the anchor's own class, its partner may be itself. Classes of which the pool has none are left
    out of the law.

    Args:
        log_law: ``(C, C)``, in the row of the anchor's class the logarithm of each class's weight, up to a number per
            row; −∞ is never drawn.

    >>> others = torch.zeros(3, 3).fill_diagonal_(-torch.inf)
    >>> batch = Batch(torch.zeros(3, 1), torch.tensor([0, 1, 1]))
    >>> batch.label[by_class(others)(batch, batch, None).partner]
    tensor([1, 0, 0])
    """

    def rule(batch: Batch, pool: Pool, generator: torch.Generator | None) -> Pairs:
        device = batch.label.device
        there = torch.bincount(pool.label, minlength=len(log_law)).to(device) > 0
        score = log_law.to(device)[batch.label].masked_fill(~there, -torch.inf)
        possible = (score > -torch.inf).any(1)
        law = score.masked_fill(~possible[:, None], 0).softmax(1)
        wanted = torch.multinomial(law, 1, generator=generator)[:, 0]
        pairs = keyed(lambda _: wanted, lambda pool: pool.label)(batch, pool, generator)
        return Pairs(pairs.partner, pairs.found & possible)

    return rule


def either(first: PairRule, second: PairRule) -> PairRule:
    """One rule or the other, by one fair coin for the whole batch (SelecMix's and LISA's "both")."""

    def rule(batch: Batch, pool: Pool, generator: torch.Generator | None) -> Pairs:
        return (first if coin(generator) else second)(batch, pool, generator)

    return rule


def sometimes(rule: PairRule, probability: float, *, scope: Literal["sample", "batch"] = "sample") -> PairRule:
    """The rule for each sample, or for the whole batch, with this probability; the others stay as they are."""

    def sparing(batch: Batch, pool: Pool, generator: torch.Generator | None) -> Pairs:
        pairs = rule(batch, pool, generator)
        n = len(batch) if scope == "sample" else 1
        chosen = torch.rand(n, generator=generator, device=pairs.found.device) < probability
        return Pairs(pairs.partner, pairs.found & chosen)

    return sparing


def require_contradiction(label: Tensor, attribute: Tensor | None, mode: Literal["A", "B", "both"], who: str) -> None:
    """Refuse data whose known attribute leaves a selective rule nobody to mix with.

    Args:
        label, attribute: of the training set ``(n,)``; attributes of -1 are not known.
        mode: ``"A"`` needs a label with two attributes, ``"B"`` an attribute with two labels, ``"both"`` both.
        who: the method, for the sentence.

    Raises:
        UserError: when there is not one pair.
    """
    if attribute is None:
        raise UserError(f"{who} needs the attribute of each training sample; pass attribute=….")
    cells = torch.unique(torch.stack([label, attribute])[:, attribute >= 0], dim=1)
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


PAIRS: Registry[Callable[[], PairRule]] = Registry(
    "pair rule",
    "PAIRS",
    {"anyone": anyone, "same-label": same_label, "same-attribute": same_attribute},
    made=required(callable, "a function without arguments that returns a pair rule"),
)
"""Rules that need nothing to be made, by name."""
