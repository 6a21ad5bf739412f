"""HEX: its co-occurrence matrix against counting, its projection and its loss against numpy's least squares."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from longcut.data import Batch, Info, generator
from longcut.errors import UserError
from longcut.methods import build
from longcut.methods.biased.hex import HEX, STEPS, cooccurrence, membership, neighbours, project_out

DEGREES = {"right": 0, "up-right": 45, "up": 90, "up-left": 135}


def tall(n: int, columns: int, seed: int) -> torch.Tensor:
    return torch.randn(n, columns, generator=generator(seed), dtype=torch.float64)


def residual(a: np.ndarray, p: np.ndarray) -> np.ndarray:
    return a - p @ np.linalg.lstsq(p, a, rcond=1e-5)[0]


# --- the projection ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "columns"), [(20, 3), (64, 10), (5, 4)])
def test_the_projection_is_the_least_squares_residual_and_orthogonal_to_what_explains(n, columns):
    a, p = tall(n, columns, 1), tall(n, columns, 2)
    found = project_out(a, p)
    np.testing.assert_allclose(found, residual(a.numpy(), p.numpy()), atol=1e-4)
    assert (p.T @ found).abs().max() < 1e-4 * (p.T @ a).abs().max()
    torch.testing.assert_close(project_out(a.float(), p.float()), found.float(), rtol=1e-4, atol=1e-5)


def test_the_scale_of_the_texture_logits_and_what_they_explain_already_do_not_matter():
    a, p = tall(30, 4, 1), tall(30, 4, 2)
    torch.testing.assert_close(project_out(a, 1e4 * p), project_out(a, p), rtol=0, atol=1e-9)
    torch.testing.assert_close(project_out(a + p @ tall(4, 4, 3), p), project_out(a, p), rtol=0, atol=1e-4)


DEGENERATE = {
    "the same column twice": lambda: tall(20, 2, 2)[:, [0, 1, 0]],
    "columns that hardly differ": lambda: tall(20, 2, 2)[:, [0, 1, 0]] + 1e-7 * tall(20, 3, 3),
    "the same row for all": lambda: tall(1, 3, 2).expand(20, 3),
    "nothing": lambda: torch.zeros(20, 3, dtype=torch.float64),
    "nearly nothing": lambda: 1e-30 * tall(20, 3, 2),
}


@pytest.mark.parametrize("kind", DEGENERATE)
def test_dependent_columns_give_finite_values_and_gradients(kind):
    a, p = tall(20, 3, 1), DEGENERATE[kind]().clone().requires_grad_()
    found = project_out(a, p)
    if kind != "nearly nothing":
        np.testing.assert_allclose(found.detach(), residual(a.numpy(), p.detach().numpy()), atol=1e-4)
    found.square().sum().backward()
    assert p.grad is not None
    assert torch.isfinite(p.grad).all()
    if kind != "nearly nothing":  # what is projected out does not depend on the scale, so the gradient is its inverse
        assert p.grad.abs().max() < 1e5


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_batch_no_larger_than_the_number_of_classes_leaves_nothing(n):
    a, p = tall(n, 3, 1), tall(n, 3, 2)
    assert project_out(a, p).abs().max() < 1e-3


# --- the co-occurrence matrix -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", STEPS)
@pytest.mark.parametrize("shape", [(4, 5), (2, 2), (3, 2)])
def test_hard_bins_are_counts_of_neighbouring_grey_levels(direction, shape):
    height, width = shape
    angle = math.radians(DEGREES[direction])
    up, right = round(math.sin(angle)), round(math.cos(angle))
    grey = torch.randint(4, (3, height, width), generator=generator(1))
    expected = np.zeros((3, 4, 4))
    for image in range(3):
        for row in range(height):
            for column in range(width):
                if 0 <= row - up < height and 0 <= column + right < width:
                    expected[image, grey[image, row, column], grey[image, row - up, column + right]] += 1
    expected /= expected.sum((1, 2), keepdims=True)
    level = torch.linspace(0, 1, 4)
    own, neighbour = (membership(value, level, sharpness=1e6) for value in neighbours(grey / 3, direction))
    np.testing.assert_allclose(cooccurrence(own, neighbour), expected, atol=1e-6)


def test_a_value_belongs_to_all_levels_a_little_and_most_to_the_nearest():
    level = torch.linspace(0, 1, 5, dtype=torch.float64)
    share = membership(torch.tensor([[0.5, 0.3, 1.0]], dtype=torch.float64), level, sharpness=4.0)
    assert share.shape == (1, 5, 3)
    torch.testing.assert_close(share.sum(1), torch.ones(1, 3, dtype=torch.float64))
    assert share.argmax(1).tolist() == [[2, 1, 4]]
    assert float(share[0, 2, 0] / share[0, 3, 0]) == pytest.approx(math.exp(4))
    assert float(share[0, 2, 0] / share[0, 4, 0]) == pytest.approx(math.exp(16))


def test_large_images_are_averaged_down_first():
    info = Info("photos", (3, 96, 96), 2, n_stored=2, kind="image")
    model: Any = build("hex", info, net="conv:side=32")
    x = torch.rand(2, 3, 96, 96, generator=generator(1))
    small = x.unfold(2, 3, 3).unfold(3, 3, 3).mean((4, 5))
    assert small.shape == (2, 3, 32, 32)
    torch.testing.assert_close(model.texture(x), model.texture(small))


# --- the method -------------------------------------------------------------------------------------------------------

IMAGES = Info("images", (3, 4, 4), 3, n_stored=12, kind="image")


def made(**options: Any) -> HEX:
    model: Any = build("hex", IMAGES, net="mlp:hidden=6", options={"levels": 4, **options}, seed=2)
    torch.nn.init.uniform_(model.neighbour_level, generator=generator(4))  # as if learned: no longer those of the pixel
    return model.double()


def batch(n: int = 12) -> Batch:
    x = torch.rand(n, 3, 4, 4, generator=generator(3), dtype=torch.float64)
    return Batch(x, torch.arange(n) % 3)


def array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().numpy()


@pytest.mark.parametrize("normalise", ["features", "batch"])
def test_the_loss_is_the_equations_of_the_paper(normalise):
    model, samples = made(normalise=normalise), batch()
    head: Any = model.net.head
    linear: Any = model.hidden[1]
    h = array(model.net.features(samples.x))
    counts = np.zeros((12, 4, 4))
    grey = array(samples.x).mean(1)
    for image, own_level, next_level in np.ndindex(12, 4, 4):
        for row in range(4):
            for column in range(3):

                def share(value: float, level: torch.Tensor, which: int) -> float:
                    weight = [math.exp(-4 * (3 * (value - centre)) ** 2) for centre in level.tolist()]
                    return weight[which] / sum(weight)

                counts[image, own_level, next_level] += share(grey[image, row, column], model.level, own_level) * share(
                    grey[image, row, column + 1], model.neighbour_level, next_level
                )
    g = np.maximum((counts / 12).reshape(12, 16) @ array(linear.weight).T + array(linear.bias), 0)
    g /= np.maximum(np.sqrt((g**2).sum(1 if normalise == "features" else 0, keepdims=True)), 1e-6)
    w, b = np.concatenate([array(head.weight), array(model.texture_head.weight)], 1), array(head.bias)
    f_a = np.concatenate([h, g], 1) @ w.T + b
    f_p = np.concatenate([0 * h, g], 1) @ w.T + b
    logits = residual(f_a, f_p)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    loss, logs = model.loss(samples)
    assert float(loss.detach()) == pytest.approx(-np.log(p[np.arange(12), array(samples.label)]).mean(), rel=1e-3)
    assert float(logs["removed"]) == pytest.approx(1 - (logits**2).sum() / (f_a**2).sum(), rel=1e-3)


def test_the_texture_features_have_length_one_as_said():
    x = batch().x
    torch.testing.assert_close(made().texture(x).norm(dim=1), torch.ones(12, dtype=torch.float64))
    length = made(normalise="batch").texture(x).norm(dim=0)
    assert (((length - 1).abs() < 1e-9) | (length < 1e-9)).all(), "a unit is of length 1 or never on"
    assert (length > 0.5).any()


def test_predictions_see_features_alone_and_need_no_texture_branch():
    model, x = made(), batch().x
    head: Any = model.net.head
    expected = model.net.features(x) @ head.weight.T + head.bias
    torch.testing.assert_close(model(x), expected)
    torch.testing.assert_close(model(x[:1]), expected[:1])
    for part in (model.hidden, model.texture_head):
        for parameter in part.parameters():
            torch.nn.init.zeros_(parameter)
    torch.testing.assert_close(model(x), expected)


def test_texture_and_bias_act_through_what_is_removed_alone():
    model, x = made(), batch().x
    head: Any = model.net.head
    h, by_texture = model.net.features(x), model.texture_head(model.texture(x))
    f_p = by_texture + head.bias
    torch.testing.assert_close(
        project_out(head(h) + by_texture, f_p), project_out(h @ head.weight.T, f_p), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize(
    "info",
    [
        Info("people", (9,), 2),
        Info("reviews", (20,), 2, kind="tokens", vocabulary=50),
        Info("lines", (3, 1, 28), 2, kind="image"),
    ],
)
def test_needs_images_with_neighbours(info):
    message = rf"hex needs images \(C, H, W\), but {info.name} is of kind '{info.kind}' and shape .*; take another"
    if info.kind == "image":
        message = rf"hex looks at neighbouring pixels .* at least 2 x 2, but {info.name} has shape \(3, 1, 28\)"
    with pytest.raises(UserError, match=message):
        build("hex", info, net="tokens" if info.kind == "tokens" else "mlp")
