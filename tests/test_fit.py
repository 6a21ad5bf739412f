from __future__ import annotations

import copy
import dataclasses
import io
import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from longcut.context import Epoch, Observer, calling
from longcut.data import Batch, Dataset, Splits, generator
from longcut.errors import UserError
from longcut.evaluate import METRICS
from longcut.evaluate.table import made
from longcut.fit import Training, fit
from longcut.loop import steps_per_epoch
from longcut.methods import build
from longcut.methods.base import Method
from longcut.methods.erm import ERM
from longcut.nets import Net
from longcut.selection import parse_selection, rule_in_words
from longcut.spec import validate


def toy(n: int = 22, seed: int = 0) -> Dataset:
    draw = generator(seed, 99)
    x = torch.randn(n, 3, generator=draw)
    label = (torch.arange(n) % 2).long()
    return Dataset.of(x + label[:, None], label, torch.arange(n) // 2 % 2, aligned=(0, 1))


def splits(n: int = 22) -> Splits:
    return Splits(toy(n), toy(8, 1), toy(8, 2))


def linear() -> Net:
    return Net([nn.Flatten()], nn.Linear(3, 2))


class Recorder(ERM):
    """ERM that remembers what it was shown; ``seen`` is shared by the runs that are handed the same list."""

    def __init__(self, make_net, info):
        super().__init__(make_net, info)
        self.rates, self.weights, self.batches, self.pools = [], [], [], []

    def on_pool(self, pool):
        self.pools.append(pool)
        return pool.with_extra(place=torch.arange(len(pool)))

    def step(self, batch, optimizers, backward):
        self.rates.append(optimizers[0].param_groups[0]["lr"])
        self.batches.append(batch)
        result = super().step(batch, optimizers, backward)
        self.weights.append([p.detach().clone() for p in self.net.parameters()])
        return result


def recorded(training: Training, data: Splits | None = None, **how) -> tuple[Recorder, list[torch.Tensor]]:
    data = data or splits()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        method = Recorder(linear, data.info)
    fitted = fit(method, data, training, **how)
    return method, [p.detach() for p in fitted.method.net.parameters()]


# --- minibatches ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "drop_last", "sizes"),
    [
        (16, False, [4, 4, 4, 4]),
        (9, False, [4, 5]),  # a single sample left over joins the pool before it
        (9, True, [4, 4]),
        (13, False, [4, 4, 5]),  # within a pool, a last single sample joins the one before
        (14, False, [4, 4, 4, 2]),
        (14, True, [4, 4]),
        (6, True, [4, 2]),  # the only pool is never left out
    ],
)
def test_how_an_epoch_is_cut(n: int, drop_last: bool, sizes: list[int]):
    method, _ = recorded(Training(epochs=1, batch=4, pool=2, drop_last=drop_last), splits(n))
    assert [len(batch) for batch in method.batches] == sizes


@given(st.integers(2, 60), st.integers(1, 9), st.integers(1, 4), st.booleans())
def test_every_sample_once_per_epoch_and_the_steps_are_counted_right(n: int, batch: int, pool: int, drop_last: bool):
    training = Training(epochs=1, batch=batch, pool=pool, drop_last=drop_last)
    data = toy(60).take(torch.arange(60).roll(-1)[:n]) if n > 3 else toy(n + 2)
    method, _ = recorded(training, Splits(data, None, data))
    index = torch.cat([b.index for b in method.batches if b.index is not None])
    assert len(index.unique()) == len(index)
    whole = len(data) - len(data) % (batch * pool) if drop_last and len(data) >= batch * pool else len(data)
    assert len(index) == whole
    assert len(method.batches) == steps_per_epoch(len(data), training)
    if batch > 1:
        assert all(2 <= len(b) <= batch + 1 for b in method.batches)  # batch normalisation cannot do with one


def test_a_pool_is_shown_once_and_its_columns_go_to_the_minibatches():
    method, _ = recorded(Training(epochs=2, batch=4, pool=2))
    assert [len(pool) for pool in method.pools] == [8, 8, 6] * 2
    assert [batch.extra["place"].tolist() for batch in method.batches[:3]] == [[0, 1, 2, 3], [4, 5, 6, 7], [0, 1, 2, 3]]
    first = torch.cat([pool.index for pool in method.pools[:3] if pool.index is not None])
    second = torch.cat([pool.index for pool in method.pools[3:] if pool.index is not None])
    assert not torch.equal(first, second), "each epoch has its own order"
    assert torch.equal(first.sort().values, second.sort().values)


