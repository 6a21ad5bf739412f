"""The stress test: methods on one planted shortcut after the other."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from longcut.cli import show
from longcut.cli.app import METHOD, Backend, Device, Epochs, Jobs, Json, Load, Net, Scheduler, Set, app
from longcut.cli.own import Data, Features, OwnDataCommand, load, spec_given
from longcut.cli.settings import device_of, settings_of, workers

if TYPE_CHECKING:
    from longcut.stress import Cell, Matrix


@app.command(cls=OwnDataCommand)
def stress(
    ctx: typer.Context,
    data: Data,
    features: Features = None,
    methods: Annotated[
        str, typer.Option(help=f"joined by commas, each {METHOD}; erm is trained in any case")
    ] = "erm,lff,selecmix",
    cues: Annotated[
        str | None,
        typer.Option(help="joined by commas, or by + to plant several at once (default: all of the data's kind)"),
    ] = None,
    strengths: Annotated[str, typer.Option(help="easy, medium or hard, joined by commas")] = "easy",
    seeds: Annotated[int, typer.Option(min=1, help="runs of a method on each cue; the seed also draws the data")] = 3,
    samples: Annotated[int, typer.Option(min=0, help="training samples at most; 0: all")] = 0,
    ratio: Annotated[
        float, typer.Option(min=0, max=1, help="share of the training samples of each class that conflict")
    ] = 0.02,
    jobs: Jobs = 1,
    backend: Backend = "processes",
    scheduler: Scheduler = "",
    set_: Set = None,
    net: Net = None,
    epochs: Epochs = None,
    out: Annotated[
        Path | None, typer.Option(help="folder of run folders and stress.json (default: runs/stress-DATA)")
    ] = None,
    device: Device = "auto",
    load_: Load = None,
    as_json: Json = False,
) -> None:
    """What helps against which shortcut? Plant one cue after the other, and none, and train several methods on each.

    What is already done is not done again.
    """
    from longcut import stress as stress_test
    from longcut.places import slug
    from longcut.spec import split

    shown, data = spec_given(ctx, data, features), spec_given(ctx, data)
    plans = stress_test.plans(
        data,
        load(data, 0),
        methods=split(methods),
        cues=split(cues) if cues else (),
        strengths=split(strengths),
        seeds=seeds,
        samples=samples,
        ratio=ratio,
        features=None if features == "none" else features,
        settings=settings_of(set_, net, epochs),
    )
    folder = out or Path("runs", f"stress-{slug(shown)}")
    with show.bar("runs") as progress:
        found = stress_test.run(plans, folder, workers(jobs, backend, scheduler), progress, device_of(device))
    if as_json:
        return show.print_json(found.to_dict())
    _print(found)
    show.say(
        f"The runs and stress.json are in {folder}\nA page about them: {shlex.join(['longcut', 'report', str(folder)])}"
    )


def _print(found: Matrix) -> None:
    from longcut.datasets import title_of
    from longcut.stress import DEFINITIONS

    shown = show.table("cue", *found.methods)
    for cue in found.cues:
        cells = (found.cells.get((method, cue)) for method in found.methods)
        shown.add_row(cue, *("–" if cell is None else _written(cell) for cell in cells))
    runs = max(cell.runs for cell in found.cells.values())
    head = f"{title_of(found.data)}, {runs} run{'s' * (runs != 1)} of each method"
    show.say(f"{head}, in %: worst group · conflicting · average,")
    show.say(f"and how much higher than {found.methods[0]} the conflicting (without a cue: the average) accuracy is")
    show.show(shown)
    show.say(
        "Means over seeds on the test set, after the last epoch. In brackets the 95 % interval of a paired bootstrap"
    )
    show.say("over the test samples, seeds averaged; it does not speak of the spread over training runs.")
    for name, definition in DEFINITIONS.items():
        show.say(f"  {name.replace('_', ' ')}: {definition}")


def _written(cell: Cell) -> str:
    from longcut.numbers import number
    from longcut.stress import METRICS

    scores = " · ".join(number(cell.values[name]) for name in METRICS)
    if cell.gain is None:
        return f"{scores}\n"
    value, low, high = (f"{100 * end:+.1f}" for end in (cell.gain.value, cell.gain.low, cell.gain.high))
    return f"{scores}\n{value} [{low}, {high}]"
