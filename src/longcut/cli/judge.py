"""Commands about finished runs: scores, differences, predictions, other formats, the page."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from longcut import folders
from longcut.cli import early, show
from longcut.cli.app import Device, Json, Load, RunFolder, app, located
from longcut.cli.own import NewDataCommand
from longcut.cli.settings import device_of, require_kind
from longcut.datasets import require_there
from longcut.errors import UserError
from longcut.numbers import number


def _in_order(run: Path, data: str) -> tuple[Path, str]:
    """A run and data as they were typed, or the other way round where only that makes sense."""
    if not (run / folders.RUN).exists():
        other = located(Path(data))
        if isinstance(other, Path) and (other / folders.RUN).exists():
            run, data = other, str(run)
    early.run(run)
    require_there(data)
    return run, data


@app.command()
def runs(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FOLDERS...]", callback=located, help="where to look (default: runs)"),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the runs that are there, by the names that other commands take."""
    from longcut.places import RUNS, named

    folders.find(paths or [RUNS])

    from longcut.door import Damaged
    from longcut.runs import find, read
    from longcut.tables import listed

    rows, broken = [], []
    for folder in find(paths or [RUNS]):
        try:
            rows.append({"run": named(folder), **listed(read(folder))})
        except Damaged as error:
            broken.append(error)
    if as_json:
        show.print_json(rows)
    else:
        table = show.table("run", "method", "seed", "data", "state", "average", "worst group")
        for row in rows:
            table.add_row(*(str(value) for value in row.values()))
        show.show(table)
    for error in broken:
        show.warn(f"left out: {error}")


@app.command(cls=NewDataCommand)
def evaluate(
    ctx: typer.Context,
    run: RunFolder,
    other: Annotated[str | None, typer.Argument(metavar="[DATA]", help="the same as --data")] = None,
    data: Annotated[
        str | None, typer.Option(help="other data to judge the network on (default: its own test set)")
    ] = None,
    device: Device = "auto",
    load_: Load = None,
    as_json: Json = False,
) -> None:
    """Show the scores of a run with their intervals, on its own test set or on other data."""
    if other is not None and data is not None:
        raise UserError(f"{other} and --data {data} are both given; judge the network on one after the other.")
    if data := data or other:
        run, data = _in_order(run, data)
    early.run(run)
    require_kind(device)

    from longcut.evaluate import METRICS
    from longcut.execute import rescore, with_added
    from longcut.runs import read
    from longcut.scales import scale_of

    stored = read(run)
    if data is None and (said := next((key for key, value in ctx.obj.items() if value is not None), None)):
        raise UserError(f"--{said} says how to read other data, and none is given; give --data, or leave it out.")
    scores = rescore(stored, data, device_of(device), **ctx.obj) if data else with_added(stored)
    if as_json:
        return show.print_json(scores.to_dict())
    table = show.table("metric", "value", "95 % interval", "what it is")
    hidden = scale_of(stored.record.task).hidden
    for name, value in ((name, value) for name, value in scores.values.items() if name not in hidden):
        low, high = scores.intervals[name]
        interval = "–" if math.isnan(low) else f"{low:.4g} … {high:.4g}"
        what = METRICS[name].definition if name in METRICS else "added by a file or package that is not loaded"
        table.add_row(name, "–" if math.isnan(value) else f"{value:.4g}", interval, what)
    show.show(table)
    show.print_rates(scores, stored)


