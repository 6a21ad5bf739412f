"""Commands that train: one method, or several beside each other."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from longcut.cli import show
from longcut.cli.app import (
    METHOD,
    Backend,
    Device,
    Epochs,
    Jobs,
    Json,
    Load,
    Net,
    Processes,
    Scheduler,
    Select,
    Set,
    Track,
    app,
)
from longcut.cli.own import (
    Answers,
    Data,
    Features,
    OwnDataCommand,
    decode,
    features_for,
    spec_given,
    with_answers,
)
from longcut.cli.settings import device_of, settings_of, watched, with_recipe, workers
from longcut.errors import UserError
from longcut.processes import begun_together


@app.command(cls=OwnDataCommand)
def train(
    ctx: typer.Context,
    data: Data,
    features: Features = None,
    method: Annotated[str, typer.Option("--method", "-m", help=METHOD)] = "selecmix",
    set_: Set = None,
    recipe: Annotated[
        str | None, typer.Option(help="published settings of the method; the same as name@recipe")
    ] = None,
    net: Net = None,
    epochs: Epochs = None,
    seed: Annotated[int, typer.Option(min=0, help="of the data, initial weights, order and mixing")] = 0,
    select: Select = "last",
    answers: Answers = None,
    out: Annotated[Path | None, typer.Option(help="run folder (default: runs/DATA/METHOD-sSEED)")] = None,
    track: Track = None,
    device: Device = "auto",
    processes: Processes = 1,
    load_: Load = None,
    as_json: Json = False,
) -> None:
    """Train one method, or go on with a run that was stopped.

    Begun by torchrun on several machines, it trains one run on all of them.
    """
    rank, there = begun_together()
    if there > 1 and processes not in (1, there):
        raise UserError(f"--processes {processes} is asked for, and {there} were begun together; leave it out.")
    if there > 1:
        from longcut.parallel.machines import follow, leading

        if rank:
            return follow()
        processes, among = there, leading
    else:
        among = nullcontext

    from longcut.execute import execute
    from longcut.places import RUNS, place
    from longcut.plans import folder_name, plan

    features = features_for(ctx, data, features, method, net)
    data = with_answers(spec_given(ctx, data, features), answers)
    chosen = plan(data, with_recipe(method, recipe), settings=settings_of(set_, net, epochs), seed=seed, select=select)
    decode(chosen.data, chosen.data_seed)
    folder = out or place(RUNS, chosen.data) / folder_name(chosen)
    watch = watched(track)
    with among(), show.bar("epochs") as progress:
        record = execute(
            chosen,
            folder,
            lambda epoch: progress(epoch.epoch, epoch.epochs),
            device_of(device),
            lambda done, total: progress(done, total, "epochs of the helper"),
            watch,
            processes,
        )
    if as_json:
        return show.print_json(record.to_dict())
    show.print_comparison([record])
    show.say(f"The run is in {folder}")


@app.command(cls=OwnDataCommand)
def compare(
    ctx: typer.Context,
    data: Data,
    features: Features = None,
    methods: Annotated[
        str, typer.Option(help=f"joined by commas, each {METHOD}; bars part values to choose from: jtt:upweight=20|50")
    ] = "erm,lff,selecmix",
    helper: Annotated[
        str | None,
        typer.Option(help="method that is trained first and whose record the others read, such as erm:record=online"),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="runs of each method; the seed also draws the data")] = 3,
    jobs: Jobs = 1,
    backend: Backend = "processes",
    scheduler: Scheduler = "",
    set_: Set = None,
    net: Net = None,
    epochs: Epochs = None,
    select: Select = "last",
    answers: Answers = None,
    out: Annotated[Path | None, typer.Option(help="folder of run folders (default: runs/DATA)")] = None,
    track: Track = None,
    device: Device = "auto",
    load_: Load = None,
    as_json: Json = False,
) -> None:
    """Train several methods with several seeds each; what is already done is not done again."""
    from longcut.compare import compare, folders
    from longcut.places import RUNS, place
    from longcut.plans import plan
    from longcut.runs import read
    from longcut.search import alternatives, choices, with_record
    from longcut.spec import split as split_specs
    from longcut.tables import summary

    data = with_answers(spec_given(ctx, data, features), answers)
    settings = settings_of(set_, net, epochs)
    asked = split_specs(methods)
    specs = [one for spec in asked for one in alternatives(spec)]
    first = (
        [plan(data, helper, settings=settings_of(None, net, None), seed=seed) for seed in range(seeds)]
        if helper
        else []
    )
    folder = out or place(RUNS, first[0].data if first else plan(data, specs[0], settings=settings).data)
    read_from = with_record(specs, first[0], folder) if first else specs
    plans = [
        plan(data, method, settings=settings, seed=seed, select=select, label=label)
        for label, method in zip(specs, read_from, strict=True)
        for seed in range(seeds)
    ]
    decode(plans[0].data, plans[0].data_seed, alone=jobs == 1 and backend == "processes")
    watch = watched(track)
    who = workers(jobs, backend, scheduler)
    if first:
        with show.bar("helpers") as progress:
            compare(first, folder, who, progress, device_of(device), watch=watch)
    with show.bar("runs") as progress:
        records = compare(plans, folder, who, progress, device_of(device), watch=watch)
    chosen = choices([read(one) for one in folders(plans, folder)]) if len(specs) > len(asked) else []
    if as_json:
        found = [summary(record) for record in records]
        several = {"runs": found, "chosen": [asdict(one) for one in chosen]}
        return show.print_json(several if len(specs) > len(asked) else found)
    show.print_comparison(records)
    if len(specs) > len(asked):
        show.print_choices(chosen)
    show.print_advice(folders(plans, folder))
    show.say(f"The runs are in {folder}")