# --- schedule and averaging -------------------------------------------------------------------------------------------


def test_the_cosine_schedule_by_hand():
    # 12 samples in pools of one minibatch of 4: 3 steps per epoch, 6 in all; half a cosine from 1 to 0
    training = Training(epochs=2, batch=4, pool=1, lr=0.8, schedule="cosine")
    method, _ = recorded(training, splits(12))
    r = math.sqrt(3)
    assert method.rates == pytest.approx([0.8 * f for f in (1, (2 + r) / 4, 0.75, 0.5, 0.25, (2 - r) / 4)])


def test_the_step_schedule_by_hand():
    # 2 steps per epoch, 10 in all: a fifth of the rate from 40 % on, and a fifth of that from 80 %
    training = Training(epochs=5, batch=4, pool=1, lr=0.5, schedule="step", milestones="0.4-0.8", gamma=0.2)
    method, _ = recorded(training, splits(8))
    assert method.rates == pytest.approx([0.5] * 4 + [0.1] * 4 + [0.02] * 2)


def test_the_linear_schedule_by_hand():
    # 3 steps per epoch, 6 in all: it begins with the whole rate, and the step after the last would have none
    training = Training(epochs=2, batch=4, pool=1, lr=0.6, schedule="linear")
    method, _ = recorded(training, splits(12))
    assert method.rates == pytest.approx([0.6, 0.5, 0.4, 0.3, 0.2, 0.1])


def test_a_logged_pair_is_a_sum_over_its_own_count():
    class Counting(ERM):
        def loss(self, batch):
            first = batch.index == 0
            return super().loss(batch)[0], {
                "share": torch.stack([first.sum(), torch.tensor(len(first))]),
                "none": torch.zeros(2),
                "mean": first.float().mean(),
            }

    method = build(Counting, splits().info, net="mlp:hidden=4")
    row = fit(method, splits(9), Training(epochs=1, batch=4, pool=2)).history[0]  # batches of 4 and 5
    assert row["share"] == pytest.approx(1 / 9)
    assert row["mean"] in (pytest.approx(1 / 8), pytest.approx(1 / 10))
    assert math.isnan(row["none"])


def test_the_cosine_schedule_keeps_the_ratio_of_several_rates():
    class Two(Recorder):
        def optimizers(self, training) -> list[torch.optim.Optimizer]:
            first, second = self.net.parameters()
            return [torch.optim.SGD([first], lr=1.0), torch.optim.SGD([second], lr=0.1)]

        def step(self, batch, optimizers, backward):
            self.second = [*getattr(self, "second", []), optimizers[1].param_groups[0]["lr"]]
            return super().step(batch, optimizers, backward)

    method = Two(linear, splits().info)
    fit(method, splits(12), Training(epochs=2, batch=4, pool=1, schedule="cosine"))
    assert method.second == pytest.approx([0.1 * rate for rate in method.rates])


def test_the_constant_schedule():
    method, _ = recorded(Training(epochs=2, batch=8, pool=1, lr=0.3))
    assert set(method.rates) == {0.3}


def test_averaging_against_a_naive_loop():
    training = Training(epochs=3, batch=4, pool=1, lr=0.05)
    method, used = recorded(dataclasses.replace(training, average=0.8))
    plain, last = recorded(training)
    for a, b in zip(method.weights[-1], plain.weights[-1], strict=True):
        assert torch.equal(a, b), "the average does not touch what is trained"
    for number, parameter in enumerate(used):
        average = method.weights[0][number].double()
        for n, weights in enumerate(method.weights[1:], start=1):
            rate = min(0.8, (1 + n) / (10 + n))
            average = rate * average + (1 - rate) * weights[number]
        assert torch.allclose(parameter.double(), average, atol=1e-6)
        assert torch.equal(last[number], plain.weights[-1][number])


def test_the_average_is_what_is_evaluated():
    x = torch.randn(20, 3, generator=generator(5))
    data = Dataset.of(x, x.sum(1))
    training = Training(epochs=2, batch=4, pool=1, lr=0.5, average=0.9)
    method = Recorder(lambda: Net([nn.Flatten()], nn.Linear(3, 1)), data.info)
    rows = fit(method, Splits(data, None, data), training).history
    raw = method.weights[-1]
    errors = [
        float((x @ weight.T + bias - data.label).square().mean().detach())
        for weight, bias in (raw, list(method.net.parameters()))
    ]
    assert rows[-1]["test"]["average"] == pytest.approx(errors[1])
    assert errors[0] != pytest.approx(errors[1])


