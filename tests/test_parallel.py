"""One run on two processes gives what one gives, and ends cleanly whatever happens to it."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_nets
import torch
from blobs import small_data  # noqa: F401
from torch import Tensor, nn

from longcut import Dataset, Fitted, Splits, Training, UserError, fit, nets, runs
from longcut.context import Epoch, calling
from longcut.data import Batch, generator
from longcut.execute import execute
from longcut.methods import build
from longcut.methods.erm import ERM
from longcut.nets import Net
from longcut.parallel import Team, launch, rows
from longcut.parallel.launch import together
from longcut.parallel.team import TEAM, joined
from longcut.plans import plan
from longcut.predict import predict
from longcut.states import copied

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


def trained(name: str, *, how: Any = None, **other: Any) -> tuple[dict[str, Tensor], Tensor, list[dict[str, Any]]]:
    """Weights, predictions and history."""
    options, settings = METHODS[name]
    method = build(name, SPLITS.info, net="conv:width=2", options=options, seed=1)
    fitted = fit(
        method,
        SPLITS,
        Training(**{"epochs": 2, "batch": 20, "pool": 2, "lr": 0.01, **settings, **other}),
        **(how or {}),
    )
    state = {name: value for name, value in fitted.method.state_dict().items() if isinstance(value, Tensor)}
    return state, predict(fitted.method, SPLITS.test), fitted.history


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


# --- what both processes do: begun once, for it takes seconds ------------------------------------------------------


def by_both() -> dict[str, Any]:
    """What the tests below look at; each process does all of it."""
    found: dict[str, Any] = {name: trained(name) for name in METHODS}
    found |= {name: refusal(function) for name, function in REFUSED.items()}
    found["doubled"] = with_sums_doubled()
    found["gone on"] = [gone_on(), gone_on_in_helper()]
    found["sent"] = sent()
    found["nets"] = {f"{spec} of {info.name}": of_net(spec, info) for spec, info in NETS}
    found["slopes"] = [slopes(spec, n) for spec in SPECS for n in (1, 2, 5)]
    return found


@pytest.fixture(scope="module")
def of_two() -> dict[str, Any]:
    with together(2, "cpu", by_both):
        return by_both()


def refusal(function: Callable[[], object]) -> str:
    try:
        return f"no error, but {function()}"
    except UserError as error:
        return str(error)


class Centred(nn.Module):
    """A statistic of the batch that nobody told us of."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x - x.mean(0)).flatten(1)


class Stray(ERM):
    """Each process adds something of its own to the loss."""

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        loss, logs = super().loss(batch)
        return loss * (1 + team().rank), logs


def team() -> Team:
    found = TEAM.get()
    assert found is not None
    return found


def centred() -> Fitted:
    method = ERM(lambda: Net([Centred()], nn.Linear(192, 2)), SPLITS.info)
    predict(method, SPLITS.test)  # what is seen in evaluation says nothing of training
    return fit(method, SPLITS, Training(epochs=1))


def stray() -> Fitted:
    torch.manual_seed(0)
    return fit(build(Stray, SPLITS.info, net="mlp:hidden=3"), SPLITS, Training(epochs=1))


def with_rows_mixed_up() -> object:
    """A broken gather."""
    with pytest.MonkeyPatch.context() as patch:
        gather = Team.gather
        patch.setattr(Team, "gather", lambda self, own, rows: gather(self, own, rows).roll(1, 0))
        return trained("jtt", epochs=1)


