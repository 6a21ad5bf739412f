"""Commands that look: the demo, what there is, the audit."""

from __future__ import annotations

import math
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from longcut.cli import early, show
from longcut.cli.app import Json, Load, app, located
from longcut.cli.own import Data, Features, OwnDataCommand, load, spec_given, typed
from longcut.cli.settings import cores
from longcut.errors import UserError

if TYPE_CHECKING:
    from longcut.data import Dataset


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
    with show.bar("runs") as progress:
        records = compare(plans, out, cores(0), progress)
    page = show.write_report([out], out / "report.html")
    if as_json:
        return show.print_json({"summary": [summary(record) for record in records], "report": str(page)})
    show.print_comparison(records)
    show.say(f"The page about it: {page}")


@app.command()
def datasets(load_: Load = None, as_json: Json = False) -> None:
    """List the data sets and their options."""
    from longcut.datasets import DATASETS
    from longcut.spec import options_of

    rows = {
        name: {
            "about": show.first_line(entry.function),
            "options": show.options(options_of(entry.function)),
            "training": dict(entry.training),
        }
        for name, entry in DATASETS.items()
    }
    if as_json:
        return show.print_json(rows)
    table = show.table("data set", "about", "options (default)")
    for name, row in rows.items():
        options = "\n".join(f"{o['name']} ({o['default']}): {o['help']}" for o in row["options"])
        table.add_row(name, row["about"], options)
    show.show(table)


@app.command()
def methods(
    name: Annotated[str | None, typer.Argument(help="one method, in full")] = None,
    load_: Load = None,
    as_json: Json = False,
) -> None:
    """List the methods, or show the options and recipes of one."""
    if name:
        early.names(name)

    from longcut.methods import METHODS
    from longcut.spec import options_of

    rows = {
        cls.name: {
            "about": show.first_line(cls),
            "paper": cls.paper,
            "needs": sorted(cls.needs),
            "tasks": sorted(cls.tasks),
            "options": show.options(options_of(cls.__init__)),
            "training": dict(cls.training_defaults),
            "recipes": {
                key: {"why": r.why, "options": dict(r.options), "training": dict(r.training), "net": r.net}
                for key, r in cls.recipes.items()
            },
        }
        for cls in ([METHODS.find(name)] if name else METHODS.values())
    }
    if as_json:
        return show.print_json(rows[name] if name else rows)
    if name:
        return show.print_method(name, rows[name])
    table = show.table("method", "about", "needs", "recipes", "paper")
    for key, row in rows.items():
        table.add_row(key, row["about"], ", ".join(row["needs"]), ", ".join(row["recipes"]), row["paper"])
    show.show(table)


@app.command(cls=OwnDataCommand)
def embed(
    ctx: typer.Context,
    data: Data,
    with_: Annotated[
        str, typer.Option("--with", metavar="NET", help="pretrained net, such as efficientnet-lite0 or minilm")
    ] = "efficientnet-lite0",
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="file to write: .npz, .parquet, .safetensors, or .npy with a table beside it"),
    ] = Path("features.npz"),
    seed: Annotated[int, typer.Option(min=0, help="of what is drawn, such as parts")] = 0,
    load_: Load = None,
    as_json: Json = False,
) -> None:
    """Write the features that a pretrained net makes of images or texts, for this and other programs.

    Features are made once and kept in the cache; a process that is stopped goes on where it was.
    """
    from longcut.datasets.store import check, reading, write_features

    check(out)
    splits = load(spec_given(ctx, data, with_), seed)
    write_features(splits, out)
    parts = [part for part in (splits.train, splits.valid, splits.test) if part is not None]
    samples, width = sum(map(len, parts)), splits.info.shape[0]
    if as_json:
        return show.print_json(
            {"features": str(out), "samples": samples, "width": width, "encoder": splits.info.encoder}
        )
    show.say(f"{width} features of each of {samples:,} samples are in {out}\nTo read them: {reading(out, splits)}")


