"""Our optimizers are torch's to the bit, and do not import its compiler."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from longcut import optimizers

KINDS: list[tuple[str, dict[str, Any]]] = [
    ("Adam", {"lr": 0.01, "weight_decay": 0.1, "fused": True}),
    ("Adam", {"lr": 0.1, "maximize": True}),
    ("AdamW", {"lr": 0.01, "weight_decay": 0.1, "fused": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4, "fused": True}),
    ("SGD", {"lr": 0.1}),
]


def trained(kind: Any, options: dict[str, Any]) -> dict[str, Any]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))
    x = torch.randn(20, 5)
    optimizer = kind([{"params": net[0].parameters(), "lr": 0.05}, {"params": net[2].parameters()}], **options)
    for step in range(6):
        optimizer.zero_grad(set_to_none=True)
        net(x).square().mean().backward()
        if step == 3:  # state that was saved goes on
            state = optimizer.state_dict()
            optimizer = kind([{"params": net[0].parameters()}, {"params": net[2].parameters()}], **options)
            optimizer.load_state_dict(state)
        optimizer.step()
    return {**net.state_dict(), **{str(key): value for key, value in optimizer.state_dict()["state"].items()}}


@pytest.mark.parametrize(("name", "options"), KINDS)
def test_the_bits_are_those_of_torch(name: str, options: dict[str, Any]):
    ours, theirs = trained(getattr(optimizers, name), options), trained(getattr(torch.optim, name), options)
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        pairs = (
            [(value, theirs[key])] if torch.is_tensor(value) else zip(value.values(), theirs[key].values(), strict=True)
        )
        assert all(torch.equal(one, other) if torch.is_tensor(one) else one == other for one, other in pairs), key


def test_a_run_does_not_import_the_compiler():
    code = """
import sys, longcut, longcut.methods
from longcut.training import Training
splits = longcut.load("colored-digits")
longcut.fit(longcut.methods.build("selecmix", splits.info, net="linear"), splits, Training(epochs=1, batch=256))
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