def with_own_gradients() -> object:
    """Gradients of a process's own rows alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows._Leave, "forward", lambda ctx, team, *parts: parts)
        return trained("erm", optimizer="sgd", epochs=1)


def with_sums_doubled() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        summed = rows._Leave.forward
        patch.setattr(rows._Leave, "forward", lambda *told: tuple(2 * part for part in summed(*told)))
        return trained("erm", optimizer="sgd", epochs=1)


REFUSED = {
    "centred": centred,
    "stray": stray,
    "with_rows_mixed_up": with_rows_mixed_up,
    "with_own_gradients": with_own_gradients,
}


def gone_on() -> Any:
    """From a state after the first epoch by one process, which the first alone has."""
    kept: list[Any] = []
    seen = calling(on_epoch=lambda epoch: kept.append(copied(epoch.state())))
    with joined(None):
        trained("lff", how={"observers": [seen]})
    return trained("lff", how={"state": kept[0] if team().rank == 0 else None})


def sent() -> list[int]:
    """Bytes of each message of a step with a batch of 6, in their order."""
    torch.manual_seed(0)
    net, x, found = nets.build("conv:width=2", SPLITS.info), torch.rand(6, 3, 8, 8, generator=generator(0)), []
    net(x)  # which is compared with the whole
    with pytest.MonkeyPatch.context() as patch:
        for call in (Team.total, Team.gather):

            def noted(self: Team, part: Tensor, *told: Any, call: Any = call) -> Tensor:
                found.append(part.numel() * part.element_size())
                return call(self, part, *told)

            patch.setattr(Team, call.__name__, noted)
        net(x).sum().backward()
    return found


class Memory(dict[int, Any]):
    """A shelf."""

    def put(self, number: int, state: Callable[[], Any], ended: bool) -> None:
        self[number] = copied(state())
        if not ended:
            raise KeyboardInterrupt


def gone_on_in_helper() -> Any:
    """From a helper after its first epoch by one process, whose state the first alone has."""
    shelf = Memory()
    with joined(None), suppress(KeyboardInterrupt):
        trained("jtt", how={"shelf": shelf})
    assert list(shelf) == [1001] and shelf[1001]["epochs"] == 1
    return trained("jtt", how={"shelf": shelf if team().rank == 0 else None})


NETS = [
    *((getattr(one, "values", one)) for one in test_nets.FITS if "hf" not in str(one)),
    ("mlp:dropout=0.5,norm=batch", test_nets.KINDS["table"]),
    ("transformer:width=8,heads=2,dropout=0.5", test_nets.KINDS["tokens"]),
    ("lstnet:skip=5,window=7,dropout=0.5", test_nets.KINDS["series"]),
]


@torch.no_grad()
def of_net(spec: str, info: Any) -> float:
    """How far apart the features of a batch are by rows and at once, over the largest."""
    torch.manual_seed(0)
    net, x = nets.build(spec, info).train(), test_nets.inputs(info, 5)
    state = torch.get_rng_state()
    by_rows, then = net.features(x), torch.get_rng_state()
    torch.set_rng_state(state)
    with joined(None):
        whole = net.features(x)
    assert torch.equal(then, torch.get_rng_state())
    return float((by_rows - whole).abs().max() / whole.abs().max())


SPECS = ("conv:width=2", "mlp:hidden=5-4,activation=leaky", "mlp:hidden=5,dropout=0.5")


def slopes(spec: str, n: int) -> tuple[list[Tensor], list[Tensor]]:
    """Gradients of inputs and weights, and of those by weights once more: by rows, and at once."""
    torch.manual_seed(0)
    net = nets.build(spec, SPLITS.info).train()
    x = torch.rand(n, 3, 8, 8, generator=generator(1)).requires_grad_()
    next(net.parameters()).requires_grad_(False)
    learned = [weight for weight in net.parameters() if weight.requires_grad]

    def found() -> list[Tensor]:
        torch.manual_seed(1)
        first = torch.autograd.grad(net(x).pow(3).sum(), [x, *learned], create_graph=True)
        second = torch.autograd.grad(
            torch.stack([slope.square().sum() for slope in first]).sum(), learned, allow_unused=True
        )
        return [slope.detach() for slope in (*first, *second) if slope is not None]

    with joined(None):
        at_once = found()
    return found(), at_once


# --- the same as by one --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_give_what_one_gives(name: str, of_two: dict[str, Any]):
    assert_same(of_two[name], trained(name))


def test_what_one_began_two_go_on_with(of_two: dict[str, Any]):
    for found, name in zip(of_two["gone on"], ("lff", "jtt"), strict=True):
        assert_same(found, trained(name))


def test_twice_the_gradient_is_seen(of_two: dict[str, Any]):
    """The null: the tests above can fail."""
    alone = trained("erm", optimizer="sgd", epochs=1)
    with pytest.raises(AssertionError, match="stages"):
        assert_same(of_two["doubled"], alone)


def test_every_net_by_rows(of_two: dict[str, Any]):
    far = {name: apart for name, apart in of_two["nets"].items() if apart > 1e-3}
    assert len(of_two["nets"]) == len(NETS) and not far


def test_what_is_sent_is_what_the_cost_model_says(of_two: dict[str, Any]):
    """docs/scale.md: moments of 2, 4, 4 and 8 channels, features of 3 rows, the moments back, and the gradients."""
    moments, features = [8 * 2 * channels for channels in (2, 4, 4, 8)], 4 * 3 * 8
    weights = 2 * 3 * 9 + 4 * 2 * 9 + 4 * 4 * 9 + 8 * 4 * 9 + 2 * (2 + 4 + 4 + 8)
    assert of_two["sent"] == [*moments, features, *moments[::-1], 4 * weights]


def test_gradients_of_both_orders(of_two: dict[str, Any]):
    assert len(of_two["slopes"]) == 9
    for by_rows, at_once in of_two["slopes"]:
        assert len(by_rows) == len(at_once) > 5
        for one, other in zip(by_rows, at_once, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4 * max(1.0, float(other.abs().max())))


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("centred", "this net cannot be trained by 2 processes, for it says other things of a part of a batch"),
        ("with_rows_mixed_up", "this net cannot be trained by 2 processes"),
        ("stray", "the 2 processes came to different weights or random numbers in epoch 1"),
        ("with_own_gradients", "the 2 processes came to different weights or random numbers in epoch 1"),
    ],
)
def test_what_cannot_be_shared_says_so(name: str, sentence: str, of_two: dict[str, Any]):
    assert sentence in of_two[name]


def test_a_device_for_each(monkeypatch: pytest.MonkeyPatch):
    for device in ("meta", "cuda:1"):
        with pytest.raises(UserError, match=f"or with device=cuda on a GPU each, not on {device}; change"):
            launch.kind_of(2, torch.device(device))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match="2 processes need a GPU each, and here are 1; take fewer, or device=cpu"):
        launch.kind_of(2, torch.device("cuda"))
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    with pytest.raises(UserError, match="this program is itself one of several that work together; train with one"):
        launch.kind_of(2, torch.device("cpu"))


def test_rows_are_shared_evenly():
    for size in (1, 2, 3, 7):
        for n in (0, 1, size, 20):
            owned = [list(range(n))[Team(rank, size).own(n)] for rank in range(size)]
            assert list(chain(*owned)) == list(range(n))
            assert [len(own) for own in owned] == Team(0, size).shares(n)
            assert max(map(len, owned)) - min(map(len, owned)) <= 1


# --- processes come and go -----------------------------------------------------------------------------------------


def fail_elsewhere(how: str) -> None:
    """In the other process alone."""
    if team().rank:
        if how == "mistake":
            raise UserError("it is told so.")
        if how == "error":
            raise ValueError("as it happens")
        os._exit(7)
    team().total(torch.ones(1))


class Unreadable:
    def __reduce__(self) -> Any:
        return int, ("no number",)


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("mistake", "process 2 of this run stopped: it is told so; give the same command again, or take fewer"),
        ("error", "process 2 of this run stopped: ValueError: as it happens; give"),
        ("exit", "process 2 of this run ended with status 7"),
        ("begin", "process 2 of this run stopped: ValueError: invalid literal for int"),
    ],
)
def test_why_another_process_ended(how: str, sentence: str):
    call = partial(fail_elsewhere, how) if how != "begin" else partial(print, Unreadable())
    threads = torch.get_num_threads()
    with pytest.raises(UserError, match=sentence), together(2, "cpu", call):
        fail_elsewhere(how)
    assert TEAM.get() is None and not torch.distributed.is_initialized()
    assert torch.get_num_threads() == threads


def test_a_mapped_data_set_is_mapped_by_each(tmp_path: Path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 255, (500, 3, 20, 20), dtype=np.uint8))
    data = Dataset.of(np.load(tmp_path / "x.npy", mmap_mode="r")[100:], torch.arange(400) % 2)
    content = launch.packed(partial(print, data))
    assert len(content) < data.x.numel() // 10
    (there,) = pickle.loads(content).args
    assert torch.equal(there.x, data.x) and there.x.data_ptr() != data.x.data_ptr()
    assert torch.equal(there.label, data.label)


def test_who_watches_may_ask_the_net():
    """Of a method whose class is known here alone, as in a script."""

    class Own(ERM):
        name = "own"

    seen: list[Tensor] = []
    watch = calling(on_trained=lambda method: seen.append(predict(method, SPLITS.test)))
    for processes in (1, 2):
        method = build(Own, SPLITS.info, net="conv:width=2", seed=1)
        fit(method, SPLITS, Training(epochs=1, batch=20), observers=[watch], processes=processes)
    torch.testing.assert_close(*seen, rtol=1e-5, atol=1e-5)


def test_what_cannot_be_copied():
    with pytest.raises(UserError, match=r"cannot be copied to other processes \(cannot pickle .*; leave that out"):
        launch.packed(partial(print, threading.Lock()))


SETTINGS = {"epochs": 4, "batch": 16, "net": "mlp:hidden=4", "helper_epochs": 2, "helper_lr": 1e-4}


@pytest.mark.usefixtures("small_data")
def test_a_killed_process_ends_the_run_which_goes_on_with_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    one = plan("blobs", "jtt", settings=SETTINGS)
    begun: list[subprocess.Popen] = []
    popen = subprocess.Popen

    def noted(*told: Any, **how: Any) -> subprocess.Popen:
        begun.append(popen(*told, **how))
        return begun[-1]

    def kill(epoch: Epoch) -> None:
        if epoch.epoch == 2:
            begun[0].kill()

    monkeypatch.setattr(subprocess, "Popen", noted)
    with pytest.raises(UserError, match=r"process 2 of this run was killed by signal 9.*up to epoch 2 is kept in"):
        execute(one, tmp_path / "parts", kill, processes=2)
    assert runs.read(tmp_path / "parts").record.environment["processes"] == "2"
    record, expected = (execute(one, tmp_path / name) for name in ("parts", "whole"))
    assert record.done and record.scores.test.values == pytest.approx(expected.scores.test.values, nan_ok=True)
    parts, whole = (runs.read(tmp_path / name).weights() for name in ("parts", "whole"))
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
def test_a_key_press_stops_all_and_the_run_can_go_on(tmp_path: Path):
    command = [sys.executable, "-m", "longcut", "train", "colored-digits", "--method", "erm", "--net", "mlp:hidden=8"]
    command += ["--processes", "2", "--device", "cpu", "--epochs", "3000", "--out", str(tmp_path / "run")]
    begun = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    state = tmp_path / "run" / "resume.pt"
    while not state.exists():
        assert begun.poll() is None, begun.communicate()[1]
        time.sleep(0.05)
    children = Path(f"/proc/{begun.pid}/task/{begun.pid}/children").read_text().split()
    os.killpg(begun.pid, signal.SIGINT)  # as a terminal does
    _, said = begun.communicate(timeout=60)
    assert begun.returncode == 130 and said.strip().endswith("the same command goes on from where this one was.")
    assert "Traceback" not in said
    assert len(children) == 1 and not Path(f"/proc/{children[0]}").exists()
    assert state.exists()
