"""Known answers of single methods, beside what the contract suite asks of all."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from longcut.data import Dataset, Splits, generator
from longcut.fit import Training, fit
from longcut.methods import build


def data(n: int = 40, conflicting: int = 4) -> Dataset:
    label = torch.arange(n) % 2
    attribute = torch.where(torch.arange(n) < conflicting, 1 - label, label)
    x = torch.randn(n, 3, generator=generator(1)) + attribute[:, None]
    return Dataset.of(x, label, attribute, aligned=(0, 1))


def test_selecmix_freezes_its_biased_model_after_the_given_updates():
    part = data()
    method: Any = build("selecmix", part.info, net="mlp:hidden=4", options={"auxiliary_steps": 3})
    after: list[dict[str, torch.Tensor]] = []

    def on_epoch(_):
        after.append({name: value.clone() for name, value in method.bias.net.state_dict().items()})

    fit(method, Splits(part, None, part), Training(epochs=3, batch=20, pool=1), on_epoch=on_epoch)  # 2 updates each
    assert int(method.updates) == 3
    assert any(not torch.equal(after[0][name], after[1][name]) for name in after[0])
    assert all(torch.equal(after[1][name], after[2][name]) for name in after[1])


@pytest.mark.parametrize(("raw", "expected"), [(0.0, 0.0), (2.0, 0.2), (8.0, 0.8), (20.0, 1.0)])
def test_selecmix_leaves_samples_as_they_are_in_proportion_to_what_contradicts(raw, expected):
    part = data()  # a tenth of it conflicts
    method: Any = build("selecmix", part.info, net="mlp:hidden=4", options={"pairs": "attribute", "raw": raw})
    history = fit(method, Splits(part, None, part), Training(epochs=60, batch=20, pool=1)).history
    assert method.raw_share == pytest.approx(expected)
    unmixed = 1 - sum(row["paired"] for row in history) / len(history)
    # with two values, a conflicting anchor (one in ten) has no contradicting partner among the conflicting
    assert unmixed == pytest.approx(expected + (1 - expected) * 0.1, abs=0.03)


def test_lff_against_a_loop_over_samples():
    part = data(8, 2)
    method: Any = build("lff", part.info, net="mlp:hidden=4", options={"q": 0.7})
    batch = part.batch(torch.arange(8))
    loss, _ = method.loss(batch)
    p = [net(batch.x).double().softmax(1) for net in (method.biased, method.net)]
    ce = [[-math.log(float(rows[i, int(part.label[i])].detach())) for i in range(8)] for rows in p]
    total = 0.0
    for i in range(8):
        peers = [j for j in range(8) if part.label[j] == part.label[i]]
        biased, debiased = (values[i] / max(values[j] for j in peers) for values in ce)
        likely = math.exp(-ce[0][i])
        total += biased / (biased + debiased) * ce[1][i] + (1 - likely**0.7) / 0.7
    assert float(loss.detach()) == pytest.approx(total / 8, rel=1e-5)
