"""The command line: thin commands over the library, which they import when they run."""

from longcut.cli import explore, train, stress, judge, papers, annotate  # noqa: F401, I001, they register their commands in this order
from longcut.cli.app import app, main

__all__ = ["app", "main"]