# --- optimizers and clipping ------------------------------------------------------------------------------------------


class Wide(Recorder):
    """Keeps its weights before the first step, too, and the gradients that each step takes."""

    def step(self, batch, optimizers, backward):
        if not self.weights:
            self.weights.append([p.detach().clone() for p in self.net.parameters()])
        result = super().step(batch, optimizers, backward)
        self.grads = [
            *getattr(self, "grads", []),
            [p.grad.clone() for p in self.net.parameters() if p.grad is not None],
        ]
        return result


def wide(**training) -> Wide:
    """A matrix, a kernel and a matrix, with biases and a norm's gain between them; the whole data in every step."""
    data = splits(8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        stages = [nn.Unflatten(1, (3, 1, 1)), nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 4)]
        method = Wide(lambda: Net(stages, nn.Linear(4, 2)), data.info)
    fit(method, data, Training(epochs=2, batch=8, pool=1, **training))
    return method


@pytest.mark.parametrize(
    ("name", "decayed"),
    # kernel, bias, gain, bias, matrix, bias, matrix, bias
    [("adamw", [1, 0, 0, 0, 1, 0, 1, 0]), ("adamw-inverted", [0, 1, 1, 1, 0, 1, 0, 1])],
)
def test_adamw_by_hand(name, decayed):
    lr, decay = 0.1, 0.5
    method = wide(optimizer=name, lr=lr, weight_decay=decay)
    for i, falls in enumerate(decayed):
        weight, first, second = (one[i].double() for one in method.weights)
        g1, g2 = (one[i].double() for one in method.grads)
        keep = 1 - lr * decay * falls
        weight = keep * weight - lr * g1 / (g1.abs() + 1e-8)  # both moments are the gradient's, once unbiased
        torch.testing.assert_close(first, weight, atol=1e-5, rtol=1e-4)
        mean, square = (0.09 * g1 + 0.1 * g2) / 0.19, (0.000999 * g1**2 + 0.001 * g2**2) / 0.001999
        weight = keep * first - lr * mean / (square.sqrt() + 1e-8)
        torch.testing.assert_close(second, weight, atol=1e-5, rtol=1e-4)


def test_sgd_by_hand():
    method = wide(optimizer="sgd", lr=0.1, weight_decay=0.5)
    for i in range(8):
        weight, first, second = (one[i].double() for one in method.weights)
        g1, g2 = (one[i].double() for one in method.grads)
        velocity = g1 + 0.5 * weight
        torch.testing.assert_close(first, weight - 0.1 * velocity, atol=1e-6, rtol=1e-5)
        velocity = 0.9 * velocity + g2 + 0.5 * first
        torch.testing.assert_close(second, first - 0.1 * velocity, atol=1e-6, rtol=1e-5)


def norms(method: Wide) -> list[float]:
    return [math.sqrt(sum(float(g.square().sum()) for g in grads)) for grads in method.grads]


def test_a_long_gradient_is_cut_and_keeps_its_direction():
    free, cut = wide(optimizer="sgd", lr=1e-9), wide(optimizer="sgd", lr=1e-9, clip=0.25)
    assert min(norms(free)) > 0.3
    assert norms(cut) == pytest.approx([0.25, 0.25], abs=1e-5)
    for a, b in zip(free.grads[0], cut.grads[0], strict=True):
        torch.testing.assert_close(a / norms(free)[0], b / 0.25, atol=1e-5, rtol=1e-4)


def test_a_gradient_that_is_short_enough_keeps_its_bits():
    free, cut = wide(lr=0.1), wide(lr=0.1, clip=100)
    assert all(torch.equal(a, b) for a, b in zip(free.weights[-1], cut.weights[-1], strict=True))


def test_each_player_has_a_gradient_of_its_own():
    """The second optimizer's gradient is a thousand times as long, and takes nothing from the first's."""

    class Two(Wide):
        def optimizers(self, training) -> list[torch.optim.Optimizer]:
            first, second = self.net.parameters()
            return [torch.optim.SGD([first], lr=1e-9), torch.optim.SGD([second], lr=1e-9)]

        def loss(self, batch):
            first, second = self.net.parameters()
            return 0.1 * first.sum() + 1000 * second.sum(), {}

    method = Two(linear, splits().info)
    fit(method, splits(8), Training(epochs=1, batch=8, pool=1, clip=2))
    first, second = method.grads[0]
    torch.testing.assert_close(first, torch.full((2, 3), 0.1))  # of norm 0.24
    torch.testing.assert_close(second, torch.full((2,), math.sqrt(2)))  # of norm 2


