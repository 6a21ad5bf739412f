"""Commands that train: one method, or several beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from longcut.cli import show
from longcut.cli.app import METHOD, Device, Epochs, Jobs, Json, Load, Net, Select, Set, Track, app
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
from longcut.cli.settings import cores, device_of, settings_of, watched, with_recipe


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
    load_: Load = None,
    as_json: Json = False,
) -> None:
    """Train one method, or go on with a run that was stopped."""
    from longcut.execute import execute
    from longcut.plans import folder_name, plan, slug

    features = features_for(ctx, data, features, method, net)
    data = with_answers(spec_given(ctx, data, features), answers)
    chosen = plan(data, with_recipe(method, recipe), settings=settings_of(set_, net, epochs), seed=seed, select=select)
    decode(chosen.data, chosen.data_seed)
    folder = out or Path("runs", slug(chosen.data), folder_name(chosen))
    watch = watched(track)
    with show.bar("epochs") as progress:
        record = execute(
            chosen,
            folder,
            lambda epoch: progress(epoch.epoch, epoch.epochs),
            device_of(device),
            lambda done, total: progress(done, total, "epochs of the helper"),
            watch,
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
    methods: Annotated[str, typer.Option(help=f"joined by commas, each {METHOD}")] = "erm,lff,selecmix",
    seeds: Annotated[int, typer.Option(min=1, help="runs of each method; the seed also draws the data")] = 3,
    jobs: Jobs = 1,
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
    from longcut.plans import plan, slug
    from longcut.spec import split as split_specs
    from longcut.tables import summary

    data = with_answers(spec_given(ctx, data, features), answers)
    settings = settings_of(set_, net, epochs)
    plans = [
        plan(data, method, settings=settings, seed=seed, select=select)
        for method in split_specs(methods)
        for seed in range(seeds)
    ]
    decode(plans[0].data, plans[0].data_seed, alone=jobs == 1)
    folder = out or Path("runs", slug(plans[0].data))
    watch = watched(track)
    with show.bar("runs") as progress:
        records = compare(plans, folder, cores(jobs), progress, device_of(device), watch=watch)
    if as_json:
        return show.print_json([summary(record) for record in records])
    show.print_comparison(records)
    show.print_advice(folders(plans, folder))
    show.say(f"The runs are in {folder}")
