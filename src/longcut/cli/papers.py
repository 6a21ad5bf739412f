"""The command for the tables and figures of papers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from longcut.cli import show
from longcut.cli.app import Backend, Device, Epochs, Jobs, Json, Load, Scheduler, Set, app
from longcut.cli.claims import print_claims
from longcut.cli.own import load
from longcut.cli.queued import work_on
from longcut.cli.settings import device_of, require_cluster, require_kind, settings_of, workers
from longcut.errors import UserError, unknown


@app.command()
def reproduce(
    recipe: Annotated[
        str | None, typer.Argument(help="table or figure of a paper, such as selecmix/table1, or all")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="show what the four documents hold, and its state")] = False,
    only: Annotated[list[str] | None, typer.Option(help="data set, column or row of the table; repeatable")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="runs per cell (default: the paper's)")] = None,
    set_: Set = None,
    epochs: Epochs = None,
    out: Annotated[Path, typer.Option(help="folder of run folders")] = Path("runs/reproduce"),
    hours: Annotated[
        float | None, typer.Option(min=0, help="stop after so long, and go on from there the next time")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="print what is left and how long it takes; train nothing")
    ] = False,
    known: Annotated[list[Path] | None, typer.Option(help="results/runs.json: what ran elsewhere; repeatable")] = None,
    finished: Annotated[bool, typer.Option("--finished", help="take the runs that are there; train nothing")] = False,
    claims: Annotated[
        bool, typer.Option("--claims", help="judge what a paper claims, such as selecmix, by the runs that are there")
    ] = False,
    jobs: Jobs = 1,
    backend: Backend = "processes",
    scheduler: Scheduler = "",
    device: Device = "auto",
    load_: Load = None,
    as_json: Json = False,
) -> None:
    """Train what a paper's table or figure reports, and show our numbers beside the paper's."""
    if list_:
        return print_list(recipe, as_json)
    if recipe is None:
        raise UserError("no table or figure is named; give one, such as selecmix/table1, or --list to see all.")
    if claims:
        return print_claims(recipe, out, known or (), as_json)
    from longcut.recipes import EVERY
    from longcut.recipes.rows import usable

    require_kind(device)
    require_cluster(backend, scheduler)
    settings = settings_of(set_, None, epochs)
    usable(recipe, only or ())

    from longcut.papers import cells, draw, lacking, notes, require_data, run, table

    place = device_of(device)
    if recipe == EVERY or hours is not None or plan:
        if jobs != 1 or backend != "processes":
            raise UserError(
                "a queue trains one run at a time; leave --jobs and --backend out, and give the same command once more "
                "for each further core: they share the work."
            )
        return work_on([recipe], only or (), seeds, settings, out, hours, known or (), plan, place, as_json)
    if known:
        raise UserError(
            "--known is for a queue and for claims; give --hours, --plan or --claims with it, or leave it out."
        )
    if not finished:
        require_data(cells(recipe, only or (), seeds, settings), out, load)
    with show.bar("runs") as progress:
        how = workers(jobs, backend, scheduler), progress, settings, place, finished
        results = run(recipe, only or (), seeds, out, *how)
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
    if missing := lacking(results):
        show.say(f"Not there: {missing}.")
    if picture:
        show.say(f"The picture: {picture}")


def print_list(which: str | None, as_json: bool) -> None:
    """Tables and figures of the four documents, of one of the papers, or all, and how far each is here."""
    from longcut.papers import DOCUMENTS, STATES, listed
    from longcut.recipes import EVERY

    every = listed()
    papers = dict.fromkeys(one.name.partition("/")[0] for one in every)
    if which not in (None, EVERY, *papers):
        raise unknown("paper", str(which), [EVERY, *papers])
    chosen = DOCUMENTS if which is None else papers if which == EVERY else (which,)
    found = [one for one in every if one.name.partition("/")[0] in chosen]
    if as_json:
        return show.print_json([asdict(one) for one in found])
    shown = show.table("table or figure", "what it shows", "data", "state")
    named = ""
    for one in found:
        first = one.name != named
        name = one.name if one.recipe else f"({one.name})"
        shown.add_row(*((name, one.about) if first else ("", "")), one.data, one.state)
        named = one.name
    show.show(shown)
    if any(not one.recipe for one in found):
        show.say("In brackets is what longcut reproduce does not make.")
    for state in dict.fromkeys(one.state for one in found):
        show.say(f"{state}: {STATES[state]}.")
    if which is None:
        show.say("The papers around these four documents: longcut reproduce all --list.")
