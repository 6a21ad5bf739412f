"""The command line: thin commands over the library, which they import when they run."""

from longcut.cli import explore, judge, papers, train  # noqa: F401, they register their commands
from longcut.cli.app import app, main

__all__ = ["app", "main"]
