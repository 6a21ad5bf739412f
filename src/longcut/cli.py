"""The command line: thin commands over the library, which they import when they run."""

from __future__ import annotations

import inspect
import math
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from longcut.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from longcut.data import Splits
    from longcut.record import Record
    from longcut.spec import Option

__all__ = ["app", "main"]


class _Commands(TyperGroup):
    """Says users' mistakes and interruptions in one line on stderr, with exit status 2 and 130."""

    def invoke(self, ctx: Any) -> Any:
        try:
            with warnings.catch_warnings():  # which puts back what is set here
                warnings.showwarning = lambda message, *_, **__: print(f"longcut: {message}", file=sys.stderr)
                return super().invoke(ctx)
        except UserError as error:
            print(f"longcut: {error}", file=sys.stderr)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            print("longcut: stopped; the same command goes on from where this one was.", file=sys.stderr)
            raise typer.Exit(130) from None


app = typer.Typer(
    name="longcut",
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

METHOD = "name, name@recipe or name:key=value,key=value (see longcut methods)"

Data = Annotated[
    str,
    typer.Argument(
        help="folder of images, table (.csv .tsv .parquet), arrays (.npz .safetensors), or a data set as name or "
        "name:key=value,… (see longcut datasets)"
    ),
]
OWN = "Your own data"
Label = Annotated[str | None, typer.Option(metavar="COLUMN", help="with the label", rich_help_panel=OWN)]
Attribute = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="with the suspected shortcut, if known", rich_help_panel=OWN)
]
Split = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="that says train, valid or test", rich_help_panel=OWN)
]
Image = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="with paths of images, relative to the table", rich_help_panel=OWN)
]
Text = Annotated[str | None, typer.Option(metavar="COLUMN", help="with text; several joined by +", rich_help_panel=OWN)]
Size = Annotated[
    int | None, typer.Option(help="side in pixels that images are brought to, 8 to 1024", rich_help_panel=OWN)
]
Unreadable = Annotated[str | None, typer.Option(help="images that cannot be read: refuse or skip", rich_help_panel=OWN)]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="method option or training setting; repeatable")
]
Net = Annotated[str | None, typer.Option(help="network, such as mlp:hidden=100-100-16 or resnet18:stem=cifar")]
Epochs = Annotated[int | None, typer.Option(min=1, help="passes over the training set")]
Select = Annotated[
    str, typer.Option(help="epoch that counts: last, best:METRIC (on validation), oracle or oracle:METRIC (on test)")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")]
Jobs = Annotated[int, typer.Option(min=0, help="runs at a time; 0: one per core")]
Json = Annotated[bool, typer.Option("--json", help="print JSON and nothing else")]


def main() -> None:
    """The ``longcut`` command."""
    app()


def _print_version(wanted: bool) -> None:
    if wanted:
        import longcut

        print(longcut.__version__)
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version and exit")
    ] = False,
) -> None:
    """Train classifiers that do not take the shortcut."""


# --- commands ---------------------------------------------------------------------------------------------------------


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="folder for the runs and the page")] = Path("runs/demo"),
    as_json: Json = False,
) -> None:
    """See it happen: train three methods on digits whose colour gives the label away, and write a page about it."""
    from longcut.compare import compare
    from longcut.plans import plan
    from longcut.tables import summary

    plans = [plan("colored-digits", method, seed=seed) for method in ("erm", "lff", "selecmix") for seed in range(3)]
    with _bar("runs") as progress:
        records = compare(plans, out, _cores(0), progress)
    page = _write_report([out], out / "report.html")
    if as_json:
        return _print_json({"summary": [summary(record) for record in records], "report": str(page)})
    _print_comparison(records)
    print(f"The page about it: {page}")