@pytest.mark.parametrize(
    ("name", "net", "kinds"),
    [
        ("erm", "mlp:hidden=4", ["SGD"]),
        ("lff", "mlp:hidden=4", ["SGD"]),
        ("selecmix", "mlp:hidden=4", ["SGD", "Adam"]),  # a biased model keeps its own
        ("rebias", "conv:width=2", ["SGD", "Adam"]),
    ],
)
def test_the_optimizer_is_that_of_the_main_network(name, net, kinds):
    info = splits().info if net.startswith("mlp") else dataclasses.replace(splits().info, shape=(3, 8, 8), kind="image")
    options = {"pairs": "learned"} if name == "selecmix" else {}
    built = build(name, info, net=net, options=options).optimizers(Training(optimizer="sgd", weight_decay=0.25))
    assert [type(one).__name__ for one in built] == kinds
    assert built[0].param_groups[0]["momentum"] == 0.9
    assert built[0].param_groups[0]["weight_decay"] == 0.25


def test_the_linear_head_alone_has_a_decayed_and_a_spared_group():
    method = build("erm", splits().info, net="mlp:hidden=4")
    (built,) = method.optimizers(Training(optimizer="adamw", weight_decay=0.1))
    sizes = [(group["weight_decay"], [p.ndim for p in group["params"]]) for group in built.param_groups]
    assert sizes == [(0.1, [2, 2]), (0.0, [1, 1])]


def test_an_unknown_optimizer():
    method = build("erm", splits().info, net="mlp:hidden=4")
    with pytest.raises(UserError, match="unknown optimizer 'sdg': did you mean 'sgd'"):
        fit(method, splits(), Training(optimizer="sdg"))  # type: ignore[arg-type]
    with pytest.raises(
        UserError, match="optimizer=rmsprop is not allowed; give adam or adamw or adamw-inverted or sgd"
    ):
        validate("training", Training, {"optimizer": "rmsprop"})
    with pytest.raises(UserError, match="clip=-1 is not allowed; give a number at least 0"):
        validate("training", Training, {"clip": -1})


# --- selection --------------------------------------------------------------------------------------------------------


class Staged(Net):
    """Right about a sample (its rank in [0, 1), its label, its split) where the rank is below the split's reach."""

    def __init__(self):
        super().__init__([], nn.Identity())  # pyright: ignore[reportArgumentType]
        self.register_buffer("reach", torch.zeros(3))
        self.dummy = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        right = x[:, 0] < self.get_buffer("reach")[x[:, 2].long()]
        wrong_label = 1 - x[:, 1]
        return torch.eye(2)[torch.where(right, x[:, 1], wrong_label).long()] + 0 * self.dummy


class Scripted(Method):
    """Learns nothing; its accuracy on validation and test is written down, epoch by epoch."""

    name, paper, tasks = "scripted", "", frozenset({"classification", "regression"})
    script = ((0.2, 0.9), (0.8, 0.1), (0.5, 0.5), (0.8, 0.9))

    def on_epoch(self, context):
        super().on_epoch(context)
        self.net.get_buffer("reach")[1:] = torch.tensor(self.script[context.epoch])

    def loss(self, batch):
        return self(batch.x).mean() * 0 + 2.5, {"half": torch.tensor(0.5), "rows": torch.tensor(float(len(batch)))}


def staged(split: int) -> Dataset:
    label = torch.arange(20) % 2
    x = torch.stack([torch.arange(20) / 20, label.float(), torch.full((20,), float(split))], 1)
    return Dataset.of(x, label)


STAGED = Splits(staged(0), staged(1), staged(2))


def staged_run(select: str, **training):
    return fit(Scripted(Staged, STAGED.info), STAGED, Training(epochs=4, **training), select=select)


@pytest.mark.parametrize(
    ("select", "epoch"),
    [
        ("last", 4),
        ("best:average", 2),
        ("best:balanced", 2),
        ("best:worst_class", 2),
        ("best:ece", 2),  # every confidence is 0.73: the lowest error is where the accuracy is nearest
        ("oracle", 1),
        ("oracle:worst_group", 1),
        ("oracle:ece", 1),
    ],
)  # of equals, the first
def test_selection_takes_the_best_epoch_and_its_weights(select: str, epoch: int):
    fitted = staged_run(select)
    assert fitted.epoch == epoch
    assert fitted.method.net.get_buffer("reach")[1:].tolist() == pytest.approx(Scripted.script[epoch - 1])
    assert [row["valid"]["average"] for row in fitted.history] == pytest.approx([0.2, 0.8, 0.5, 0.8])
    assert [row["test"]["average"] for row in fitted.history] == pytest.approx([0.9, 0.1, 0.5, 0.9])


