"""The command that asks: whose attribute is worth looking up."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from longcut import folders
from longcut.cli import early, show
from longcut.cli.app import Json, Load, app, located


@app.command()
def annotate(
    found: Annotated[Path, typer.Argument(metavar="AUDIT|RUN", callback=located, help="folder of an audit or a run")],
    budget: Annotated[int, typer.Option(min=1, help="how many samples to look up")] = 100,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="folder for the table and the page (default: look-up/NAME)")
    ] = None,
    answers: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="answers of an earlier round; repeatable")
    ] = None,
    values: Annotated[
        str | None, typer.Option(help="of the attribute, joined by commas (default: the data's, or those answered)")
    ] = None,
    attribute: Annotated[str, typer.Option(help="what the attribute is called on the page")] = "attribute",
    rule: Annotated[
        str, typer.Option(help="who is asked: suspicion, margin, diversity, cells or random")
    ] = "suspicion",
    seed: Annotated[int, typer.Option(min=0, help="of what is drawn by lot")] = 0,
    load_: Load = None,
    as_json: Json = False,
) -> None:
    """Write the samples whose attribute is worth looking up, and a page to do it."""
    early.audits(found, folders.require_either)
    early.one_of("rule", rule, "lookup.rules", "RULES")

    import shlex

    from longcut.annotate import ANSWERS, PAGE, TABLE, write
    from longcut.annotate import annotate as choose

    declared = [value.strip() for value in (values or "").split(",") if value.strip()]
    with show.bar("images") as progress:
        chosen = choose(
            found, budget=budget, answers=answers or (), values=declared, rule=rule, seed=seed, progress=progress
        )
    folder = write(chosen, out or Path("look-up", found.resolve().name), attribute)
    if as_json:
        return show.print_json({**chosen.to_dict(), "folder": str(folder)})
    if chosen.answers:
        show.say(f"{len(chosen.answers)} answers so far, {chosen.counter} of them counter-examples.")
        if chosen.gain is not None:
            value, low, high = (100 * bound for bound in (chosen.gain.value, chosen.gain.low, chosen.gain.high))
            show.say(
                f"The later half of them brought {value:+.1f} points ({low:+.1f} to {high:+.1f}) on answered samples "
                "that were held out, all cells counting the same."
            )
    show.say(chosen.advice.sentence)
    if len(chosen.rows):
        show.say(f"\nTo look up: {folder / TABLE} ({len(chosen.rows)} samples)\nThe page to do it: {folder / PAGE}")
    else:
        show.say("\nEvery training sample is answered; there is nothing left to ask.")
    if chosen.answers:
        command = ["longcut", "train", chosen.spec, "--answers", str(folder / ANSWERS), "-m", "balanced-head"]
        if chosen.unknown != "usual":
            command += ["--set", f"unknown={chosen.unknown}"]
        show.say(f"To train on the answers: {shlex.join(command)}")