@app.command(cls=OwnDataCommand)
def audit(
    ctx: typer.Context,
    data: Data,
    features: Features = None,
    model: Annotated[
        Path | None, typer.Option(metavar="RUN", callback=located, help="finished run: what does the shortcut cost it?")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="is it a shortcut: read from the input, telling of the label, new elsewhere? repeatable; or all"
        ),
    ] = None,
    fail_on: Annotated[
        Literal["alarm", "notice"] | None,
        typer.Option(help="end with status 1 where the verdict is that or graver; with --baseline: and is worse"),
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(metavar="AUDIT", help="folder of an earlier audit: what has changed since?")
    ] = None,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="also write the findings as JUnit XML")] = None,
    net: Annotated[str | None, typer.Option(help="ordinary network (default: a small one that suits the data)")] = None,
    level: Annotated[
        float, typer.Option(min=0, max=1, help="how often the whole audit may raise a false alarm")
    ] = 0.05,
    limit: Annotated[int, typer.Option(min=100, help="larger data is audited by a sample of this many")] = 20_000,
    seed: Annotated[int, typer.Option(min=0, help="of everything that is drawn")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="folder for the findings and the page (default: audits/DATA)")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="look at less: 5,000 samples, models of two folds")] = False,
    load_: Load = None,
    as_json: Json = False,
) -> None:
    """Look for a shortcut in your data: which, how strong, who contradicts it, what does it cost?"""
    from longcut import datasets
    from longcut.audit import audit, folder
    from longcut.audit.baseline import compare as since
    from longcut.audit.baseline import failing
    from longcut.audit.junit import write as write_junit
    from longcut.audit.kept import forget
    from longcut.audit.model import check_features
    from longcut.audit.model import model as cost
    from longcut.datasets.reread import inputs_of
    from longcut.places import AUDITS
    from longcut.places import place as usual
    from longcut.runs import read

    compare = typed(ctx, "compare")
    data = spec_given(ctx, data, features)
    place = out or usual(AUDITS, data)
    folder.check(place)
    then = None if baseline is None else folder.read(baseline)[0]  # before it is replaced, where it is the same
    run = None if model is None else read(model)
    if run is not None:
        run.scores()  # refuses, before any work, one that is not finished
        if run.record.task == "regression":
            raise UserError(f"the run in {model} is a regression; --model needs a run with classes, leave it out.")
    splits = load(data, seed)
    if run is not None:
        check_features(run, inputs_of(run).info.encoder, splits.info.encoder)
    settings = {"net": net, "level": level, "seed": seed, "limit": limit, "columns": column or (), "quick": quick}
    said = {} if as_json else {"foreseen": show.say_effort, "ended": show.say_finding}
    with show.bar("models") as progress:
        found = audit(splits, **settings, folder=place, progress=progress, **said)
    if run is not None:
        test = datasets.load(run.record.plan.data, run.record.plan.data_seed).test
        found = found.with_finding(cost(found.view, found.judged, run, test))
    found = replace(found, compare=compare)
    record = folder.write(found, place, data=data, command=typed(ctx), then=then)
    page = show.write_report([place], place / "report.html")
    forget(place)
    changed = None if then is None else since(then, record)
    if junit is not None:
        write_junit(record, failing(record, fail_on or "alarm", changed), junit)
    if as_json:
        show.print_json({**record, "folder": str(place), "report": str(page)})
    else:
        show.print_audit(record)
        if changed is not None:
            show.print_changes(changed)
        if record["task"] == "classification":
            _print_advice(record, splits.train, place, compare)
        show.say(f"\nThe suspected samples: {place / 'suspects.csv'}\nThe page about it: {page}")
    if fail_on is not None and failing(record, fail_on, changed):
        raise typer.Exit(1)


def _print_advice(record: dict[str, Any], train: Dataset, place: Path, compare: str) -> None:
    """What to do; where all attributes are known, none need be looked up, but they may be confounded."""
    import torch

    from longcut.lookup.advice import advise

    advice = advise(record, kind=train.info.kind, wide=math.prod(train.info.shape), compare=compare)
    if train.attribute is not None and train.known.all():
        cells = torch.stack([train.label, train.attribute]).unique(dim=1).numpy()
        known = advise(record, answered=len(train), cells=cells)
        if known.kind == "look-up" == advice.kind:
            return
        advice = known if known.kind == "change" else advice
    show.say(f"\n{advice.sentence}")
    if advice.kind == "look-up":
        show.say(
            f"To see whose attribute that is: {shlex.join(['longcut', 'annotate', str(place)])} --values ONE,OTHER"
        )