def test_the_lowest_class_difference_is_the_best(monkeypatch: pytest.MonkeyPatch):
    # labels alternate, so 5, 4, 7 and 9 right of 20 are 3 and 2, 2 and 2, 4 and 3, 5 and 4 of the classes
    monkeypatch.setattr(Scripted, "script", ((0.25, 0.2), (0.2, 0.25), (0.35, 0.2), (0.45, 0.2)))
    fitted = staged_run("best:class_difference")
    assert [row["valid"]["class_difference"] for row in fitted.history] == pytest.approx([0.1, 0, 0.1, 0.1])
    assert fitted.epoch == 2
    assert staged_run("oracle:class_difference").epoch == 1


def test_only_evaluated_epochs_can_be_selected_and_the_last_always_is():
    fitted = staged_run("best:average", every=3)
    assert [row["epoch"] for row in fitted.history if "valid" in row] == [3, 4]
    assert fitted.epoch == 4


def test_the_history_holds_means_over_the_steps():
    fitted = staged_run("last", batch=8, pool=1)  # minibatches of 8, 8 and 4
    row = fitted.history[0]
    assert (row["epoch"], row["loss"], row["half"]) == (1, pytest.approx(2.5), pytest.approx(0.5))
    assert row["rows"] == pytest.approx(20 / 3)
    assert row["seconds"] > 0


class Constant(Scripted):
    def on_epoch(self, context):
        self.net.get_buffer("reach")[0] = (3.0, 1.0, 2.0)[context.epoch]


class Level(Staged):
    def forward(self, x):
        return self.get_buffer("reach")[:1].expand(len(x), 1) + 0 * self.dummy


def leveled(select: str):
    data = Dataset.of(torch.zeros(4, 1), torch.zeros(4))
    return fit(Constant(Level, data.info), Splits(data, data, data), Training(epochs=3), select=select)


def test_a_regression_selects_the_lowest_error():
    fitted = leveled("best:average")
    assert fitted.epoch == 2
    assert [row["valid"]["average"] for row in fitted.history] == pytest.approx([9.0, 1.0, 4.0])


def test_selection_by_a_metric_that_somebody_added(monkeypatch: pytest.MonkeyPatch):
    def height(outputs, data):
        return outputs.mean() if outputs.any() else math.nan

    monkeypatch.setattr(METRICS, "added", {"height": ("a file", made("height", height))})
    fitted = leveled("best:height")
    assert fitted.epoch == 1, "the highest, though it is a regression"
    assert [row["test"]["height"] for row in fitted.history] == pytest.approx([3.0, 1.0, 2.0])
    height.lower = True  # type: ignore[reportFunctionMemberAccess]
    monkeypatch.setattr(METRICS, "added", {"height": ("a file", made("height", height))})
    assert leveled("best:height").epoch == 2


def test_selection_rules_are_read():
    assert parse_selection("last") == ("", "")
    assert parse_selection("oracle") == ("test", "average")
    assert parse_selection("best:conflicting") == ("valid", "conflicting")
    assert parse_selection("oracle:worst_group") == ("test", "worst_group")


def test_selection_rules_are_said():
    assert rule_in_words("last") == "last epoch"
    assert rule_in_words("best:class_difference") == "best class difference on validation"
    assert rule_in_words("oracle") == "oracle: best average on test"
    assert rule_in_words("oracle:worst_group") == "oracle: best worst group on test"


# --- the same bits ----------------------------------------------------------------------------------------------------


class Helped(ERM):
    """Trains a helper before and another one after, and draws from both random streams everywhere."""

    def prepare(self, train, fit):
        helper = fit(ERM(self.make_net, self.info), train, epochs=2)
        wrong = helper(train.gather(torch.arange(len(train)))).argmax(1) != train.label
        return train.take(torch.cat([torch.arange(len(train)), wrong.nonzero().flatten()]))

    def loss(self, batch):
        noise = torch.randn(1) + torch.randn(1, generator=self.generator)
        return (1 + 0.1 * noise.mean()) * super().loss(batch)[0], {}

    def finish(self, train, valid, fit):
        helper = fit(ERM(self.make_net, self.info), train, epochs=1)
        with torch.no_grad():
            for mine, other in zip(self.net.parameters(), helper.net.parameters(), strict=True):
                mine += 0.5 * other + 0.01 * torch.randn(1) + 0.01 * torch.randn(1, generator=self.generator)


