"""Somebody's own data on the command line: its flags, which are declared with its options, and how it is loaded."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from typer.core import TyperCommand

from longcut.cli import show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from longcut.data import Splits
    from longcut.spec import Option

__all__ = [
    "Answers",
    "Data",
    "Features",
    "NewDataCommand",
    "OwnDataCommand",
    "decode",
    "features_for",
    "load",
    "spec_given",
    "typed",
    "with_answers",
]

NAMED = 5  # files of each reason for which some are left out

Data = Annotated[
    str,
    typer.Argument(
        help="folder of images, table (.csv .tsv .parquet), arrays (.npz .safetensors), shards (train-{000..099}.tar, "
        "s3://…), or a data set as name or name:key=value,… (see longcut datasets)"
    ),
]


Features = Annotated[
    str | None,
    typer.Option(
        metavar="NET",
        help="pretrained net whose features stand for the images or texts, such as efficientnet-lite0 or minilm; "
        "where the method is auto, photographs are seen so unless this says none",
    ),
]

Answers = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE", help="attributes that were looked up, as longcut annotate takes them; repeatable"),
]


def _flags(names: Sequence[str] | None = None) -> list[Any]:
    """A flag for each option of somebody's own data; only a command that has them asks, for they are slow to import."""
    from longcut.sources.options import metavar, own_options

    def flag(option: Option) -> inspect.Parameter:
        choices = f": {option.allowed}" if option.choices else ""
        about = f"{option.help}{choices}"
        info = typer.Option(help=about, metavar=metavar(option), rich_help_panel="Your own data")
        kind = int if int in (option.type, *get_args(option.type)) else str
        return inspect.Parameter(
            option.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, info]
        )

    def own(**_: Any) -> None: ...

    own.__signature__ = inspect.Signature(
        [flag(option) for option in own_options() if names is None or option.name in names]
    )  # type: ignore[attr-defined]
    app = typer.Typer(add_completion=False)
    app.command()(own)
    return list(typer.main.get_command(app).params)


class OwnDataCommand(TyperCommand):
    """A command with these flags; what they said is ``ctx.obj``, by name."""

    def taken(self) -> Sequence[str] | None:
        """The names of the options that it takes; None: all."""
        return None

    def get_params(self, ctx: Any) -> list[Any]:
        if "flags" not in self.__dict__:
            self.flags = _flags(self.taken())
        *own, asks_for_help = super().get_params(ctx)
        return [*own, *self.flags, asks_for_help]

    def invoke(self, ctx: Any) -> Any:
        ctx.obj = {flag.name: ctx.params.pop(flag.name) for flag in self.flags}
        if self.taken() is None:  # before the command imports what it works with
            from longcut.cli import early
            from longcut.datasets import look_up

            look_up(ctx.params["data"], ctx.params.get("column") or (), **ctx.obj)
            early.given(ctx.params)
        return super().invoke(ctx)


class NewDataCommand(OwnDataCommand):
    """A command with those of these flags that say how to read new data for a trained network."""

    def taken(self) -> Sequence[str] | None:
        from longcut.datasets import FORMS

        return FORMS


def spec_given(ctx: typer.Context, data: str, features: str | None = None) -> str:
    """The canonical spec of what was typed as data and flags; ``none`` is no features."""
    from longcut.datasets import parse, resolve, spec_of

    return spec_of(*parse(resolve(data, None if features == "none" else features, **ctx.obj)))


def features_for(ctx: typer.Context, data: str, features: str | None, method: str, net: str | None) -> str | None:
    """The features asked for; where ``auto`` trains on photographs and nothing is said, those of a pretrained net.

    ``none`` asks for pixels, and so does whoever names a net. What is chosen, or cannot be, is said.
    """
    from longcut import encoders
    from longcut.datasets import ENCODER, parse, resolve
    from longcut.errors import UserError

    if features is not None or net is not None or method.partition(":")[0] != "auto":
        return features
    name, options = parse(resolve(data, **ctx.obj))
    if name != "folder" and not options.get("image"):
        return None
    try:
        encoders.build(ENCODER)
    except UserError as error:
        show.warn(f"auto sees pixels alone; features of a pretrained net bring most here: {error}")
        return None
    show.warn(f"auto sees these images as features of {ENCODER}; for pixels: --features none")
    return ENCODER


def with_answers(data: str, answers: list[Path] | None) -> str:
    """The spec of the data with these answers as its attribute."""
    from longcut.datasets import spec_of

    return spec_of("answered", {"data": data, "answers": "|".join(map(str, answers))}) if answers else data


def load(data: str, seed: int) -> Splits:
    """The data set, with a bar while images are decoded for the first time, and the names of those left out."""
    from longcut import datasets

    unit = {"embedded": "samples", "shards": "shards"}.get(data.partition(":")[0], "images")
    with show.bar(unit) as progress:
        splits = datasets.load(data, seed, progress)
    source = splits.train.source
    if source is not None and source.skipped:
        show.warn(f"left out: {_by_reason(source.skipped)}")
    return splits


def _by_reason(skipped: Sequence[tuple[str, str]]) -> str:
    """Files by the reason for which they are left out, the first few of each by name.

    >>> _by_reason([("a.png", "truncated"), ("b.txt", "no image: .txt"), ("c.png", "truncated")])
    '2 truncated (a.png, c.png); 1 no image: .txt (b.txt)'
    """
    reasons: dict[str, list[str]] = {}
    for name, why in skipped:
        reasons.setdefault(why, []).append(name)
    told = {why: ", ".join(names[:NAMED]) + ", …" * (len(names) > NAMED) for why, names in reasons.items()}
    return "; ".join(f"{len(names):,} {why} ({told[why]})" for why, names in reasons.items())


def decode(data: str, seed: int, alone: bool = True) -> None:
    """Read data with images once, so that its cache is made with a bar and before any run begins.

    Where runs are not made by this process ``alone``, tables are read too, for what is to be said of them.
    """
    from longcut.datasets import DATASETS, parse

    name, options = parse(data)
    without = alone and name in ("table", "hub") and "image" not in options
    if "progress" in inspect.signature(DATASETS[name].function).parameters and not without:
        load(data, seed)


def typed(ctx: typer.Context, command: str | None = None) -> str:
    """The command that was typed, without where to write, how to print and what to compare with.

    Or another ``command`` on the same data: with what was said of the data alone.
    """
    import shlex

    given = {**ctx.params, **ctx.obj}
    if command is not None:
        given = {**ctx.obj, **{name: ctx.params.get(name) for name in ("data", "features", "load_")}}
    words = ["longcut", command or str(ctx.info_name), str(given.pop("data"))]
    for parameter in ctx.command.get_params(ctx):
        said = given.get(parameter.name or "")
        if parameter.name not in ("out", "as_json", "baseline", "junit") and said not in (
            None,
            [],
            (),
            parameter.default,
        ):
            for one in said if isinstance(said, list | tuple) else [said]:
                words += [parameter.opts[0]] if one is True else [parameter.opts[0], str(one)]
    return shlex.join(words)