@app.command()
def difference(
    run: Annotated[
        Path,
        typer.Argument(
            callback=located,
            help="run folder, folder of one method's runs, or run folders without -sSEED: all seeds",
        ),
    ],
    other: Annotated[
        Path, typer.Argument(callback=located, help="the same of another method, judged on the same test sets")
    ],
    metric: Annotated[
        str | None,
        typer.Option(help="any but those of outputs, such as ece (default: worst_group, of errors worst_group_rmse)"),
    ] = None,
    draws: Annotated[int, typer.Option(min=100, help="bootstrap resamples")] = 2000,
    load_: Load = None,
    as_json: Json = False,
) -> None:
    """Is one method better than another? Paired bootstrap over the test samples, seeds averaged."""
    for side in (run, other):
        folders.of_one_method(side)
    early.metric(metric)

    from longcut.compare import difference, seeds_of
    from longcut.evaluate import METRICS
    from longcut.scales import scale_of

    sides = seeds_of(run), seeds_of(other)
    scale = scale_of(sides[0][0].record.task)
    metric = metric or scale.judged[0]
    found = difference(*sides, metric, draws=draws)
    rows = [
        {
            "method": side[0].record.label,
            "runs": len(side),
            "value": sum(scale.of(one.scores().values, metric) for one in side) / len(side),
        }
        for side in sides
    ]
    if as_json:
        return show.print_json(
            {"definition": METRICS[metric].definition, "methods": rows, "difference": found.to_dict()}
        )
    factor, form = (100, ".1f") if scale.percent else (1, ".4g")
    table = show.table("method", "runs", metric.replace("_", " "))
    for row in rows:
        table.add_row(row["method"], str(row["runs"]), format(factor * row["value"], form))
    show.show(table)
    value, low, high = (format(factor * bound, f"+{form}") for bound in (found.value, found.low, found.high))
    show.say(
        f"Difference {value}, 95 % interval {low} … {high}, p = {found.p:.2g}: paired bootstrap over the test samples,"
        "\nseeds averaged; it does not speak of the spread over training runs.\n"
        f"{metric.replace('_', ' ')}: {METRICS[metric].definition}"
    )


@app.command()
def postprocess(
    run: Annotated[
        Path, typer.Argument(callback=located, help="run folder, of data with two classes and an attribute")
    ],
    constraint: Annotated[
        str, typer.Option(help="what is to be equal: equalized-odds, equal-opportunity or demographic-parity")
    ] = "equalized-odds",
    rule: Annotated[
        str,
        typer.Option(
            help="scores: thresholds by group, mixed at random (needs fairlearn); hardt: from predicted classes alone; "
            "threshold: one for everybody, which is not told the group"
        ),
    ] = "scores",
    loss: Annotated[
        float, typer.Option(min=0, max=1, help="accuracy that the threshold for everybody may cost, a share")
    ] = 0.02,
    seed: Annotated[int, typer.Option(min=0, help="of the predictions that are drawn, with --json")] = 0,
    device: Device = "auto",
    load_: Load = None,
    as_json: Json = False,
) -> None:
    """Make the groups of a run equal after training: fitted on its validation set, shown on its test set.

    Rules by group need the attribute of each sample that they are used on. Rates after are expected ones; the run stays
    as it is.
    """
    early.run(run)
    early.one_of("constraint", constraint, "postprocess.rules", "CONSTRAINTS")
    early.one_of("rule", rule, "postprocess.rules", "RULES")
    require_kind(device)

    from longcut.postprocess import BY_GROUP, GAPS, postprocess

    found = postprocess(run, constraint, rule=rule, loss=loss, seed=seed, device=device_of(device))
    if as_json:
        return show.print_json(found.to_dict())
    sides = found.before.to_dict(), found.after.to_dict()
    table = show.table("on the test set", "before", "after", "what it is")
    what = {"accuracy": "share of right predictions"} | GAPS
    for name, words in what.items():
        table.add_row(name.replace("_", " "), *(number(side[name]) for side in sides), words)
    for name, words in BY_GROUP.items():
        for k, group in enumerate(found.names):
            table.add_row(f"{name} of {group}", *(number(side[name][k]) for side in sides), words)
    show.show(table)
    show.say(f"In percent; {found.constraint} by rule {found.rule}, fitted on the validation set.")