def helped(seed: int = 0, observers=(), state=None, **how):
    data = splits()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        method = Helped(lambda: Net([nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5))], nn.Linear(4, 2)), data.info)
    how = {"average": 0.5, "schedule": "cosine", **how}
    training = Training(epochs=4, batch=4, pool=2, lr=0.05, **how)
    return fit(method, data, training, seed=seed, select="best:average", observers=observers, state=state)


def numbers(fitted) -> tuple:
    rows = [{key: value for key, value in row.items() if key != "seconds"} for row in fitted.history]
    return [p.tolist() for p in fitted.method.net.state_dict().values()], str(rows), fitted.epoch  # text: nan is nan


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"optimizer": "adamw", "weight_decay": 0.1, "clip": 0.5, "schedule": "linear"},
        {"optimizer": "sgd", "clip": 0.1, "average": 0.0},
    ],
)
def test_a_run_resumed_at_any_epoch_ends_with_the_same_bits(how):
    saved: list[bytes] = []

    def save(epoch: Epoch) -> None:
        file = io.BytesIO()
        torch.save(epoch.state(), file)
        saved.append(file.getvalue())

    whole = numbers(helped(observers=[calling(on_epoch=save)], **how))
    assert len(saved) == 4
    torch.rand(7)  # the state of the world does not matter
    for content in saved:
        state = torch.load(io.BytesIO(content), weights_only=True)
        assert numbers(helped(state=state, **how)) == whole


def test_the_same_seed_gives_the_same_bits_and_another_does_not():
    assert numbers(helped()) == numbers(helped())
    assert numbers(helped(seed=1)) != numbers(helped())


@pytest.mark.parametrize("name", ["erm", "resample", "lff", "selecmix"])
def test_the_callers_random_state_is_left_alone(name: str):
    data = splits()
    method = build(name, data.info, net="mlp:hidden=4")
    before = torch.get_rng_state().tolist(), random.getstate(), repr(np.random.get_state())
    fit(method, data, Training(epochs=2, batch=8, pool=1))
    assert (torch.get_rng_state().tolist(), random.getstate(), repr(np.random.get_state())) == before


def test_the_method_is_left_ready_to_predict():
    fitted = fit(build("erm", splits().info, net="mlp:hidden=4"), splits(), Training(epochs=1))
    assert not fitted.method.training
    assert not any(module.training for module in fitted.method.modules())


# --- who watches ------------------------------------------------------------------------------------------------------


def logging(log: list, who: str = "") -> Observer:
    """Notes each call."""
    return calling(
        on_start=lambda method, epochs: log.append((f"{who}start", method.name, epochs)),
        on_outputs=lambda context, batch, outputs, losses: log.append((f"{who}outputs", context.epoch, len(batch))),
        on_trained=lambda method: log.append((f"{who}trained", method.name, method.context.epoch)),
        on_epoch=lambda epoch: log.append((f"{who}epoch", epoch.epoch, epoch.epochs, "test" in epoch.row)),
        on_helper=lambda done, total: log.append((f"{who}helper", done, total)),
    )


def test_an_observer_made_of_functions_has_what_it_is_given_and_does_nothing_else():
    told = []
    observer = calling(on_helper=lambda done, total: told.append((done, total)))
    assert isinstance(observer, Observer)
    observer.on_start(Recorder(linear, splits().info), 3)
    observer.on_helper(1, 2)
    assert told == [(1, 2)]
    assert type(observer).on_helper is Observer.on_helper, "the class is left alone"


@pytest.mark.parametrize("name", ["on_epochs", "epoch"])
def test_an_unknown_part_of_an_observer(name: str):
    with pytest.raises(UserError, match=f"unknown part of an observer '{name}'.*on_epoch"):
        calling(**{name: print})


def test_an_observer_is_called_in_the_order_of_the_loop():
    log: list = []

    class Told(ERM):
        def prepare(self, train, fit):
            log.append("prepare")
            return train

        def epoch_data(self, train):
            log.append("begin")
            return train

        def finish(self, train, valid, fit):
            log.append("finish")

    method = build(Told, splits().info, net="mlp:hidden=4")
    fit(method, splits(), Training(epochs=2, batch=8, pool=2), observers=[logging(log)])
    epochs = [
        [
            "begin",
            *(("outputs", epoch, size) for size in (8, 8, 6)),
            ("trained", "erm", epoch),
            ("epoch", epoch + 1, 2, True),
        ]
        for epoch in range(2)
    ]
    assert log == ["prepare", ("start", "erm", 2), *epochs[0], *epochs[1], "finish"]