@app.command()
def datasets(as_json: Json = False) -> None:
    """List the data sets and their options."""
    from longcut.datasets import DATASETS
    from longcut.spec import options_of

    rows = {
        name: {
            "about": _first_line(entry.function),
            "options": _options(options_of(entry.function)),
            "training": dict(entry.training),
        }
        for name, entry in DATASETS.items()
    }
    if as_json:
        return _print_json(rows)
    table = _table("data set", "about", "options (default)")
    for name, row in rows.items():
        options = "\n".join(f"{o['name']} ({o['default']}): {o['help']}" for o in row["options"])
        table.add_row(name, row["about"], options)
    _print(table)


@app.command()
def methods(
    name: Annotated[str | None, typer.Argument(help="one method, in full")] = None, as_json: Json = False
) -> None:
    """List the methods, or show the options and recipes of one."""
    from longcut.methods import METHODS, get
    from longcut.spec import options_of

    rows = {
        cls.name: {
            "about": _first_line(cls),
            "paper": cls.paper,
            "needs": sorted(cls.needs),
            "tasks": sorted(cls.tasks),
            "options": _options(options_of(cls.__init__)),
            "training": dict(cls.training_defaults),
            "recipes": {
                key: {"why": r.why, "options": dict(r.options), "training": dict(r.training), "net": r.net}
                for key, r in cls.recipes.items()
            },
        }
        for cls in ([get(name)] if name else METHODS.values())
    }
    if as_json:
        return _print_json(rows[name] if name else rows)
    if name:
        return _print_method(name, rows[name])
    table = _table("method", "about", "needs", "recipes", "paper")
    for key, row in rows.items():
        table.add_row(key, row["about"], ", ".join(row["needs"]), ", ".join(row["recipes"]), row["paper"])
    _print(table)


@app.command()
def audit(
    data: Data,
    label: Label = None,
    attribute: Attribute = None,
    split: Split = None,
    image: Image = None,
    text: Text = None,
    size: Size = None,
    unreadable: Unreadable = None,
    model: Annotated[
        Path | None, typer.Option(metavar="RUN", help="finished run: what does the shortcut cost it?")
    ] = None,
    net: Annotated[str | None, typer.Option(help="ordinary network (default: a small one that suits the data)")] = None,
    level: Annotated[float, typer.Option(help="how often the whole audit may raise a false alarm")] = 0.05,
    limit: Annotated[int, typer.Option(min=100, help="larger data is audited by a sample of this many")] = 20_000,
    seed: Annotated[int, typer.Option(min=0, help="of everything that is drawn")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="folder for the findings and the page (default: audits/DATA)")
    ] = None,
    as_json: Json = False,
) -> None:
    """Look for a shortcut in your data: which, how strong, who contradicts it, what does it cost?"""
    from longcut.audit import audit, folder
    from longcut.datasets import load
    from longcut.plans import slug
    from longcut.runs import read

    typed = _again("audit", data, locals())
    data = _data(data, label, attribute, split, image, text, size, unreadable)
    place = out or Path("audits", slug(data))
    folder.check(place)
    run = None if model is None else read(model)
    if run is not None:
        run.scores()  # refuses, before any work, one that is not finished
    splits = _load(data, seed)
    with _bar("models") as progress:
        found = audit(splits, net=net, level=level, seed=seed, limit=limit, progress=progress)
    if run is not None:
        from longcut.audit.model import model as cost

        test = load(run.record.plan.data, run.record.plan.data_seed).test
        found = found.with_finding(cost(found.view, found.judged, run, test))
    record = folder.write(found, place, data=data, command=typed)
    page = _write_report([place], place / "report.html")
    if as_json:
        return _print_json({**record, "folder": str(place), "report": str(page)})
    _print_audit(record)
    print(f"\nThe suspected samples: {place / 'suspects.csv'}\nThe page about it: {page}")


