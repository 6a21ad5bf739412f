"""What all methods that mix share: pairs for the report, a control that does not blend, and where is mixed."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

import pytest
import torch
from helpers import context
from scipy import stats
from torch import Tensor

from longcut.data import Dataset, Splits, generator
from longcut.errors import UserError
from longcut.fit import Training, fit
from longcut.losses import cross_entropy
from longcut.methods import METHODS, build
from longcut.methods.identified.jm1 import JM1
from longcut.methods.mixing.base import MixingMethod

HELPED = {"helper_epochs": 1, "helper_lr": 1e-6}  # a helper that learns next to nothing errs often
MIXERS: dict[str, tuple[str, dict[str, Any]]] = {
    "mixup": ("mixup", {}),
    "mixup, same label": ("mixup", {"partner": "same-label"}),
    "lisa": ("lisa", {}),
    "jm1": ("jm1", {"level": "input", **HELPED}),
    "jm1, batch": ("jm1", {"level": "input", "partners": "batch", **HELPED}),
    "jm1, anyone": ("jm1", {"level": "input", "identify": "none", "conditional": False}),
    "group-jm1": ("group-jm1", {"level": "input"}),
    "umix": ("umix", {"sigma": 1.0, **HELPED}),
    "selecmix": ("selecmix", {"pairs": "learned", "unmixed": 0.5}),
    "selecmix, pool": ("selecmix", {"pairs": "learned", "partners": "pool"}),
    "selecmix, attribute": ("selecmix", {"pairs": "attribute", "unmixed": 0.5}),
    "selecmix on lff": ("selecmix", {"base": "lff", "pairs": "learned", "unmixed": 0.5}),
    "cmo": ("cmo", {"start": 0, "end": 0, "probability": 1.0}),
    "similar-mix": ("similar-mix", {}),
    "transplant": ("transplant", {}),
    "manifold-mixup": ("manifold-mixup", {"level": "input"}),
    "class-mixup": ("class-mixup", {}),
    "class-mixup, data": ("class-mixup", {"source": "data"}),
    "puzzlemix": ("puzzlemix", {"scope": "sample"}),
    "guidedmixup": ("guidedmixup", {}),
    "cutmix": ("cutmix", {}),
    "saliencymix": ("saliencymix", {}),
}


def images(n: int = 80) -> Dataset:
    """Stored in one order and given in another, so that a position is no identity; one in five conflicts."""
    label = torch.arange(n) % 2
    attribute = torch.where(torch.arange(n) % 10 < 8, label, 1 - label)
    x = torch.randint(256, (n, 3, 8, 8), generator=generator(1)).to(torch.uint8)
    data = Dataset.of(x, label, attribute, name="noise", aligned=(0, 1))
    return data.take(torch.randperm(n, generator=generator(3))[: n - 10])


def trained(kind: str, data: Dataset, **options: Any) -> Any:
    name, own = MIXERS[kind]
    method = build(name, data.info, net="conv:width=2", options={**own, **options})
    return fit(method, Splits(data, None, data), Training(epochs=2, batch=20, pool=2)).method


def column(share: Tensor) -> Tensor:
    return share[:, None, None, None]


def shown(mixed: Tensor, own: Tensor, other: Tensor) -> Tensor:
    """1 where the anchor is shown whole, 0 where the partner is; fails where neither is."""
    first, second = (((mixed - whole).abs().flatten(1).amax(1) < 1e-6) for whole in (own, other))
    assert (first | second).all()
    return torch.where(first & second, torch.nan, first.float())


def test_all_that_mix_are_here():
    every = {m.name for m in METHODS.values() if issubclass(m, MixingMethod) and "classification" in m.tasks}
    assert {name for name, _ in MIXERS.values()} == every


@pytest.mark.parametrize("kind", list(MIXERS))
@pytest.mark.parametrize("blend", ["linear", "cut", "keep-both"])
def test_the_report_is_shown_pairs_and_what_becomes_of_them(kind: str, blend: str):
    data = images()
    method = trained(kind, data, blend=blend)
    pairs = method.pairs(data, 24)
    assert set(pairs) == {"anchor", "partner", "share", "mixed"}
    n = len(pairs["anchor"])
    assert 4 <= n <= 24
    assert {len(values) for values in pairs.values()} == {n}
    own, other = data.gather(pairs["anchor"]), data.gather(pairs["partner"])
    mixed, share = pairs["mixed"] / 255, pairs["share"]
    if blend == "linear":
        torch.testing.assert_close(mixed, column(share) * own + (1 - column(share)) * other, atol=1e-5, rtol=0)
        assert len(share.unique()) > 2 or kind in ("umix", "manifold-mixup"), "which have one share for the batch"
    elif blend == "keep-both":
        which = shown(mixed, own, other)
        assert torch.equal(which[~which.isnan()], share[~which.isnan()])
    else:
        anchors, partners = ((mixed - whole).abs().amax(1) < 1e-6 for whole in (own, other))
        assert (anchors | partners).all(), "each pixel is one of the two's"
        counted = (anchors.float().mean((1, 2)) - share).abs() < 0.1
        assert counted[pairs["anchor"] != pairs["partner"]].all(), "and the share counts those of the anchor"


@pytest.mark.parametrize("kind", list(MIXERS))
def test_pairs_of_the_report_are_of_the_kind_that_the_method_mixes(kind: str):
    data = images()
    method = trained(kind, data)
    pairs = method.pairs(data, 40)
    a, b = pairs["anchor"], pairs["partner"]
    assert data.attribute is not None
    label, attribute = data.label[a] == data.label[b], data.attribute[a] == data.attribute[b]
    if kind in ("jm1", "jm1, batch", "group-jm1", "mixup, same label") or kind.startswith("class-mixup"):
        assert label.all()
    if kind in ("jm1", "jm1, batch"):
        chosen = method.chosen[data.index]
        assert torch.equal(chosen[a], ~chosen[b]), "from both sides of the error set"
    if kind in ("lisa", "selecmix, attribute"):
        assert (label != attribute).all(), "same label and other attribute, or the reverse"
    if kind.startswith("selecmix"):
        assert label.any() and not label.all(), "of both modes"
    if kind in ("mixup", "umix", "jm1, anyone", "manifold-mixup"):
        assert label.any() and not label.all()


@pytest.mark.parametrize("kind", list(MIXERS))
def test_in_the_control_nothing_is_blended_and_the_label_is_of_what_is_shown(kind: str):
    data = images()
    method = trained(kind, data, blend="keep-both")
    method.on_epoch(context(data, 5, epoch=1, epochs=2))
    counts: Counter[float] = Counter()
    for rows in torch.arange(60).split(20):
        batch = method.on_pool(data.batch(rows))
        mixed, partners, level = method.mixture(batch)
        assert level == 0
        which = shown(mixed.x, batch.x, partners.x)
        known = ~which.isnan()
        assert torch.equal(known, (batch.x != partners.x).flatten(1).any(1))
        expected = torch.where(which == 1, batch.label, partners.label)
        soft = mixed.target.soft(2)[known]
        assert torch.equal(soft, torch.nn.functional.one_hot(expected[known], 2).float())
        counts.update(which[known].tolist())
    assert set(counts) == {0.0, 1.0}, "now the one, now the other"


@pytest.mark.parametrize("conditional", [True, False])
def test_a_batch_of_jm1_can_be_mixed_with_itself_error_by_other(conditional: bool):
    data = images()
    method = build(
        "jm1",
        data.info,
        net="conv:width=2",
        options={
            "partners": "batch",
            "conditional": conditional,
            "identify": "oracle",
            "level": "output",
            "law": "upper-half",
        },
    )
    assert isinstance(method, JM1)
    method.prepare(data, lambda *_, **__: pytest.fail("no helper is asked for"))
    method.on_epoch(context(data, 5, epoch=1, epochs=2))
    epoch = method.epoch_data(data)
    errors = method.chosen[epoch.index]
    assert len(epoch) == len(data), "an epoch is as long as that of erm"
    assert int(errors.sum()) == len(data) // 2
    if conditional:
        assert torch.equal(epoch.label[errors].bincount(), epoch.label[~errors].bincount())
    batch = method.on_pool(epoch.batch(torch.arange(len(epoch))))
    passed: list[int] = []
    method.net.stages[0].register_forward_hook(lambda _, given, __: passed.append(len(given[0])))
    mixed, partners, level = method.mixture(batch)
    assert passed == [len(batch)], "every sample passes the net once"
    assert partners.found.all()
    assert torch.equal(method.chosen[cast(Tensor, partners.index)], ~errors)
    assert conditional <= torch.equal(partners.label, batch.label)
    assert ((partners.share >= 0.5) == errors).all(), "the share is the error's, whoever is the anchor"
    features = method.net.between(batch.x, 0, level)
    place = torch.stack([(batch.index == i).nonzero()[0, 0] for i in cast(Tensor, partners.index)])
    share = partners.share[:, None]
    assert torch.allclose(mixed.x, share * features + (1 - share) * features[place], atol=1e-5)


# --- where is mixed ---------------------------------------------------------------------------------------------------


def mixer(net: str, data: Dataset, level: str) -> Any:
    method = build("jm1", data.info, net=net, options={"level": level, "identify": "none"})
    method.on_epoch(context(data, 2))
    return method


def table(n: int = 24) -> Dataset:
    return Dataset.of(torch.randn(n, 5, generator=generator(4)), torch.arange(n) % 2)


def words(n: int = 24) -> Dataset:
    return Dataset.of(
        torch.randint(1, 9, (n, 4), generator=generator(4)), torch.arange(n) % 2, kind="tokens", name="texts"
    )


@pytest.mark.parametrize(
    ("net", "data", "levels"),
    [
        ("linear", table(), {"input": 0, "early": 0, "output": 0}),
        ("mlp:hidden=6", table(), {"input": 0, "early": 2, "output": 2}),
        ("mlp:hidden=6-5-4", table(), {"input": 0, "early": 2, "output": 4}),
        ("tokens", words(), {"input": 1, "early": 3, "output": 3}),
        ("transformer:width=8,layers=1,heads=2", words(), {"output": 1}),
    ],
)
def test_where_each_level_is(net: str, data: Dataset, levels: dict[str, int]):
    for wanted in ("input", "early", "output"):
        if wanted in levels:
            assert mixer(net, data, wanted).level() == levels[wanted]
        else:
            with pytest.raises(UserError, match=f"can be mixed at its output alone, not at level={wanted}"):
                mixer(net, data, wanted)
    method = mixer(net, data, "random")
    assert {method.level() for _ in range(60)} == set(method.net.levels)


def test_levels_are_drawn_alike():
    method = mixer("mlp:hidden=6-5-4", table(), "random")
    count = Counter(method.level() for _ in range(2000))
    assert set(count) == {0, 2, 3, 4}
    assert stats.chisquare(list(count.values())).pvalue > 1e-3


@pytest.mark.parametrize("level", ["input", "early", "output", "random"])
def test_a_net_of_one_level_is_mixed_there(level: str):
    """Of a single layer the outputs of a mixture are the mixture of the outputs."""
    data = table()
    method = mixer("linear", data, level)
    batch = method.on_pool(data.batch(torch.arange(24)))
    partners = batch.extra["partners"]
    share = partners.share[:, None]
    outputs = share * method(batch.x) + (1 - share) * method(partners.x)
    assert partners.found.all() and not torch.equal(partners.x, batch.x)
    torch.testing.assert_close(method.loss(batch)[0], cross_entropy(outputs, batch.label).mean())


def test_without_a_wish_it_is_mixed_as_early_as_the_net_allows():
    for net, data, level in (("mlp:hidden=6", table(), 0), ("tokens", words(), 1)):
        method: Any = build("mixup", data.info, net=net)
        method.on_epoch(context(data))
        *_, found = method.mixture(data.batch(torch.arange(8)))
        assert found == level
