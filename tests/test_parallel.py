"""One run on two processes gives what one gives, and ends cleanly whatever happens to it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from longcut import Dataset, Splits, Training, fit
from longcut.data import generator
from longcut.methods import build
from longcut.parallel.launch import together
from longcut.predict import predict

pytestmark = pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo")

HELPER = {"helper_epochs": 2, "helper_lr": 1e-4}  # a helper that still errs
METHODS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # options, settings of the loop
    "erm": ({"record": "evaluated"}, {"average": 0.9, "clip": 0.5, "augment": "crop-flip"}),
    "selecmix": ({"pairs": "learned", "auxiliary_steps": 8}, {}),
    "lff": ({}, {}),
    "jtt": (HELPER, {}),
    "group-dro": ({"step": 1.0}, {}),
    "wcl": ({}, {"optimizer": "sgd"}),  # Adam makes steps of noise where a gradient is all but 0
    "puzzlemix": ({}, {"optimizer": "sgd"}),  # gradients of inputs
    "metamix": ({"steps": 1, "episodes": 1, "adapt": 1}, {"optimizer": "sgd", "epochs": 1}),  # gradients of gradients
    "patchmix": ({}, {}),  # a net in parts
}


def images(n: int, seed: int) -> Dataset:
    """Bright and dark images; a coloured corner goes with the class, but for one in eight."""
    label = torch.arange(n) % 2
    attribute = torch.where(torch.arange(n) % 16 < 14, label, 1 - label)
    x = torch.randint(0, 90, (n, 3, 8, 8), generator=generator(seed, 1), dtype=torch.uint8)
    x += (40 * label[:, None, None, None]).to(torch.uint8)
    x[torch.arange(n), attribute, :3, :3] = 250
    return Dataset.of(x, label, attribute, name="images", aligned=(0, 1))


SPLITS = Splits(images(61, 0), images(20, 1), images(20, 2))


def trained(name: str, seed: int = 0, **how: Any) -> tuple[dict[str, Tensor], Tensor, list[dict[str, Any]]]:
    """Weights, predictions and history."""
    options, settings = METHODS[name]
    method = build(name, SPLITS.info, net="conv:width=2", options=options, seed=1)
    training = Training(**{"epochs": 2, "batch": 12, "pool": 2, "lr": 0.01, **settings})
    fitted = fit(method, SPLITS, training, seed=seed, **how)
    state = {name: value for name, value in fitted.method.state_dict().items() if isinstance(value, Tensor)}
    return state, predict(fitted.method, SPLITS.test), fitted.history


def all_trained() -> dict[str, Any]:
    return {name: trained(name) for name in METHODS}


@pytest.fixture(scope="module")
def of_two() -> dict[str, Any]:
    """All methods, by two processes."""
    with together(2, "cpu", all_trained):
        return all_trained()


def assert_same(one: Any, other: Any, near: float = 2e-5) -> None:
    (state, outputs, history), (state_2, outputs_2, history_2) = one, other
    assert state.keys() == state_2.keys()
    for name, value in state.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, state_2[name], rtol=near, atol=near, equal_nan=True, msg=name)
        else:
            assert torch.equal(value, state_2[name]), name
    torch.testing.assert_close(outputs, outputs_2, rtol=5 * near, atol=5 * near)
    assert torch.equal(outputs.argmax(1), outputs_2.argmax(1))
    for row, row_2 in zip(history, history_2, strict=True):
        assert row["loss"] == pytest.approx(row_2["loss"], rel=near)


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_give_what_one_gives(name: str, of_two: dict[str, Any]):
    assert_same(trained(name), of_two[name])