@app.command()
def train(
    data: Data,
    label: Label = None,
    attribute: Attribute = None,
    split: Split = None,
    image: Image = None,
    text: Text = None,
    size: Size = None,
    unreadable: Unreadable = None,
    method: Annotated[str, typer.Option("--method", "-m", help=METHOD)] = "selecmix",
    set_: Set = None,
    recipe: Annotated[
        str | None, typer.Option(help="published settings of the method; the same as name@recipe")
    ] = None,
    net: Net = None,
    epochs: Epochs = None,
    seed: Annotated[int, typer.Option(min=0, help="of the data, initial weights, order and mixing")] = 0,
    select: Select = "last",
    out: Annotated[Path | None, typer.Option(help="run folder (default: runs/DATA/METHOD-sSEED)")] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Train one method, or go on with a run that was stopped."""
    from longcut.execute import execute
    from longcut.plans import folder_name, plan, slug

    data = _data(data, label, attribute, split, image, text, size, unreadable)
    chosen = plan(data, _with_recipe(method, recipe), settings=_settings(set_, net, epochs), seed=seed, select=select)
    _decode(chosen.data, chosen.data_seed)
    folder = out or Path("runs", slug(chosen.data), folder_name(chosen))
    with _bar("epochs") as progress:
        record = execute(
            chosen,
            folder,
            lambda epoch: progress(epoch.epoch, epoch.epochs),
            _device(device),
            lambda done, total: progress(done, total, "epochs of the helper"),
        )
    if as_json:
        return _print_json(record.to_dict())
    _print_comparison([record])
    print(f"The run is in {folder}")


@app.command()
def compare(
    data: Data,
    label: Label = None,
    attribute: Attribute = None,
    split: Split = None,
    image: Image = None,
    text: Text = None,
    size: Size = None,
    unreadable: Unreadable = None,
    methods: Annotated[str, typer.Option(help=f"joined by commas, each {METHOD}")] = "erm,lff,selecmix",
    seeds: Annotated[int, typer.Option(min=1, help="runs of each method; the seed also draws the data")] = 3,
    jobs: Jobs = 1,
    set_: Set = None,
    net: Net = None,
    epochs: Epochs = None,
    select: Select = "last",
    out: Annotated[Path | None, typer.Option(help="folder of run folders (default: runs/DATA)")] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Train several methods with several seeds each; what is already done is not done again."""
    from longcut.compare import compare
    from longcut.plans import plan, slug
    from longcut.spec import split as split_specs
    from longcut.tables import summary

    data = _data(data, label, attribute, split, image, text, size, unreadable)
    settings = _settings(set_, net, epochs)
    plans = [
        plan(data, method, settings=settings, seed=seed, select=select)
        for method in split_specs(methods)
        for seed in range(seeds)
    ]
    _decode(plans[0].data, plans[0].data_seed)
    folder = out or Path("runs", slug(plans[0].data))
    with _bar("runs") as progress:
        records = compare(plans, folder, _cores(jobs), progress, _device(device))
    if as_json:
        return _print_json([summary(record) for record in records])
    _print_comparison(records)
    print(f"The runs are in {folder}")


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="run folder")],
    data: Annotated[
        str | None, typer.Option(help="other data to judge the network on (default: its own test set)")
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Show the scores of a run with their intervals, on its own test set or on other data."""
    from longcut.evaluate import METRICS
    from longcut.execute import rescore
    from longcut.runs import read

    stored = read(run)
    scores = rescore(stored, data, _device(device)) if data else stored.scores()
    if as_json:
        return _print_json(scores.to_dict())
    table = _table("metric", "value", "95 % interval", "what it is")
    for name, value in scores.values.items():
        low, high = scores.intervals[name]
        interval = "–" if math.isnan(low) else f"{low:.4g} … {high:.4g}"
        what = METRICS[name].definition if name in METRICS else "added by a file or package that is not loaded"
        table.add_row(name, "–" if math.isnan(value) else f"{value:.4g}", interval, what)
    _print(table)


@app.command()
def difference(
    run: Annotated[
        Path, typer.Argument(help="run folder, folder of one method's runs, or run folders without -sSEED: all seeds")
    ],
    other: Annotated[Path, typer.Argument(help="the same of another method, judged on the same test sets")],
    metric: Annotated[str, typer.Option(help="any metric but ece and auroc")] = "worst_group",
    draws: Annotated[int, typer.Option(min=100, help="bootstrap resamples")] = 2000,
    as_json: Json = False,
) -> None:
    """Is one method better than another? Paired bootstrap over the test samples, seeds averaged."""
    from longcut.compare import difference, seeds_of
    from longcut.evaluate import METRICS

    sides = seeds_of(run), seeds_of(other)
    found = difference(*sides, metric, draws=draws)
    rows = [
        {
            "method": side[0].record.label,
            "runs": len(side),
            "value": sum(one.scores().values[metric] for one in side) / len(side),
        }
        for side in sides
    ]
    if as_json:
        return _print_json({"definition": METRICS[metric].definition, "methods": rows, "difference": found.to_dict()})
    factor, form = (100, ".1f") if sides[0][0].record.task == "classification" else (1, ".4g")
    table = _table("method", "runs", metric.replace("_", " "))
    for row in rows:
        table.add_row(row["method"], str(row["runs"]), format(factor * row["value"], form))
    _print(table)
    value, low, high = (format(factor * bound, f"+{form}") for bound in (found.value, found.low, found.high))
    print(
        f"Difference {value}, 95 % interval {low} … {high}, p = {found.p:.2g}: paired bootstrap over the test samples,"
        "\nseeds averaged; it does not speak of the spread over training runs.\n"
        f"{metric.replace('_', ' ')}: {METRICS[metric].definition}"
    )


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="run folder")],
    data: Annotated[
        str, typer.Argument(help="folder of images, table, or .npz file like those trained on, or a data set's name")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="CSV file to write")] = Path("predictions.csv"),
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Write what the network of a run says about new samples, labelled or not."""
    from longcut.deploy import predict, write_predictions
    from longcut.runs import read

    with _bar("files") as progress:
        frame = predict(read(run), data, device=_device(device), progress=progress)
    path = write_predictions(frame, out)
    right = sum(frame["right"]) / len(frame) if "right" in frame else None
    if as_json:
        return _print_json({"predictions": str(path), "samples": len(frame), "right": right})
    print(f"{len(frame)} predictions{'' if right is None else f', {right:.1%} of them right,'} are in {path}")


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="run folder")],
    to: Annotated[str, typer.Option(help="onnx, torchscript or safetensors")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="file to write (default: model.onnx, .pt or .safetensors in RUN)")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the network of a run in a format that other programs read."""
    from longcut.deploy import export
    from longcut.runs import read

    path = export(read(run), to, out)
    if as_json:
        return _print_json({"export": str(path)})
    print(f"The network is in {path}")


@app.command()
def report(
    paths: Annotated[list[Path], typer.Argument(metavar="RUNS...", help="run folders, or folders of them")],
    out: Annotated[Path, typer.Option("--out", "-o", help="page to write")] = Path("report.html"),
    as_json: Json = False,
) -> None:
    """Write one self-contained HTML page about finished runs."""
    page = _write_report(paths, out)
    if as_json:
        return _print_json({"report": str(page)})
    print(f"The page: {page}")


@app.command()
def reproduce(
    recipe: Annotated[str, typer.Argument(help="table or figure of a paper, such as selecmix/table1")],
    only: Annotated[list[str] | None, typer.Option(help="data set, column or row of the table; repeatable")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="runs per cell (default: the paper's)")] = None,
    set_: Set = None,
    epochs: Epochs = None,
    out: Annotated[Path, typer.Option(help="folder of run folders")] = Path("runs/reproduce"),
    jobs: Jobs = 1,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Train what a paper's table or figure reports, and show our numbers beside the paper's."""
    from longcut.papers import cells, draw, notes, require_data, run, table

    settings, place = _settings(set_, None, epochs), _device(device)
    require_data(cells(recipe, only or (), seeds, settings), out, _load)
    with _bar("runs") as progress:
        results = run(recipe, only or (), seeds, out, _cores(jobs), progress, settings, place)
    picture = draw(recipe, results, out)
    if as_json:
        return _print_json(results)
    head, lines = table(results)
    shown = _table(*head)
    for line in lines:
        shown.add_row(*line)
    _print(shown)
    for note in notes(recipe, results):
        print(note)
    if picture:
        print(f"The picture: {picture}")


