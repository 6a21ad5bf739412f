"""SelecMix's Table 2: partners by what LfF's biased net sees, against loops over that net."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from helpers import context
from torch import Tensor

from longcut.bias import Seen
from longcut.context import calling
from longcut.data import Dataset, Splits, generator
from longcut.errors import UserError
from longcut.fit import fit
from longcut.losses import gce
from longcut.methods import build
from longcut.training import Training

KINDS = ("cosine", "l2", "kl")


def data(n: int = 24) -> Dataset:
    label = torch.arange(n) % 3
    attribute = torch.where(torch.arange(n) < 5, (label + 1) % 3, label)
    x = torch.randn(n, 4, generator=generator(5)) + attribute[:, None]
    return Dataset.of(x, label, attribute, aligned=(0, 1, 2))


def selecmix(part: Dataset, net: str = "mlp:hidden=6-5", **options: Any) -> Any:
    options = {"partners": "pool", "unmixed": 0.0, "within": 0.0, **options}
    method: Any = build("selecmix", part.info, net=net, options=options, seed=3)
    method.on_epoch(context(part, 7, 0, 9))
    return method


def seen_by(method: Any, base: str, x: Tensor) -> tuple[Tensor, Tensor]:
    """Features and logits of LfF's biased net, one sample after the other, by the layers themselves."""
    features, logits = [], []
    for one in x:
        row = one[None]
        if base == "dfa":
            intrinsic, biased = method.net.stages[0].intrinsic(row), method.net.stages[0].biased(row)
            features.append(biased[0])
            logits.append(method.base.biased_head(torch.cat([intrinsic, biased], 1))[0])
        else:
            net = method.base.biased if base == "lff" else method.bias.net
            features.append(net.features(row)[0])
            logits.append(net.head(net.features(row))[0])
    return torch.stack(features).detach(), torch.stack(logits).detach()


def alike(kind: str, features: Tensor, logits: Tensor, i: int, k: int) -> float:
    if kind == "kl":
        p, r = logits[i].double().softmax(0), logits[k].double().softmax(0)
        return -sum(float(a * (a / b).log()) for a, b in zip(p, r, strict=True))
    a, b = features[i].double(), features[k].double()
    return -math.dist(a.tolist(), b.tolist()) if kind == "l2" else float(a @ b / a.norm() / b.norm())


@pytest.mark.parametrize("mode", ["A", "B"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("base", ["lff", "dfa", "erm", "end"])
def test_partners_are_those_of_a_loop_over_the_biased_net(base: str, kind: str, mode: str):
    part = data()
    method = selecmix(part, base=base, pairs=kind, mode=mode)
    pool = part.batch(torch.arange(len(part)))
    partners = method.on_pool(pool).extra["partners"]
    found = seen_by(method, base, pool.x)
    label = part.label.tolist()
    for i in range(len(part)):
        if mode == "A":
            allowed = [k for k in range(len(part)) if label[k] == label[i] and k != i]
            best = min(allowed, key=lambda k: alike(kind, *found, i, k))
        else:
            allowed = [k for k in range(len(part)) if label[k] != label[i]]
            best = max(allowed, key=lambda k: alike(kind, *found, i, k))
        chosen = int(partners.index[i])
        assert chosen in allowed
        assert alike(kind, *found, i, chosen) == pytest.approx(alike(kind, *found, i, best), abs=1e-5)


@pytest.mark.parametrize("base", ["lff", "dfa"])
def test_the_bases_biased_net_is_asked_and_no_other_is_made(base: str):
    part = data()
    with_it, alone = selecmix(part, base=base, pairs="kl"), build(base, part.info, net="mlp:hidden=6-5", seed=3)
    assert isinstance(with_it.bias.net, Seen) and not list(with_it.bias.parameters())
    sizes = [sum(p.numel() for p in one.parameters()) for one in (with_it, alone)]
    assert sizes[0] == sizes[1]
    (optimizer,) = with_it.optimizers(Training())
    assert sum(p.numel() for group in optimizer.param_groups for p in group["params"]) == sizes[0]
    method = selecmix(part, base=base, pairs="kl")
    batch = method.on_pool(part.batch(torch.arange(12)))
    kept = {name: value.clone() for name, value in method.state_dict().items()}
    total = method.loss(batch)[0]
    method.load_state_dict(kept)  # whose difficulty remembers losses
    mixed, partners, level = method.mixture(batch)
    on_mixtures = torch.nn.functional.cross_entropy(method.base.outputs(mixed.x, level), partners.label)
    torch.testing.assert_close(total, method.base.loss(batch)[0] + on_mixtures)


def test_on_erm_the_net_beside_is_lffs_it_learns_at_every_step_by_gce_as_the_main_net_does():
    part = data()
    method = selecmix(part, pairs="l2", auxiliary="tiny", auxiliary_steps=1, q=0.5, lff_scale="code")
    assert [tuple(p.shape) for p in method.bias.net.parameters()] == [tuple(p.shape) for p in method.net.parameters()]
    method.on_epoch(context(part, 7, 8, 9))
    batch = method.on_pool(part.batch(torch.arange(12)))
    mixed, partners, level = method.mixture(batch)
    total = method.loss(batch)[0]
    on_mixtures = torch.nn.functional.cross_entropy(method.outputs(mixed.x, level), partners.label)
    own = gce(method.bias.net(batch.x), batch.label, 0.5, scale="code").mean()
    torch.testing.assert_close(total, on_mixtures + own)
    assert torch.equal(method.biased_logits(batch.x), method.bias.net(batch.x))

    method, after = selecmix(part, pairs="l2", auxiliary_steps=1), []
    watch = calling(on_epoch=lambda _: after.append(method.bias.net.head.weight.detach().clone()))
    fit(method, Splits(part, None, part), Training(epochs=6, batch=24, pool=1, lr=0.01), observers=[watch])
    assert all(not torch.equal(a, b) for a, b in itertools.pairwise(after)), "it is never frozen"
    assert len(method.optimizers(Training())) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_bank_is_the_bases_net_of_the_moment_without_the_statistics_of_a_batch(kind: str):
    """In evaluation mode, so that each sample is seen as if it were alone; and anew in each epoch."""
    images = torch.rand(12, 3, 6, 6, generator=generator(2))
    part = Dataset.of(images, torch.arange(12) % 2)
    method = selecmix(part, "conv:width=2", base="lff", pairs=kind, partners="bank").train()
    for epoch in (1, 2):
        with torch.no_grad():
            for parameter in method.base.biased.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator(epoch)))
        method.on_epoch(context(part, 7, epoch, 9))
        assert method.base.training and method.base.biased.training
        biased = method.base.biased.eval()
        with torch.no_grad():
            features, logits = (
                torch.cat([f(x[None]) for x in part.batch(torch.arange(12)).x]) for f in (biased.features, biased)
            )
        expected = logits.log_softmax(1) if kind == "kl" else features
        if kind == "cosine":
            expected = features / features.norm(dim=1, keepdim=True)
        torch.testing.assert_close(method.bias.bank, expected, atol=1e-5, rtol=1e-4)
        method.train()


@pytest.mark.parametrize("pairs", [*KINDS, "early"])
def test_pretraining_is_of_the_contrastive_model_alone(pairs: str):
    with pytest.raises(UserError, match=rf"pretrain=2 goes with pairs=learned alone.*with pairs={pairs} leave it out"):
        selecmix(data(), pairs=pairs, pretrain=2)
