"""Where a net looks, and how often it was wrong about whom."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from longcut import nets, runs
from longcut.analyses import activation_maps, uncertainty
from longcut.data import Info
from longcut.errors import UserError
from longcut.execute import execute
from longcut.nets.layers import GlobalMean
from longcut.nets.net import Net
from longcut.plans import plan

INFO = Info("photos", (3, 12, 12), 4, kind="image")


def batch(n: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return torch.randn(n, 3, 12, 12, generator=draw), torch.randint(4, (n,), generator=draw)


def test_behind_a_mean_it_is_the_class_activation_map():
    """Zhou et al. 2016: the head's weights of the class over the channels, here over the number of places."""
    net = Net([nn.Conv2d(3, 6, 3), nn.ReLU(), GlobalMean()], nn.Linear(6, 4))
    x, target = batch()
    maps = net.stages[1](net.stages[0](x))
    by_hand = torch.einsum("nc,nchw->nhw", net.head.weight[target], maps).clamp_min(0) / 100
    torch.testing.assert_close(activation_maps(net, INFO, x, target), by_hand)
    assert (by_hand > 0).any()


def test_a_gradient_by_hand():
    """Through a square and a head of two places: d out / d a = 2 a w, averaged over places, then weighted and cut."""

    class Square(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x * x).flatten(1)

    info = Info("dots", (2, 1, 2), 2, kind="image")
    net = Net([nn.Identity(), Square()], nn.Linear(4, 2, bias=False))
    with torch.no_grad():
        net.head.weight.copy_(torch.tensor([[1.0, 2.0, 3.0, -1.0], [0.0, 0.0, 0.0, 5.0]]))
    x = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])
    # of class 0: slopes (2, 8), (18, -8), means 5 and 5; the map is 5 * 1 + 5 * 3, 5 * 2 + 5 * 4
    assert activation_maps(net, info, x, torch.tensor([0]), stage=1).tolist() == [[[20.0, 30.0]]]
    # of class 1: slopes (0, 0), (0, 40), means 0 and 20
    assert activation_maps(net, info, x, torch.tensor([1]), stage=1).tolist() == [[[60.0, 80.0]]]


@pytest.mark.parametrize("name", ["conv:width=4", "resnet18:width=8", "resnet18:stem=imagenet,width=8", "tiny:width=4"])
def test_any_net_with_a_map_and_nothing_of_it_changes(name: str):
    net = nets.build(name, INFO)
    x, target = batch()
    for training in (True, False):
        net.train(training)
        before = {key: value.clone() for key, value in net.state_dict().items()}
        found = activation_maps(net, INFO, x, target)
        assert found.shape[0] == 5
        assert found.ndim == 3
        assert (found >= 0).all()
        assert net.training is training
        assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
        assert all(parameter.grad is None for parameter in net.parameters())
        alone = activation_maps(net, INFO, x[2:3], target[2:3])
        torch.testing.assert_close(alone[0], found[2], msg="of one image, whoever is beside it")


def test_the_map_is_one_that_says_where():
    """Of maps with sides 6, 3 and 1 the first is taken, for the others have fewer than four places to a side."""
    layers = [nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1), nn.Conv2d(4, 4, 3), GlobalMean()]
    x, target = batch()
    assert activation_maps(Net(layers, nn.Linear(4, 4)), INFO, x, target).shape == (5, 6, 6)
    assert activation_maps(Net(layers, nn.Linear(4, 4)), INFO, x, target, stage=3).shape == (5, 1, 1)
    small = Info("dots", (3, 3, 3), 4, kind="image")
    net = Net([nn.Conv2d(3, 4, 1), GlobalMean()], nn.Linear(4, 4))
    assert activation_maps(net, small, x[..., :3, :3], target).shape == (5, 3, 3), "there is no larger one"


def test_nets_without_a_map():
    x, target = batch()
    with pytest.raises(UserError, match=r"keeps no features in place.*take a net of convolutions, such as resnet18\."):
        activation_maps(nets.build("mlp", INFO), INFO, x, target)
    net = Net([nn.Conv2d(3, 4, 3), GlobalMean()], nn.Linear(4, 4))
    with pytest.raises(UserError, match=r"behind 2 stages the net has features of shape \(4,\) and no map"):
        activation_maps(net, INFO, x, target, stage=2)


# --- uncertainty ------------------------------------------------------------------------------------------------------


def test_uncertainty_is_the_share_of_wrong_epochs(monkeypatch: pytest.MonkeyPatch):
    """By hand: three samples in two groups, three epochs, one of which did not see the last sample."""
    nan = float("nan")
    correct = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, nan], [0.0, 0.0, 1.0]]).half()
    train: Any = SimpleNamespace(
        index=torch.arange(3),
        label=torch.tensor([0, 1, 1]),
        attribute=torch.tensor([0, 0, 0]),
        known=torch.ones(3, dtype=torch.bool),
        conflicting=torch.tensor([False, True, True]),
        info=SimpleNamespace(aligned=(0, 1)),
    )
    module = sys.modules[uncertainty.__module__]
    monkeypatch.setattr(module, "load", lambda *_: SimpleNamespace(train=train))
    record = SimpleNamespace(plan=SimpleNamespace(data="d", data_seed=0, seed=7), label="umix")
    run: Any = SimpleNamespace(folder=Path("r"), record=record, identification=lambda: {"correct": correct})
    table = uncertainty([run])
    assert table.to_dict("records") == [
        {
            "method": "umix",
            "data": "d",
            "seed": 7,
            "label": 0,
            "attribute": 0,
            "conflicting": False,
            "samples": 1,
            "uncertainty": pytest.approx(1 / 3),
            "wrong_always": 0.0,
            "wrong_never": 0.0,
        },
        {
            "method": "umix",
            "data": "d",
            "seed": 7,
            "label": 1,
            "attribute": 0,
            "conflicting": True,
            "samples": 2,
            "uncertainty": pytest.approx((1 + 1 / 2) / 2),
            "wrong_always": 0.5,
            "wrong_never": 0.0,
        },
    ]
    train.info.aligned = ()
    with pytest.raises(UserError, match="d has no attribute that goes with the label"):
        uncertainty([run])


def test_minorities_are_more_uncertain_and_other_runs_are_refused(tmp_path: Path):
    settings = {"epochs": 4, "net": "mlp:hidden=32", "record": "online"}
    execute(plan("colored-digits:ratio=0.1", "erm", settings=settings), tmp_path / "erm")
    table = uncertainty([runs.read(tmp_path / "erm")])
    rows = table.to_dict("records")
    many, few = (
        statistics.fmean(row["uncertainty"] for row in rows if row["conflicting"] is which) for which in (False, True)
    )
    assert few > many + 0.2
    execute(plan("colored-digits", "erm", settings={"epochs": 1, "net": "mlp:hidden=4"}), tmp_path / "plain")
    with pytest.raises(UserError, match="has no record of who was wrong; name one of umix, jtt or erm:record=online"):
        uncertainty([runs.read(tmp_path / "plain")])
