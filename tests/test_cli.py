from __future__ import annotations

import json
import re
import resource
import statistics
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import pytest
from helpers import entry_of, unsealed
from pydantic import Field
from typer.testing import CliRunner, Result

import longcut
from longcut import runs
from longcut.cli import app, show
from longcut.cli.own import typed
from longcut.datasets import DATASETS, Entry
from longcut.errors import UserError
from longcut.evaluate import METRICS
from longcut.files import to_json
from longcut.methods import METHODS

FAST = ("--epochs", "1", "--device", "cpu")


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def call(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def printed(*arguments: str | Path) -> str:
    result = call(*arguments)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def printed_json(*arguments: str | Path) -> Any:
    result = call(*arguments, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    return json.loads(result.stdout)


def refused(*arguments: str | Path) -> str:
    """The one line on stderr of a call that ends with status 2 and writes nothing."""
    assert Path.cwd() != Path(__file__).parents[1], "other tests may write here: begin in_an_empty_folder"
    before = sorted(Path.cwd().rglob("*"))
    result = call(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert sorted(Path.cwd().rglob("*")) == before
    (line,) = result.stderr.splitlines()
    assert line.startswith("longcut: ")
    return line.removeprefix("longcut: ")


# --- what it costs to ask ---------------------------------------------------------------------------------------------


def test_the_command_line_imports_nothing_heavy():
    code = "import json, sys, longcut.cli; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = {name.split(".")[0] for name in json.loads(done.stdout)}
    assert "typer" in modules
    assert not modules & {"torch", "numpy", "sklearn", "pydantic", "joblib", "matplotlib", "jinja2"}


def test_help_answers_in_half_a_second():
    """Of processor time: how long one waits also depends on what else the machine is doing."""
    seconds = []
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-m", "longcut", "--help"], capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert "compare" in done.stdout
    assert min(seconds) < 0.5


def test_progress_without_a_terminal_is_a_line_every_ten_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(show, "EVERY", 10.0)
    now = 100.0
    told = show.lines("models", lambda: now)
    for seconds, done in ((1, 1), (11, 2), (20, 4), (21, 4.5), (31, 12)):
        now = 100.0 + seconds
        told(done, 12)  # the first may have been done before: what counts is how it goes on
    now = 135.0
    told(0, 3, "images")  # something else: its speed is its own
    now = 141.0
    told(1, 3, "images")
    assert capsys.readouterr().err.splitlines() == [
        "longcut: 2/12 models, about 2 min left",
        "longcut: 4/12 models, about 43 s left",
        "longcut: 12/12 models",
        "longcut: 1/3 images, about 12 s left",
    ]
    assert show.duration(90) == "2 min"


def test_the_command_of_an_audit_can_be_typed_again(monkeypatch: pytest.MonkeyPatch):
    seen: list[str] = []

    def stop(ctx: Any) -> None:
        seen.append(typed(ctx))
        raise UserError("enough")

    monkeypatch.setattr("longcut.cli.explore.spec_given", lambda ctx, data, features: stop(ctx))
    for words in ("longcut audit colored-digits --quick", "longcut audit colored-digits --column a --column b"):
        assert refused(*words.split()[1:]) == "enough"
        assert seen.pop() == words  # nothing else is said, and a flag takes no value
    assert refused("audit", "colored-digits") == "enough"
    assert seen == ["longcut audit colored-digits"]


def test_a_bar_where_stderr_is_no_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(show, "EVERY", 0.0)
    with show.bar("runs") as progress:
        progress(1, 4)  # may have been done before
        progress(2, 4)
    first, second = capsys.readouterr().err.splitlines()
    assert first == "longcut: 1/4 runs" and second.startswith("longcut: 2/4 runs, about")


def test_version():
    assert printed("--version").strip() == longcut.__version__


@pytest.mark.parametrize(
    "command",
    [
        "demo",
        "datasets",
        "methods",
        "audit",
        "train",
        "compare",
        "difference",
        "evaluate",
        "predict",
        "export",
        "report",
        "reproduce",
    ],
)
def test_every_command_has_help_and_json(command: str):
    text = printed(command, "--help")
    assert "--json" in text


# --- listing ----------------------------------------------------------------------------------------------------------


def test_methods_are_listed():
    text = printed("methods")
    for name, method in METHODS.items():
        assert name in text
        assert method.paper.split(",")[0] in text
    listed = printed_json("methods")
    assert listed.keys() == METHODS.keys()
    assert listed["lisa"]["needs"] == ["attribute"]


def test_one_method_in_full():
    text = printed("methods", "lff")
    for word in (METHODS["lff"].paper, "decay", "0.7", "at least 0 and below 1", "paper", "scale=code"):
        assert word in text
    one = printed_json("methods", "lff")
    option = {"name": "scale", "default": "paper", "allowed": "paper or code"}
    assert option.items() <= next(o for o in one["options"] if o["name"] == "scale").items()
    assert one["recipes"]["paper"]["options"] == {"scale": "code"}
    assert "attribute of each training sample" in printed("methods", "lisa")
    known = ", ".join(sorted(METHODS))
    assert refused("methods", "lfff").startswith(f"unknown method 'lfff': did you mean 'lff'? Known: {known}.")


def test_data_sets_are_listed():
    text = printed("datasets")
    for name in DATASETS:
        assert name in text
    option, noise = printed_json("datasets")["colored-digits"]["options"]
    assert noise["name"] == "noise"
    assert (option["name"], option["default"], option["allowed"]) == ("ratio", 0.05, "a number from 0 to 0.9")


# --- training ---------------------------------------------------------------------------------------------------------


def plain(stored: Any) -> Any:
    return json.loads(to_json(stored.to_dict()))


def test_train_evaluate_and_train_again():
    text = printed("train", "colored-digits:ratio=0.02", "--method", "erm", "--seed", "3", *FAST)
    folder = Path("runs/colored-digits-ratio=0.02/erm-s3")
    assert str(folder) in text
    assert "worst" in text
    record = runs.read(folder).record
    assert record.plan.training.epochs == 1
    average = record.scores.test.values["average"]
    assert f"{100 * average:.1f}" in text
    assert printed_json("train", "colored-digits:ratio=0.02", "--method", "erm", "--seed", "3", *FAST) == plain(record)
    assert f"{average:.4g}" in printed("evaluate", folder)
    assert printed_json("evaluate", folder) == plain(record.scores.test)
    assert printed_json("evaluate", folder, "--data", "colored-digits:ratio=0.02") == plain(record.scores.test)
    assert printed_json("evaluate", folder, "--data", "colored-digits:ratio=0.9")["n"] == 600


def test_settings_from_every_side():
    record = printed_json(
        "train", "colored-digits", "-m", "lff:q=0.5", "--recipe", "paper", "--set", "decay=0.6", "--set", "lr=0.01",
        "--net", "mlp:hidden=8", "--select", "best:worst_group", "--out", "run", *FAST,
    )  # fmt: skip
    plan = record["plan"]
    assert plan["options"] == {"q": 0.5, "decay": 0.6, "scale": "code"}
    assert (plan["training"]["lr"], plan["net"], plan["select"]) == (0.01, "mlp:hidden=8", "best:worst_group")
    assert plan["label"] == "lff@paper:q=0.5"


def test_compare_and_go_on():
    arguments = ("compare", "colored-digits", "--methods", "erm,lff:q=0.5,decay=0.6", "--seeds", "2", "--out", "out")
    rows = printed_json(*arguments, *FAST)
    assert rows == json.loads(Path("out/summary.json").read_text())
    assert [(row["method"], row["seed"]) for row in rows] == [("erm", 0), ("erm", 1), ("lff", 0), ("lff", 1)]
    assert rows[2]["options"] == {"q": 0.5, "decay": 0.6}
    text = printed(*arguments, *FAST)
    assert "lff:q=0.5,decay=0.6" in text
    assert "±" in text
    assert "oracle" in text


def test_the_table_says_the_rule_and_every_column():
    arguments = ("train", "colored-digits", "-m", "erm", "--select", "oracle:worst_group", "--out", "run", *FAST)
    text = printed(*arguments)
    assert "epoch chosen by: oracle: best worst group on test" in text
    for line in ("worst group: accuracy of the worst group, a (label,", "train weighted: mean of the groups'"):
        assert line in text
    assert json.loads(Path("run/run.json").read_text())["plan"]["select"] == "oracle:worst_group"


def test_the_table_fits_eighty_characters(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = printed("compare", "colored-digits", "--methods", "erm", "--seeds", "2", "--out", "out", *FAST)
    row = next(line for line in text.splitlines() if line.strip().startswith("erm"))
    assert len(re.findall(r"\d+\.\d±\d+\.\d", row)) == 6
    assert "…" not in row


def test_difference_of_two_methods():
    settings = ("--net", "mlp:hidden=8", "--set", "lr=0.01", *FAST)
    printed("compare", "colored-digits", "--methods", "erm,lff", "--seeds", "2", "--out", "out", *settings)
    told = printed_json("difference", "out/erm", "out/lff", "--metric", "average", "--draws", "300")
    mean = [
        statistics.fmean(runs.read(f"out/{method}-s{seed}").scores().values["average"] for seed in range(2))
        for method in ("erm", "lff")
    ]
    assert told["methods"] == [
        {"method": "erm", "runs": 2, "value": pytest.approx(mean[0])},
        {"method": "lff", "runs": 2, "value": pytest.approx(mean[1])},
    ]
    found = told["difference"]
    assert found["value"] == pytest.approx(mean[0] - mean[1], abs=1e-6)
    assert found["low"] <= found["value"] <= found["high"]
    assert told["definition"] == METRICS["average"].definition
    itself = printed_json("difference", "out/erm-s0", "out/erm-s0")["difference"]
    assert itself == {"metric": "worst_group", "value": 0, "low": 0, "high": 0, "p": 1}
    text = printed("difference", "out/erm", "out/lff", "--metric", "train_weighted")
    assert "Difference " in text
    assert "95 % interval" in text
    assert METRICS["train_weighted"].definition in text.replace("\n", " ")
    line = refused("difference", "out/erm-s0", "out/lff-s1")
    assert line.startswith("erm and lff were not judged on the same test sets (the data fingerprints")
    line = refused("difference", "out", "out/lff")
    assert line.startswith("out holds runs of 2 settings (erm, lff); name one run, or the runs of one method")
    assert refused("difference", "out/erm", "out/lff", "--metric", "ece").startswith("ece is no mean of per-sample")
    assert refused("difference", "out/jtt", "out/lff").startswith("there is no run at or below out/jtt")
    printed("report", "out", "-o", "page.html")
    assert "Beside ERM" in Path("page.html").read_text()


def test_a_run_from_when_balanced_meant_the_mean_of_the_groups():
    printed("train", "colored-digits", "-m", "erm", "--out", "run", *FAST)
    now = printed_json("evaluate", "run")["values"]
    for path in map(Path, ("run/run.json", "run/history.jsonl")):
        text = re.sub(r'"balanced": [^\[{]*?,|"balanced": \[.*?\],', "", path.read_text(), flags=re.DOTALL)
        path.write_text(text.replace('"group_mean"', '"balanced"'))
    Path("run/run.json").write_text(json.dumps(unsealed(Path("run/run.json"))))
    before = printed_json("evaluate", "run")["values"]
    assert before == now, "the balanced accuracy of today is measured on the predictions that were kept"
    row = runs.read("run").history()[0]["test"]
    assert "balanced" not in row
    assert row["group_mean"] > 0


def test_a_metric_that_a_file_added_is_shown_without_the_file():
    printed("train", "colored-digits", "-m", "erm", "--out", "run", *FAST)
    path = Path("run/run.json")
    path.write_text(json.dumps(unsealed(path)).replace('"auroc"', '"brier"'))
    lines = " ".join(printed("evaluate", "run").split())
    assert re.search(r"brier [\d.]+ [\d.]+ … [\d.]+ added by a file or package that is not loaded", lines)


@pytest.mark.slow
def test_the_demo(monkeypatch: pytest.MonkeyPatch):
    quick = Entry(DATASETS["colored-digits"].target, {"epochs": 1, "net": "mlp:hidden=8"})
    monkeypatch.setitem(DATASETS.own, "colored-digits", quick)
    monkeypatch.setattr("joblib.cpu_count", lambda: 1)
    text = printed("demo", "--out", "demo")
    assert Path("demo/report.html").is_file()
    assert "demo/report.html" in text
    for word in ("erm", "lff", "selecmix", "worst"):
        assert word in text
    written = []
    monkeypatch.setattr("longcut.report.write", lambda paths, out: written.append(paths) or out)
    again = printed_json("demo", "--out", "demo")
    assert again["report"] == "demo/report.html"
    assert [row["method"] for row in again["summary"]] == ["erm"] * 3 + ["lff"] * 3 + ["selecmix"] * 3
    assert printed_json("report", "demo/erm-s0", "demo/lff-s1", "-o", "page.html") == {"report": "page.html"}
    assert written == [[Path("demo")], [Path("demo/erm-s0"), Path("demo/lff-s1")]]


def test_reproduce_shows_ours_beside_the_published(monkeypatch: pytest.MonkeyPatch):
    cell = {"row": "SelecMix", "data": "digits", "column": "0.5%", "note": "a word of warning"}
    cell |= {"published": 70.0, "published_sd": 0.5, "last": 71.25, "last_sd": None, "best": 72.0, "best_sd": 1.0}
    cell |= {"spans": False, "near": True, "epochs": 2, "seeds": 1}
    asked = []
    monkeypatch.setattr("longcut.papers.run", lambda *arguments: asked.append(arguments) or [cell])
    monkeypatch.setattr("longcut.papers.require_data", lambda *_: None)
    arguments = (
        "reproduce",
        "selecmix/table1",
        "--only",
        "0.5%",
        "--only",
        "V+SelecMix",
        "--seeds",
        "1",
        "--epochs",
        "2",
        "--device",
        "cpu",
    )
    text = printed(*arguments, "--jobs", "3", "--set", "lr=0.1")
    for word in ("SelecMix", "digits 0.5%", "70.00 ± 0.50", "71.25", "72.00 ± 1.00", "no", "yes", "a word of warning"):
        assert word in text
    assert "sample standard deviation over seeds" in text
    recipe, only, seeds, out, jobs, _, settings, device, finished = asked[0]
    assert (recipe, only, seeds, out, jobs) == ("selecmix/table1", ["0.5%", "V+SelecMix"], 1, Path("runs/reproduce"), 3)
    assert (settings, device, finished) == ({"lr": "0.1", "epochs": 2}, "cpu", False)
    assert printed_json(*arguments) == [cell]


def test_reproduce_lists_all_that_is_shown():
    found = printed_json("reproduce", "--list")
    (one,) = (row for row in found if (row["name"], row["data"]) == ("selecmix/table1", "bffhq"))
    assert (one["state"], one["recipe"]) == ("data not reachable", True)
    text = printed("reproduce", "--list")
    assert "selecmix/table1" in text and "(jm1/figures5-8)" in text and "run shorter: trained here with fewer" in text
    assert refused("reproduce").startswith("no table or figure is named; give one, such as selecmix/table1, or --list")


def test_reproduce_names_the_picture_of_a_figure(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("longcut.papers.require_data", lambda *_: None)
    monkeypatch.setattr("longcut.papers.run", lambda *arguments: [])
    monkeypatch.setattr("longcut.papers.draw", lambda recipe, results, out: out / "figure.svg")
    assert "The picture: pictures/figure.svg" in printed("reproduce", "selecmix/figure3", "--out", "pictures")
    assert printed_json("reproduce", "selecmix/figure3", "--out", "pictures") == []


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train colored-digts", "unknown data set 'colored-digts': did you mean 'colored-digits'"),
        ("train colored-digits:ratio=2", "colored-digits: ratio=2 is not allowed; give a number from 0 to 0.9."),
        ("train colored-digits:ration=0.1", "unknown option of colored-digits 'ration': did you mean 'ratio'"),
        ("train colored-digits -m slecmix", "unknown method 'slecmix': did you mean 'selecmix'"),
        ("compare colored-digits --methods erm,lf", "unknown method 'lf': did you mean 'lff'"),
        ("train colored-digits -m lff --recipe papr", "unknown recipe of lff 'papr': did you mean 'paper'"),
        ("train colored-digits -m lff@paper --recipe paper", "the recipe is given by --recipe paper and by --method"),
        ("train colored-digits -m lff --set qq=1", "unknown setting of lff 'qq': did you mean 'q'"),
        ("train colored-digits -m lff --set q=7", "method 'lff': q=7 is not allowed; give a number above 0"),
        ("train colored-digits --set lr", "'lr' of --set is not key=value; write --set lr=0.01."),
        ("train colored-digits --set lr=1 --set lr=2", "'lr=2' of --set is given twice; write --set lr=0.01."),
        ("train colored-digits --epochs 3 --set epochs=2", "epochs is given by --epochs and by --set; leave out"),
        ("train colored-digits --net mpl", "unknown net 'mpl': did you mean 'mlp'"),
        ("train colored-digits --net resnet18:stem=x", "net 'resnet18': stem=x is not allowed; give cifar or imagenet"),
        ("train colored-digits --select best:worst", "unknown metric 'worst'"),
        (
            "train colored-digits --device gpu",
            "device 'gpu' is not there; use cpu, or auto to take a GPU where there is",
        ),
        ("train colored-digits --out /dev/null/run", "cannot write to /dev/null/run ("),
        ("evaluate nowhere", "nowhere is no run folder: it has no run.json; name a folder that a run was written to."),
        ("report nowhere", "there is no run and no audit at or below nowhere; name folders that they were written to."),
        ("reproduce selecmix/table9", "unknown recipe 'selecmix/table9': did you mean 'selecmix/table"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(arguments: str, message: str):
    assert refused(*arguments.split()).startswith(message)
    if arguments.startswith(("train", "compare")):
        assert refused(*arguments.split(), "--json").startswith(message)


def test_an_out_that_is_not_ours_is_refused():
    Path("photos").mkdir()
    Path("photos/cat.png").touch()
    for command, kind in (("train", "a run"), ("compare", "a folder of runs")):
        message = f"photos exists and is neither empty nor {kind}; choose a new or empty folder."
        assert refused(command, "colored-digits", "--out", "photos") == message
    message = "photos exists and is neither empty nor a folder of runs; choose a new or empty folder."
    assert refused("demo", "--out", "photos") == message


def test_another_run_in_the_folder_is_refused():
    printed("train", "colored-digits", "-m", "erm", "--out", "run", *FAST)
    line = refused("train", "colored-digits", "-m", "erm", "--out", "run", "--set", "lr=0.1", *FAST)
    assert line == "run holds another run (lr 0.002 instead of 0.1); choose another folder, or delete that one."


def test_a_newer_run_folder_is_refused():
    printed("train", "colored-digits", "-m", "erm", "--out", "run", *FAST)
    record = json.loads(Path("run/run.json").read_text())
    Path("run/run.json").write_text(json.dumps(record | {"schema": runs.SCHEMA + 1}))
    for arguments in (("evaluate", "run"), ("report", "run"), ("train", "colored-digits", "--out", "run")):
        assert refused(*arguments).startswith("run was written by a newer longcut (run schema 4, this one knows 3);")


def test_a_second_writer_is_refused():
    from longcut.plans import plan

    planned = plan("colored-digits", "erm", settings={"epochs": 1})
    with runs.Writer("run", planned) as writer:
        writer.start("")
        line = refused("train", "colored-digits", "-m", "erm", "--out", "run", *FAST)
    assert line == "another process is writing run; wait until it is done, or choose another folder."


def test_a_loss_that_is_no_number_leaves_nothing_half_written():
    line = refused("train", "colored-digits", "-m", "erm", "--set", "lr=1e30", "--out", "run", *FAST)
    assert line.startswith("the loss stopped being a finite number in epoch 1, step ")
    assert line.endswith("lower the learning rate (lr=1e+30) or check the inputs.")


def test_a_key_press_ends_with_130_and_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("longcut.execute.execute", interrupted)
    result = call("train", "colored-digits")
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr == "longcut: stopped; the same command goes on from where this one was.\n"


def test_a_bug_is_not_dressed_up_as_a_mistake(monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("longcut.execute.execute", broken)
    with pytest.raises(ZeroDivisionError):
        call("train", "colored-digits")


def test_a_warning_of_a_data_set_is_a_sentence_and_nothing_is_left_behind(monkeypatch: pytest.MonkeyPatch):
    before = warnings.showwarning
    load = DATASETS["colored-digits"].function

    def doubtful(*, ratio: Annotated[float, Field(description="share")] = 0.05, seed: int = 0):
        warnings.warn("some images are missing", stacklevel=1)
        return load(ratio=ratio, seed=seed)

    monkeypatch.setitem(DATASETS.own, "doubtful", entry_of(function=doubtful, training={}, options={}))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        ran = CliRunner().invoke(app, ["train", "doubtful", "--method", "erm", *FAST])
        assert ran.exit_code == 0
        assert "longcut: some images are missing\n" in ran.stderr
        assert warnings.showwarning is not None
    assert warnings.showwarning is before


def test_what_a_method_says_of_its_run_stands_below_the_table(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(METHODS["erm"], "remarks", lambda self: ["chose [b] <i>."])
    text = printed("train", "colored-digits", "--method", "erm:record=online", *FAST)
    assert "\nerm:record=online: chose [b] <i>.\nThe run is in" in text


def test_how_well_the_minority_was_found_is_said():
    text = printed("train", "colored-digits", "--method", "jtt:helper_epochs=2", *FAST)
    found = re.search(r"took for the minority (\d+) training samples that contradict the shortcut and (\d+) that", text)
    assert found is not None
    record = printed_json("train", "colored-digits", "--method", "jtt:helper_epochs=2", *FAST)["identification"]
    assert [int(found[1]), int(found[2])] == [record["conflicting"], record["aligned"]]
    assert f"precision {100 * record['precision']:.0f} % and recall {100 * record['recall']:.0f} %." in text
