"""``init=RUN``: what a run takes over from another, what it does not, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from html import unescape
from pathlib import Path

import pytest
import torch
from blobs import blobs, small_data, without_time  # noqa: F401
from helpers import entry_of, unsealed

from longcut import backbone, nets, runs
from longcut.analyses import varied
from longcut.data import Dataset, Info, Splits
from longcut.datasets import DATASETS
from longcut.errors import UserError
from longcut.execute import execute, rescore
from longcut.files import to_json
from longcut.methods import METHODS, build
from longcut.plans import folder_name, plan
from longcut.record import Inputs, Plan
from longcut.report import write

pytestmark = pytest.mark.usefixtures("small_data")

FROZEN = {"lr": 1e-30, "epochs": 1}  # a step that changes no float32


def images(side: int, classes: int = 2, targets: bool = False) -> Splits:
    def draw(n: int) -> Dataset:
        x = (torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(n)) * 255).to(torch.uint8)
        label = torch.arange(n) / n if targets else torch.arange(n) % classes
        return Dataset.of(x, label, name=f"images-{side}")

    return Splits(draw(24), None, draw(12))


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    net = {"epochs": 2, "batch": 8, "net": "resnet18:width=4"}
    for name, made in {
        "small": lambda *, seed=0: images(8),
        "large": lambda *, seed=0: images(12, 3),
        "targets": lambda *, seed=0: images(8, targets=True),
    }.items():
        monkeypatch.setitem(DATASETS.own, name, entry_of(function=made, training=net, options={}))


def stages(folder: Path) -> dict[str, torch.Tensor]:
    return {name: value for name, value in runs.read(folder).weights().items() if name.startswith("stages.")}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def there(tmp_path: Path) -> Path:
    execute(plan("blobs", settings={"lr": 0.05}), tmp_path / "there")
    return tmp_path / "there"


# --- what is taken over -----------------------------------------------------------------------------------------------


def test_the_stages_are_the_runs_and_the_head_is_fresh(there: Path, tmp_path: Path):
    for name, settings in {"plain": {}, "started": {"init": there}}.items():
        execute(plan("blobs", seed=7, settings=FROZEN | settings), tmp_path / name)
    assert same(stages(tmp_path / "started"), stages(there))
    assert not same(stages(tmp_path / "plain"), stages(there))
    heads = [runs.read(tmp_path / name).weights()["head.weight"] for name in ("plain", "started")]
    assert torch.equal(*heads), "and it is the very head that the run would have had without init"


@pytest.mark.parametrize("method", ["lff", "selecmix", "dfa", "jtt", "dfr", "mixup", "rebias"])
def test_the_main_network_alone_starts_there(method: str):
    info = blobs().info
    theirs = nets.build("mlp:hidden=4", info).stages.state_dict()
    bare, started = (
        build(method, info, net="mlp:hidden=4", seed=1, start=start)
        for start in (None, lambda net: backbone.begin(net, theirs, "runs/there"))
    )
    main = started.get_submodule("net.stages.0.intrinsic" if method == "dfa" else "net.stages")
    assert same(main.state_dict(), theirs)
    changed = {name for name, value in started.state_dict().items() if not torch.equal(value, bare.state_dict()[name])}
    inside = "net.stages.0.intrinsic." if method == "dfa" else "net.stages."
    assert changed, "something is taken over"
    assert all(name.startswith(inside) for name in changed), "and nothing else is touched"


@pytest.mark.usefixtures("pictures")
@pytest.mark.parametrize("data", ["small", "large", "targets"])
def test_batch_norm_buffers_come_along_to_other_sizes_classes_and_tasks(data: str, tmp_path: Path):
    execute(plan("small"), tmp_path / "there")
    found = stages(tmp_path / "there")
    counted = next(name for name in found if name.endswith("num_batches_tracked"))
    assert found[counted] > 0
    chosen = plan(data, settings={"init": tmp_path / "there"})
    start = backbone.pretrained(chosen, Inputs.of(images(8).train))
    assert start is not None
    net = nets.build(chosen.net, images({"large": 12}.get(data, 8), targets=data == "targets").info)
    backbone.begin(net, start, chosen.source)
    assert same({f"stages.{name}": value for name, value in net.stages.state_dict().items()}, found)
    record = execute(chosen, tmp_path / "here")
    assert record.done
    if data == "targets":
        assert rescore(runs.read(tmp_path / "here"), "targets").values["rmse"] == record.scores.test.values["rmse"]


def test_a_regression_can_be_the_start_and_its_scale_stays_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def targets(*, seed: int = 0) -> Splits:
        return Splits(*(Dataset.of(part.x, 5 + 3 * part.x[:, 0], name="numbers") for part in _parts(blobs(seed=seed))))

    small = DATASETS.own["blobs"].training
    monkeypatch.setitem(DATASETS.own, "numbers", entry_of(function=targets, training=small, options={}))
    execute(plan("numbers"), tmp_path / "numbers")
    assert "scale" in runs.read(tmp_path / "numbers").weights()
    execute(plan("blobs", settings=FROZEN | {"init": tmp_path / "numbers"}), tmp_path / "here")
    assert same(stages(tmp_path / "here"), stages(tmp_path / "numbers"))
    assert "scale" not in runs.read(tmp_path / "here").weights()


def _parts(splits: Splits) -> list[Dataset]:
    return [part for part in (splits.train, splits.valid, splits.test) if part is not None]


# --- what the plan and the record say ---------------------------------------------------------------------------------


def test_the_net_is_the_runs_unless_it_is_said(tmp_path: Path):
    execute(plan("blobs", settings={"net": "mlp:hidden=6"}), tmp_path / "there")
    chosen = plan("blobs", settings={"init": tmp_path / "there"})
    assert chosen.net == "mlp:hidden=6", "not the data set's own"
    assert plan("blobs", settings={"init": tmp_path / "there", "net": "mlp: hidden=6,scale=1"}).net.startswith("mlp: ")
    assert plan("blobs", f"erm:init={tmp_path / 'there'}") == dataclasses.replace(
        chosen, label=f"erm:init={tmp_path / 'there'}"
    )
    with pytest.raises(UserError, match=r"net=mlp:hidden=5 cannot start from .*, whose net is mlp:hidden=6; leave net"):
        plan("blobs", settings={"init": tmp_path / "there", "net": "mlp:hidden=5"})


def test_a_net_from_weights_is_not_read_again(there: Path):
    record = runs.read(there).record
    old = dataclasses.replace(record, plan=dataclasses.replace(record.plan, net="resnet50:weights=gone.pth"))
    (there / "run.json").write_text(to_json(old.to_dict()))
    assert plan("blobs", settings={"init": there}).net == "resnet50:weights=none"
    assert plan("blobs", settings={"init": there, "net": "resnet50"}).net == "resnet50"


def test_the_record_says_where_it_started(there: Path, tmp_path: Path):
    chosen = plan("blobs", settings={"init": there})
    execute(chosen, tmp_path / "here")
    stored = json.loads((tmp_path / "here" / "run.json").read_text())["plan"]
    assert stored["init"] == str(there)
    assert stored["init_weights"] == chosen.init_weights == backbone.digest(runs.read(there))
    assert len(chosen.init_weights) == 16
    assert Plan.from_dict(stored) == chosen
    assert not {"init", "init_weights"} & plan("blobs").to_dict().keys(), "a run without one is recorded as ever"
    assert Plan.from_dict(plan("blobs").to_dict()) == plan("blobs")


def test_a_folder_of_another_start_is_refused(there: Path, tmp_path: Path):
    chosen = plan("blobs", settings={"init": there})
    execute(chosen, tmp_path / "here")
    assert runs.check(tmp_path / "here", chosen)
    with pytest.raises(UserError, match=rf"holds another run \(init {there} instead of unset\)"):
        runs.check(tmp_path / "here", plan("blobs"))
    other = dataclasses.replace(chosen, init_weights="0" * 16)
    with pytest.raises(UserError, match=rf"holds another run \(made before the weights in {there} were changed\)"):
        runs.check(tmp_path / "here", other)


def test_a_stopped_run_goes_on_with_the_same_bits(there: Path, tmp_path: Path):
    chosen = plan("blobs", "selecmix", settings={"init": there, "epochs": 4})

    def stop(epoch):
        if epoch.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(chosen, tmp_path / "here", stop)
    resumed, whole = execute(chosen, tmp_path / "here"), execute(chosen, tmp_path / "whole")
    assert without_time(resumed) == without_time(whole)
    assert same(stages(tmp_path / "here"), stages(tmp_path / "whole"))


def test_every_seed_may_start_from_a_run_of_its_own(tmp_path: Path):
    for seed in (0, 1):
        execute(plan("blobs", seed=seed), tmp_path / f"there-s{seed}")
    plans = [plan("blobs", seed=seed, settings={"init": tmp_path / "there-s{seed}"} | FROZEN) for seed in (0, 1)]
    for seed, chosen in enumerate(plans):
        assert chosen.source == str(tmp_path / f"there-s{seed}")
        execute(chosen, tmp_path / f"here-s{seed}")
        assert same(stages(tmp_path / f"here-s{seed}"), stages(tmp_path / f"there-s{seed}"))
    assert plans[0].init_weights != plans[1].init_weights
    assert plans[0].setting == plans[1].setting, "they differ in their seeds alone"
    fixed = [plan("blobs", seed=seed, settings={"init": tmp_path / f"there-s{seed}"}) for seed in (0, 1)]
    assert fixed[0].setting != fixed[1].setting
    changed = dataclasses.replace(fixed[0], init_weights="0" * 16)
    assert fixed[0].setting != changed.setting, "the same folder with other weights is another setting"


def test_folders_and_labels_follow_the_method(there: Path):
    named = plan("blobs", f"erm:init={there}")
    assert folder_name(named).startswith("erm-")
    assert folder_name(named) != folder_name(plan("blobs"))


def test_it_is_no_option_to_draw_a_curve_over(there: Path, tmp_path: Path):
    found = []
    for name, settings in {"plain": {}, "started": {"init": there}}.items():
        execute(plan("blobs", settings=settings), tmp_path / name)
        found.append(runs.read(tmp_path / name))
    assert varied(found) == []


def test_the_report_says_how_to_make_it_again_and_tells_starts_apart(there: Path, tmp_path: Path):
    for name, settings in {"plain": {}, "started": {"init": there}}.items():
        execute(plan("blobs", settings=settings), tmp_path / "all" / name)
    page = unescape(write([tmp_path / "all"], tmp_path / "page.html").read_text("utf-8"))
    assert f"longcut compare blobs --methods erm --seeds 1 --set init={there}" in page
    assert f"init={there}" in page
    assert "init_weights=" in page, "in the settings"


# --- what is refused --------------------------------------------------------------------------------------------------


def test_no_run(tmp_path: Path):
    with pytest.raises(UserError, match=r"nowhere is no run folder: it has no run\.json"):
        plan("blobs", settings={"init": tmp_path / "nowhere"})


def test_an_unfinished_run(tmp_path: Path):
    with runs.Writer(tmp_path / "there", plan("blobs")) as writer:
        writer.start("print")
    with pytest.raises(UserError, match=r"the run in .*there is not finished; start it again to finish it"):
        plan("blobs", settings={"init": tmp_path / "there"})


def test_a_run_without_weights(there: Path):
    (there / runs.WEIGHTS).unlink()
    with pytest.raises(UserError, match=r"there has lost its weights\.safetensors; train it again"):
        plan("blobs", settings={"init": there})


def test_weights_that_changed_since_the_plan(there: Path, tmp_path: Path):
    chosen = plan("blobs", settings={"init": there})
    (there / runs.WEIGHTS).write_bytes((there / runs.WEIGHTS).read_bytes() + b" ")
    with pytest.raises(UserError, match=r"the weights in .*there have changed since the run was planned; plan it"):
        execute(chosen, tmp_path / "here")
    assert not (tmp_path / "here").exists()


@pytest.mark.usefixtures("pictures")
def test_inputs_of_another_kind(there: Path, tmp_path: Path):
    with pytest.raises(UserError, match=r"was trained on inputs of kind 'table', but images-8 is of kind 'image'"):
        execute(plan("small", settings={"init": there}), tmp_path / "here")


@pytest.mark.usefixtures("pictures")
def test_a_net_that_does_not_take_another_size(tmp_path: Path):
    execute(plan("small", settings={"net": "mlp:hidden=4"}), tmp_path / "there")
    with pytest.raises(
        UserError, match=r"do not fit: 1\.0\.weight is \(4, 192\) there and \(4, 432\) here; start from"
    ):
        execute(plan("large", settings={"init": tmp_path / "there"}), tmp_path / "here")


def test_stages_that_are_missing():
    net = nets.build("mlp:hidden=4", Info("toy", (4,), 2))
    with pytest.raises(
        UserError, match=r"the run in runs/x do not fit: 1\.0\.weight is missing there and \(4, 4\) here"
    ):
        backbone.begin(net, {}, "runs/x")


@pytest.mark.parametrize("what", ["vocabulary", "features", "tokenizer"])
def test_inputs_that_mean_something_else(what: str, there: Path):
    (there / "run.json").write_text(json.dumps(unsealed(there / "run.json")))
    run, info = runs.read(there), blobs().info
    (there / "inputs.json").write_text(Inputs(info, "float32", {what: ["a", "b"]}).to_json())
    assert backbone.stages(run, Inputs(info, "float32", {what: ["a", "b"]}))
    assert backbone.stages(run, Inputs(info, "float32"))
    with pytest.raises(UserError, match=rf"was trained on other {what} than blobs has, so its stages mean nothing"):
        backbone.stages(run, Inputs(info, "float32", {what: ["b", "a"]}))


def test_nobody_has_an_option_of_that_name():
    assert "init" not in {name for cls in METHODS.values() for name in cls.__init__.__annotations__}