@app.command(cls=NewDataCommand)
def predict(
    ctx: typer.Context,
    run: RunFolder,
    data: Annotated[
        str, typer.Argument(help="folder of images, table, or .npz file like those trained on, or a data set's name")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="CSV file to write")] = Path("predictions.csv"),
    device: Device = "auto",
    load_: Load = None,
    as_json: Json = False,
) -> None:
    """Write what the network of a run says about new samples, labelled or not."""
    run, new = _in_order(run, data)
    require_kind(device)

    from longcut.deploy import predict, write_predictions
    from longcut.runs import read

    with show.bar("files") as progress:
        frame = predict(read(run), new, device=device_of(device), progress=progress, **ctx.obj)
    path = write_predictions(frame, out)
    found: dict[str, float | None] = {"right": None}
    told = ""
    known = frame[frame["label"].notna()] if "label" in frame else frame
    them = "them" if len(known) == len(frame) else f"the {len(known)} with a known label"
    if "right" in frame:
        found["right"] = sum(known["right"]) / len(known)
        told = f", {found['right']:.1%} of {them} right,"
    elif "label" in frame:
        found["rmse"] = math.sqrt(sum((known["prediction"] - known["label"]) ** 2) / len(known))
        told = f", off by {found['rmse']:.3g} (root mean squared error{'' if known is frame else f' of {them}'}),"
    if as_json:
        return show.print_json({"predictions": str(path), "samples": len(frame), **found})
    show.say(f"{len(frame)} predictions{told} are in {path}")


@app.command()
def weights(
    run: Annotated[
        Path,
        typer.Argument(callback=located, help="folder of an audit, or of a run that found a minority: fg-ccdb, jtt, …"),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="CSV file to write")] = Path("weights.csv"),
    load_: Load = None,
    as_json: Json = False,
) -> None:
    """Write what each training sample weighs by what a run or an audit found, for any other training.

    A row holds its index (and path, of an image from a file), label, value of the shortcut (or whether it was taken for
    the minority), and weight: 1 on average.
    """
    if not (run / folders.AUDIT).exists():
        early.run(run)

    from longcut.deploy import sample_weights, write_predictions

    frame = sample_weights(run)
    path = write_predictions(frame, out)
    weight = frame["weight"].to_numpy()
    smallest, largest = float(weight.min()), float(weight.max())
    if as_json:
        found = {"weights": str(path), "samples": len(frame), "smallest": smallest, "largest": largest}
        return show.print_json(found)
    show.say(f"{len(frame)} weights, from {smallest:.3g} to {largest:.3g} and 1 on average, are in {path}")


@app.command()
def export(
    run: RunFolder,
    to: Annotated[str, typer.Option(help="onnx, torchscript or safetensors")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="file to write (default: model.onnx, .pt or .safetensors in RUN)")
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="onnx: from columns or pixels to names of classes and probabilities")
    ] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="onnx: weights of 8 bits, refused where that costs accuracy on held-out data")
    ] = False,
    card: Annotated[
        Path | None, typer.Option(help="also write a model card for the Hugging Face hub, such as README.md")
    ] = None,
    load_: Load = None,
    as_json: Json = False,
) -> None:
    """Write the network of a run in a format that other programs read."""
    early.run(run)
    early.one_of("format", to, "deploy", "FORMATS")

    from longcut.card import write_card
    from longcut.deploy import export
    from longcut.runs import read
    from longcut.serving import SCORES, about

    found = read(run)
    path = export(found, to, out, raw=raw, int8=int8)
    written = None if card is None else write_card(found, card)
    judged = {"int8": about(path)["int8"]} if int8 else {}
    if as_json:
        return show.print_json({"export": str(path), **judged, **({} if written is None else {"card": str(written)})})
    show.say(f"The network is in {path}")
    for name, (before, after) in ((name, score) for name, score in judged.get("int8", {}).items() if name in SCORES):
        show.say(f"In 8 bits, its {name.replace('_', ' ')} on held-out data is {after:.3f}; it was {before:.3f}")
    if written is not None:
        show.say(f"The card is in {written}")


@app.command()
def report(
    paths: Annotated[
        list[Path], typer.Argument(metavar="RUNS...", callback=located, help="run folders, or folders of them")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="page to write")] = Path("report.html"),
    load_: Load = None,
    as_json: Json = False,
) -> None:
    """Write one self-contained HTML page about finished runs."""
    if wrong := next((path for path in paths if path.suffix == ".html" and not path.is_dir()), None):
        raise UserError(f"{wrong} is no folder of runs; to name the page, write -o {wrong}.")
    for path in paths:
        folders.require_report(path)
    page = show.write_report(paths, out)
    if as_json:
        return show.print_json({"report": str(page)})
    show.say(f"The page: {page}")