def test_the_methods_own_observers_are_told_first():
    log: list = []

    class Watched(ERM):
        def observers(self):
            return [logging(log, "own ")]

    data = splits(8)
    fit(build(Watched, data.info), data, Training(epochs=1, batch=8, pool=1), observers=[logging(log)])
    assert [entry[0] for entry in log] == [
        f"{who}{what}" for what in ("start", "outputs", "trained", "epoch") for who in ("own ", "")
    ]


def test_what_is_shown_is_what_the_loss_was_taken_of():
    shown, losses_of = [], []

    class Watched(ERM):
        def loss(self, batch):
            losses_of.append((batch.index, self(batch.x).detach()))
            return super().loss(batch)

    watch = calling(on_outputs=lambda context, batch, outputs, losses: shown.append((batch.index, outputs, losses)))
    data = splits()
    fit(build(Watched, data.info, net="mlp:hidden=4"), data, Training(epochs=1, batch=8, pool=1), observers=[watch])
    assert len(shown) == len(losses_of) == 3
    for (index, outputs, losses), (expected, logits) in zip(shown, losses_of, strict=True):
        assert torch.equal(index, expected) and torch.equal(outputs, logits)
        assert not outputs.requires_grad and not losses.requires_grad
        torch.testing.assert_close(
            losses, nn.functional.cross_entropy(logits, data.train.label[index], reduction="none")
        )


def test_a_method_that_trains_on_mixtures_shows_nothing():
    data, log = splits(), []
    fit(build("mixup", data.info), data, Training(epochs=1, batch=8, pool=1), observers=[logging(log)])
    assert [entry[0] for entry in log] == ["start", "trained", "epoch"]


def test_a_resumed_run_does_not_start_again():
    log: list = []
    states = []
    keep = calling(on_epoch=lambda epoch: states.append(copy.deepcopy(epoch.state())))
    helped(observers=[keep])
    helped(observers=[logging(log)], state=states[1])
    assert not [entry for entry in log if entry[0] == "start"]
    assert [entry[1] for entry in log if entry[0] == "epoch"] == [3, 4]


def test_a_helper_has_observers_of_its_own():
    """The run's are told of its epochs alone, and what watches the helper is not told of the run."""
    log: list = []

    class Watching(ERM):
        def prepare(self, train, fit):
            fit(ERM(self.make_net, self.info, record="online"), train, epochs=2, observers=[logging(log, "its ")])
            return train

    data = splits(8)
    fit(build(Watching, data.info), data, Training(epochs=1, batch=8, pool=1), observers=[logging(log)])
    assert log == [
        ("its start", "erm", 2),
        ("its outputs", 0, 8),
        ("its trained", "erm", 0),
        ("helper", 1, 2),
        ("its outputs", 1, 8),
        ("its trained", "erm", 1),
        ("helper", 2, 2),
        ("start", "erm", 1),
        ("outputs", 0, 8),
        ("trained", "erm", 0),
        ("epoch", 1, 1, True),
    ]


def test_a_helper_that_records_itself_does():
    kept = []

    class Asking(ERM):
        def prepare(self, train, fit):
            kept.append(fit(ERM(self.make_net, self.info, record="online"), train, epochs=2))
            return train

    data = splits(8)
    fit(build(Asking, data.info), data, Training(epochs=1, batch=8, pool=1))
    assert kept[0].trajectory.record.shape == (3, 2, 8)
    assert not kept[0].trajectory.record.isnan().any()


def test_watching_changes_no_bits():
    log: list = []
    assert numbers(helped(observers=[logging(log)])) == numbers(helped())
    assert log


def test_what_a_method_is_told():
    """Each part of the loop has a context of its own, with another generator in each and the data of the moment."""
    seen: list = []

    class Told(ERM):
        def note(self, where: str):
            draw = float(torch.rand((), generator=self.generator))
            seen.append((where, self.context.epoch, self.context.epochs, len(self.context.data), draw))

        def prepare(self, train, fit):
            self.note("prepare")
            return train.take(torch.arange(12))

        def on_epoch(self, context):
            super().on_epoch(context)
            self.note("epoch")

        def finish(self, train, valid, fit):
            self.note("finish")

    def run(seed: int) -> list:
        seen.clear()
        fit(build(Told, splits().info), splits(), Training(epochs=2, batch=8), seed=seed)
        return list(seen)

    first = run(1)
    assert [entry[:4] for entry in first] == [
        ("prepare", 0, 2, 22),
        ("epoch", 0, 2, 12),
        ("epoch", 1, 2, 12),
        ("finish", 1, 2, 12),
    ]
    assert len({entry[4] for entry in first}) == 4
    assert run(1) == first
    assert not {entry[4] for entry in run(2)} & {entry[4] for entry in first}


