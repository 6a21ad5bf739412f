"""The program, and what several commands take."""

from __future__ import annotations

import io
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from longcut.cli import show
from longcut.errors import UserError
from longcut.processes import STOPPED, begun_together

__all__ = [
    "METHOD",
    "Backend",
    "Device",
    "Epochs",
    "Jobs",
    "Json",
    "Load",
    "Net",
    "Processes",
    "RunFolder",
    "Scheduler",
    "Select",
    "Set",
    "Track",
    "app",
    "located",
    "main",
]


class _Commands(TyperGroup):
    """Says users' mistakes and interruptions in one line on stderr, with exit status 2 and 130; warnings once."""

    def invoke(self, ctx: Any) -> Any:
        said: set[str] = set()

        def say(message: object, *_: Any, **__: Any) -> None:
            if str(message) not in said:  # data is read when a command is checked and when it is done
                said.add(str(message))
                show.warn(message)

        try:
            with warnings.catch_warnings():  # which puts back what is set here
                warnings.showwarning = say
                return super().invoke(ctx)
        except UserError as error:
            show.warn(error)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            show.warn(STOPPED)
            raise typer.Exit(130) from None


app = typer.Typer(
    name="longcut",
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _load(files: list[Path] | None) -> list[Path] | None:
    if files:
        from longcut.registry import load_file

        for file in files:
            load_file(file)
    return files


def located(given: Path | list[Path] | None) -> Path | list[Path] | None:
    """Run folders that were typed, by their names below ``runs``, as the folders."""
    if isinstance(given, list):
        return [one for folder in given if isinstance(one := located(folder), Path)]
    if given is None or given.exists():
        return given
    from longcut.places import located as below

    return below(given)


METHOD = "name, name@recipe or name:key=value,key=value (see longcut methods)"

Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="method option or training setting; repeatable")
]
Load = Annotated[
    list[Path] | None,
    typer.Option(
        "--load", metavar="FILE", callback=_load, help="Python file with methods, nets, metrics, … of yours; repeatable"
    ),
]
RunFolder = Annotated[Path, typer.Argument(help="run folder, or its name below runs/", callback=located)]
Net = Annotated[str | None, typer.Option(help="network, such as mlp:hidden=100-100-16 or resnet18:stem=cifar")]
Epochs = Annotated[int | None, typer.Option(min=1, help="passes over the training set")]
Select = Annotated[
    str, typer.Option(help="epoch that counts: last, best:METRIC (on validation), oracle or oracle:METRIC (on test)")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")]
Processes = Annotated[
    int,
    typer.Option(min=1, help="processes that share the work of each batch: a GPU each, or their part of the cores"),
]
Jobs = Annotated[int, typer.Option(min=0, help="runs at a time, each with one thread; 0: one per core")]
Backend = Annotated[
    Literal["processes", "dask", "ray"],
    typer.Option(help="who trains: --jobs processes here, or workers of a cluster (pip install 'longcut[scale]')"),
]
Scheduler = Annotated[
    str,
    typer.Option(metavar="ADDRESS", help="of the cluster, such as tcp://10.0.0.1:8786 (default: --jobs workers here)"),
]
Track = Annotated[
    str | None, typer.Option(help="who follows the runs, joined by commas: tensorboard, mlflow, wandb, trackio")
]
Json = Annotated[bool, typer.Option("--json", help="print JSON and nothing else")]


def main() -> None:
    """The ``longcut`` command."""
    for stream in (sys.stdout, sys.stderr):  # a name that the terminal's encoding lacks is written by its numbers
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app()


def _print_version(wanted: bool) -> None:
    if wanted:
        import longcut

        print(longcut.__version__)
        raise typer.Exit()


@app.callback()
def _root(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version and exit")
    ] = False,
) -> None:
    """Train classifiers that do not take the shortcut."""
    _, there = begun_together()
    if there > 1 and ctx.invoked_subcommand != "train":
        raise UserError(
            f"{there} processes were begun together, and only longcut train shares its work among such; begin "
            f"longcut {ctx.invoked_subcommand} once, without torchrun."
        )