# --- what is given ----------------------------------------------------------------------------------------------------


def _data(
    data: str,
    label: str | None,
    attribute: str | None,
    split: str | None,
    image: str | None,
    text: str | None,
    size: int | None,
    unreadable: str | None,
) -> str:
    """The canonical spec of what was typed as data and columns."""
    from longcut.datasets import parse, resolve, spec_of

    columns = {"label": label, "attribute": attribute, "split": split, "image": image, "text": text}
    return spec_of(*parse(resolve(data, **columns, size=size, unreadable=unreadable)))


def _load(data: str, seed: int) -> Splits:
    """The data set, with a bar while images are decoded for the first time, and the names of those left out."""
    from longcut.datasets import load

    with _bar("images") as progress:
        splits = load(data, seed, progress)
    source = splits.train.source
    if source is not None and source.skipped:
        listed = ", ".join(f"{name} ({why})" for name, why in source.skipped)
        print(f"longcut: left out because they cannot be read: {listed}", file=sys.stderr)
    return splits


def _decode(data: str, seed: int) -> None:
    """Read data with images once, so that its cache is made with a bar and before any run begins."""
    from longcut.datasets import DATASETS, parse

    name, options = parse(data)
    without = name in ("table", "hub") and "image" not in options
    if "progress" in inspect.signature(DATASETS[name].function).parameters and not without:
        _load(data, seed)


