"""How much of a pretrained net is trained, and with which learning rate."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from longcut.data import Dataset, Info, Splits, generator
from longcut.errors import UserError
from longcut.fit import fit
from longcut.methods import METHODS
from longcut.methods import build as build_method
from longcut.methods.base import optimizer
from longcut.nets import Net, build
from longcut.nets.layers import Resize
from longcut.nets.tuning import freeze_the_rest, lr_scale, train_only
from longcut.training import Training

PHOTOS = Info("photos", (3, 40, 40), 2, kind="image")
SPEC = "efficientnet-lite0:weights=none,side=32"


def photos(n: int = 16) -> Dataset:
    label = torch.arange(n) % 2
    x = torch.rand(n, 3, 40, 40, generator=generator(0)) * 0.5 + label.view(-1, 1, 1, 1) * 0.3
    return Dataset.of(x, label, torch.arange(n) // 2 % 2, name="photos")


def small() -> Net:
    """Two linear stages and a head."""
    return Net([nn.Linear(3, 4), nn.Linear(4, 5)], nn.Linear(5, 2))


def marked(how: Any, scale: float) -> Net:
    net = small()
    train_only(how, net.stages.parameters(), net.stages[1].parameters(), scale)
    return net


@pytest.mark.parametrize(
    ("how", "trained"), [("frozen", []), ("last", ["stages.1"]), ("all", ["stages.0", "stages.1"])]
)
def test_what_is_trained_and_how_fast(how, trained):
    for name, parameter in marked(how, 0.25).named_parameters():
        body = any(name.startswith(part) for part in trained)
        assert parameter.requires_grad == (body or name.startswith("head"))
        assert lr_scale(parameter) == (0.25 if body else 1)


# --- the optimizers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["adam", "adamw", "adamw-inverted", "sgd"])
def test_a_part_learns_at_its_own_rate(name):
    """Against two optimizers of which each has one part."""
    x, y = torch.randn(6, 3, generator=generator(0)), torch.randn(6, 2, generator=generator(1))
    ours, theirs = marked("last", 0.25), small()
    theirs.load_state_dict(ours.state_dict())
    training = Training(optimizer=name, lr=0.1, weight_decay=0.2)
    steppers = [optimizer(ours.parameters(), training)]
    others = [
        optimizer(theirs.stages[1].parameters(), training, lr=0.025),
        optimizer(theirs.head.parameters(), training),
    ]
    for net, some in ((ours, steppers), (theirs, others)):
        for _ in range(3):
            for one in some:
                one.zero_grad()
            (net(x) - y).square().mean().backward()
            for one in some:
                one.step()
    for (key, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, msg=key)
    assert not torch.equal(ours.head.weight, small().head.weight)


@pytest.mark.parametrize(("name", "groups"), [("adam", 1), ("adamw", 2), ("adamw-inverted", 2), ("sgd", 1)])
def test_a_net_that_says_nothing_has_the_groups_it_had(name, groups):
    made = optimizer(small().parameters(), Training(optimizer=name, lr=0.1, weight_decay=0.2))
    assert [group["lr"] for group in made.param_groups] == [0.1] * groups
    assert sum(len(group["params"]) for group in made.param_groups) == 6


def test_a_schedule_scales_both_rates():
    class Watched(METHODS["erm"]):
        name = "watched"
        rates: list[list[float]] = []

        def step(self, batch, optimizers, backward):
            self.rates.append([group["lr"] for group in optimizers[0].param_groups])
            return super().step(batch, optimizers, backward)

    data = photos()
    method = build_method(Watched, data.info, net=f"{SPEC},tune=last,lr_scale=0.5")
    fit(method, Splits(data, None, data), Training(epochs=2, batch=16, lr=0.01, schedule="linear"))
    assert [sorted(rates) for rates in Watched.rates] == [[0.005, 0.01], [0.0025, 0.005]]


# --- in training ------------------------------------------------------------------------------------------------------


def moved(spec: str, **settings: Any) -> set[str]:
    """The parts of a net that a short training changes, buffers included."""
    data = photos()
    method = build_method("erm", data.info, net=spec)
    before = {key: value.clone() for key, value in method.net.state_dict().items()}
    fit(method, Splits(data, None, data), Training(epochs=1, batch=8, **settings))
    after = method.net.state_dict()
    return {".".join(key.split(".")[:2]) for key in after if not torch.equal(after[key], before[key])}


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("frozen", set()),
        ("last", {"stages.8", "stages.9"}),
        ("all", {f"stages.{i}" for i in range(1, 10)}),
    ],
)
def test_what_is_not_trained_keeps_its_bits(how, expected):
    found = moved(f"{SPEC},tune={how},lr_scale=1", lr=0.01, weight_decay=0.1, average=0.5, clip=1.0)
    assert found == {*expected, "head.weight", "head.bias"}


def test_batch_normalisation_keeps_its_statistics():
    net, x = build(f"{SPEC},tune=all", PHOTOS).train(), torch.rand(4, 3, 40, 40, generator=generator(0))
    torch.testing.assert_close(net(x)[:1], net(x[:1]))
    norms = [part for part in net.modules() if isinstance(part, nn.BatchNorm2d)]
    assert len(norms) == 49  # one behind each of 49 convolutions
    assert all((norm.running_mean == 0).all() and norm.num_batches_tracked == 0 for norm in norms)  # type: ignore[union-attr]


def test_what_is_frozen_costs_no_backward_pass():
    x = torch.rand(2, 3, 40, 40, generator=generator(0))
    frozen, last = (build(f"{SPEC},tune={how}", PHOTOS).train() for how in ("frozen", "last"))
    assert not frozen.features(x).requires_grad and frozen(x).requires_grad
    for stage in list(last.stages)[:8]:
        x = stage(x)
        assert not x.requires_grad
    assert last.stages[8](x).requires_grad


def test_there_is_no_dropout_in_what_is_not_trained():
    net = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.Dropout()), nn.Sequential(nn.Linear(2, 2), nn.Dropout()))
    train_only("last", net.parameters(), net[1].parameters(), 1)
    freeze_the_rest(net.train())
    assert [part.training for part in (net[0], net[0][1], net[1], net[1][1])] == [False, False, True, True]  # type: ignore[index]


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_every_method_takes_a_frozen_net_or_says_why_not(name):
    data = photos(24)
    splits = Splits(data, data, data)
    try:
        method = build_method(name, data.info, net=f"{SPEC},tune=frozen")
        fitted = fit(method, splits, Training(epochs=1, batch=8, pool=1), select="last")
    except UserError as error:
        assert str(error).endswith(".")
        return
    assert torch.isfinite(fitted.method(data.x[:2].float())).all()


# --- images of any size -----------------------------------------------------------------------------------------------


def test_larger_images_are_averaged_and_smaller_ones_enlarged():
    x = torch.rand(2, 3, 8, 12, generator=generator(0))
    expected = x.reshape(2, 3, 4, 2, 4, 3).mean((3, 5))
    torch.testing.assert_close(Resize(4)(x), expected)
    same = x[..., :8]
    assert torch.equal(Resize(8)(same), same)
    # bilinear at twice the side: the corner is the pixel itself, its neighbour three quarters of it and one of the next
    twice = Resize(16)(same)
    torch.testing.assert_close(twice[..., 0, 0], same[..., 0, 0])
    torch.testing.assert_close(twice[..., 0, 1], 0.75 * same[..., 0, 0] + 0.25 * same[..., 0, 1])


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 1), (3, 1, 300), (3, 500, 3), (1, 28, 28), (3, 33, 31)])
def test_one_pixel_one_channel_and_odd_sides(shape):
    net = build(SPEC, Info("odd", shape, 2, kind="image")).eval()
    x = torch.rand(2, *shape, generator=generator(0))
    assert net(x).shape == (2, 2) and torch.isfinite(net(x)).all()
    assert Resize(32)(x).shape == (2, 3, 32, 32)


def test_a_grey_image_is_one_of_three_equal_channels():
    grey = build(SPEC, Info("grey", (1, 40, 40), 2, kind="image")).eval()
    x = torch.rand(2, 1, 40, 40, generator=generator(0))
    torch.testing.assert_close(grey(x), grey(x.expand(-1, 3, -1, -1)))


def test_other_channels_are_refused():
    with pytest.raises(UserError, match=r"needs images of one channel or three, but odd has 4; use net 'conv'"):
        build(SPEC, Info("odd", (4, 40, 40), 2, kind="image"))


def naive_same(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """A convolution with TensorFlow's padding, position by position, of one channel."""
    k, (height, width) = weight.shape[-1], x.shape
    rows, columns = -(-height // stride), -(-width // stride)
    top, left = (max((n_out - 1) * stride + k - n, 0) // 2 for n_out, n in ((rows, height), (columns, width)))
    out = torch.zeros(rows, columns, dtype=x.dtype)
    for r in range(rows):
        for c in range(columns):
            for i in range(k):
                for j in range(k):
                    a, b = r * stride + i - top, c * stride + j - left
                    if 0 <= a < height and 0 <= b < width:
                        out[r, c] += x[a, b] * weight[i, j]
    return out


@pytest.mark.parametrize(
    ("kernel", "stride", "shape"), [(3, 2, (6, 7)), (5, 2, (8, 5)), (5, 2, (1, 1)), (3, 1, (4, 5))]
)
def test_padding_is_tensorflows(kernel, stride, shape):
    from longcut.nets.efficientnet import _normed

    (conv, _), x = _normed(1, 1, kernel, stride), torch.rand(shape, generator=generator(0))
    assert isinstance(conv, nn.Conv2d)
    expected = naive_same(x.double(), conv.weight[0, 0].detach().double(), stride)
    torch.testing.assert_close(conv(x[None, None])[0, 0].detach().double(), expected, atol=1e-6, rtol=1e-5)