# --- users' mistakes --------------------------------------------------------------------------------------------------


class Explodes(ERM):
    def loss(self, batch: Batch):
        loss, logs = super().loss(batch)
        self.count = getattr(self, "count", 0) + 1
        return loss * (math.nan if self.count >= 5 else 1), logs


def test_a_loss_that_is_no_number_names_epoch_and_step():
    method = Explodes(linear, splits().info)
    epochs = []
    training = Training(epochs=4, batch=8, pool=1, lr=0.25)
    with pytest.raises(UserError, match=r"epoch 2, step 2 of 3; lower the learning rate \(lr=0\.25\)"):
        fit(method, splits(), training, observers=[calling(on_epoch=lambda epoch: epochs.append(epoch.epoch))])
    assert epochs == [1]


def failing(data: Splits, method: str = "erm", select: str = "last") -> str:
    built = build(method, splits().info, net="mlp:hidden=4")
    with pytest.raises(UserError) as caught:
        fit(built, data, Training(epochs=1), select=select)
    return str(caught.value)


def test_a_method_for_another_task():
    data = Dataset.of(torch.zeros(4, 3), torch.rand(4), name="prices")
    assert failing(Splits(data, None, data), "lff") == (
        "lff learns classification, but prices is regression: its biased net is amplified by how probable it finds the "
        "label."
    )


def test_a_method_that_needs_the_attribute():
    data = Dataset.of(torch.zeros(4, 3), [0, 1, 0, 1], name="photos")
    message = failing(Splits(data, None, data), "lisa")
    assert message.startswith("lisa needs the attribute of each training sample, but photos has none; pass attribute=…")


def test_selection_without_a_validation_set():
    data = dataclasses.replace(splits(), valid=None)
    assert "needs a set for it, but data has none" in failing(data, select="best:average")


def test_selection_by_what_is_not_defined_there():
    bare = Dataset.of(torch.zeros(4, 3), [0, 1, 0, 1])
    message = failing(dataclasses.replace(splits(), valid=bare), select="best:conflicting")
    assert message.startswith("cannot select by conflicting: it is not defined on the valid set of data")


@pytest.mark.parametrize(
    ("label", "message"), [([0, 0, 1], "'1' has 1 training sample;"), ([0, 0, 0], "'1' has 0 training samples;")]
)
def test_a_class_with_too_few_samples(label: list[int], message: str):
    data = Dataset.of(torch.zeros(3, 3), label, n_classes=2)
    assert message in failing(Splits(data, None, data))


@pytest.mark.parametrize("select", ["first", "best", "best:", "oracle:", "last:average"])
def test_an_unknown_selection_rule(select: str):
    with pytest.raises(UserError, match=f"selection rule '{select}' is not known; use last, best:METRIC"):
        parse_selection(select)


def test_selection_by_an_unknown_metric():
    with pytest.raises(UserError, match="unknown metric 'worst-group': did you mean 'worst_group'"):
        parse_selection("best:worst-group")
    with pytest.raises(UserError, match="unknown metric 'avrage': did you mean 'average'"):
        parse_selection("oracle:avrage")


def test_overlapping_groups_are_no_partition_for_a_method_that_needs_one():
    data = Dataset.of(torch.zeros(4, 3), [0, 1, 0, 1], name="comments", memberships=torch.ones(4, 8, dtype=torch.bool))
    message = failing(Splits(data, None, data), "lisa")
    assert message.startswith("comments has overlapping groups, which are for evaluation alone, but a method needs a")
    assert fit(build("erm", data.info, net="mlp:hidden=4"), Splits(data, data, data), Training(epochs=1)).epoch == 1


@pytest.mark.parametrize("milestones", ["2", "0.5,0.7", "", "0.5-"])
def test_milestones_are_shares_of_the_run(milestones: str):
    with pytest.raises(UserError, match=rf"milestones={milestones} is not allowed; give text such as 0\.4-0\.6-0\.8"):
        validate("training", Training, {"milestones": milestones})