def _again(command: str, data: str, given: Mapping[str, Any]) -> str:
    """The command that was typed, with the options that differ from their defaults."""
    import shlex

    parameters = inspect.signature(globals()[command]).parameters
    words = ["longcut", command, data]
    for name, parameter in parameters.items():
        value = given[name]
        if name not in ("data", "as_json", "out") and value != parameter.default:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)


def _settings(given: Iterable[str] | None, net: str | None, epochs: int | None) -> dict[str, Any]:
    from longcut.spec import pairs

    settings: dict[str, Any] = pairs(given or (), "of --set ", "--set lr=0.01")
    for key, value in (("net", net), ("epochs", epochs)):
        if value is not None:
            if key in settings:
                raise UserError(f"{key} is given by --{key} and by --set; leave out one of them.")
            settings[key] = value
    return settings


def _with_recipe(method: str, recipe: str | None) -> str:
    if recipe is None:
        return method
    name, colon, own = method.partition(":")
    if "@" in name:
        raise UserError(f"the recipe is given by --recipe {recipe} and by --method {method}; leave out one of them.")
    return f"{name}@{recipe}{colon}{own}"


def _device(name: str) -> str:
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise UserError(f"device '{name}' is not there; use cpu, or auto to take a GPU where there is one.") from None
    return name


def _cores(jobs: int) -> int:
    from joblib import cpu_count

    return jobs or cpu_count()


# --- what is shown ----------------------------------------------------------------------------------------------------


def _write_report(paths: list[Path], out: Path) -> Path:
    from longcut.report import write

    return write(paths, out)


def _first_line(thing: Any) -> str:
    return (thing.__doc__ or "").partition("\n")[0].replace("``", "")


def _options(options: Iterable[Option]) -> list[dict[str, Any]]:
    return [{"name": o.name, "default": o.default, "allowed": o.allowed, "help": o.help} for o in options]


def _print_json(value: Any) -> None:
    from longcut.files import to_json

    print(to_json(value, indent=2, default=str))


def _print(renderable: Any) -> None:
    from rich.console import Console

    Console().print(renderable)


def _table(*columns: str) -> Table:
    from rich import box
    from rich.table import Table

    return Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)


