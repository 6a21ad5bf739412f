"""The command for the tables and figures of papers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from longcut.cli import show
from longcut.cli.app import Backend, Device, Epochs, Jobs, Json, Load, Scheduler, Set, app
from longcut.cli.own import load
from longcut.cli.settings import device_of, settings_of, workers


@app.command()
def reproduce(
    recipe: Annotated[str, typer.Argument(help="table or figure of a paper, such as selecmix/table1")],
    only: Annotated[list[str] | None, typer.Option(help="data set, column or row of the table; repeatable")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="runs per cell (default: the paper's)")] = None,
    set_: Set = None,
    epochs: Epochs = None,
    out: Annotated[Path, typer.Option(help="folder of run folders")] = Path("runs/reproduce"),
    jobs: Jobs = 1,
    backend: Backend = "processes",
    scheduler: Scheduler = "",
    device: Device = "auto",
    load_: Load = None,
    as_json: Json = False,
) -> None:
    """Train what a paper's table or figure reports, and show our numbers beside the paper's."""
    from longcut.papers import cells, draw, notes, require_data, run, table

    settings, place = settings_of(set_, None, epochs), device_of(device)
    require_data(cells(recipe, only or (), seeds, settings), out, load)
    with show.bar("runs") as progress:
        results = run(recipe, only or (), seeds, out, workers(jobs, backend, scheduler), progress, settings, place)
    picture = draw(recipe, results, out)
    if as_json:
        return show.print_json(results)
    head, lines = table(results)
    shown = show.table(*head)
    for line in lines:
        shown.add_row(*line)
    show.show(shown)
    for note in notes(recipe, results):
        show.say(note)
    if picture:
        show.say(f"The picture: {picture}")