def _print_method(name: str, row: Mapping[str, Any]) -> None:
    print(f"{name}: {row['about']}\n{row['paper']}\nlearns {' and '.join(row['tasks'])}")
    if row["needs"]:
        print(f"needs the {' and '.join(row['needs'])} of each training sample")
    options = _table("option", "default", "allowed", "what it is")
    for option in row["options"]:
        options.add_row(option["name"], str(option["default"]), option["allowed"], option["help"])
    recipes = _table("recipe", "what it reproduces", "sets")
    for recipe, about in row["recipes"].items():
        sets = about["options"] | about["training"] | ({"net": about["net"]} if about["net"] else {})
        recipes.add_row(recipe, about["why"], ", ".join(f"{key}={value}" for key, value in sets.items()))
    for table in (options, recipes):
        if table.row_count:
            _print(table)


def _print_audit(record: Mapping[str, Any]) -> None:
    shown = _table("check", "verdict", "found", "without", "p")
    shown.columns[0].no_wrap = True
    for finding in record["findings"]:
        numbers = (
            "–" if finding[key] is None else f"{finding[key]:.3g}" for key in ("statistic", "baseline", "p_value")
        )
        shown.add_row(finding["name"], finding["verdict"], *numbers)
    print(f"{record['headline']}\n{record['advice']}\n")
    _print(shown)
    for finding in record["findings"]:
        print(f"\n{finding['question']}\n  {finding['sentence']}")


def _print_comparison(records: list[Record]) -> None:
    from longcut.fit import rule_in_words
    from longcut.numbers import number, spread, with_spread
    from longcut.tables import COLUMNS, table

    titles = {name: name.replace("_", " ") for name in COLUMNS} | {"average": "test", "best_average": "best epoch"}
    headed: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in table(records):
        headed.setdefault((row["data"], row["selection"]), []).append(row)
    printed: dict[str, None] = {}
    for (data, selection), rows in headed.items():
        names = [name for name in COLUMNS if name != "train_weighted" or any(row[name][0] is not None for row in rows)]
        heads = (titles[name].replace(" ", "\n").replace("conf", "con-\nf") for name in names)  # fits 80 characters
        shown = _table("method", "runs", *heads)
        shown.columns[0].overflow = "fold"  # a long label is broken into lines, a number is not
        for column in shown.columns[1:]:
            column.no_wrap = True
        for row in rows:
            write = partial(number, percent=row["task"] == "classification")
            cells = [with_spread(*row[name], write=write, between="±") for name in names]  # no blanks: 80 characters
            shown.add_row(row["label"], str(row["runs"]), *cells)
        print(f"{data}, epoch chosen by: {rule_in_words(selection)}")
        _print(shown)
        printed |= dict.fromkeys(names)
    print("Mean ± standard deviation over seeds, in % for accuracies, on the test set at the epoch chosen:")
    for name in printed:
        print(f"  {titles[name]}: {COLUMNS[name]}")
    for label, found in _minorities(records).items():
        mean = {key: spread(one[key] for one in found)[0] for key in found[0]}
        known = ((key, mean[key]) for key in ("precision", "recall"))
        shares = " and ".join(f"{key} {100 * share:.0f} %" for key, share in known if share is not None)
        print(
            f"{label} took for the minority {mean['conflicting']:.0f} training samples that contradict the shortcut "
            f"and {mean['aligned']:.0f} that do not: {shares}."
        )


def _minorities(records: list[Record]) -> dict[str, list[Mapping[str, float]]]:
    """How well each method found the minority, run by run, where it looked and the truth is known."""
    found: dict[str, list[Mapping[str, float]]] = {}
    for record in records:
        if record.identification is not None:
            found.setdefault(record.label, []).append(record.identification)
    return found


@contextmanager
def _bar(unit: str) -> Iterator[Callable[..., None]]:
    """A bar with the time left, on stderr, gone when all is done; where stderr is no terminal, nothing.

    What it yields is told how many are done, of how many, and if need be of what.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), TextColumn("left"))
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda done, total, of=unit: bar.update(
            task, completed=done, total=total, description=f"{done:.4g}/{total} {of}"
        )
