"""Recipes: a paper's table or figure as plans, and our numbers beside the published ones."""

from longcut.papers.cells import ANNOTATIONS, ORIGINS, PROTOCOLS, Cell, cells, recipes
from longcut.papers.draw import draw
from longcut.papers.run import require_data, require_weights, run
from longcut.papers.show import READS, markdown, notes, table

__all__ = [
    "ANNOTATIONS",
    "ORIGINS",
    "PROTOCOLS",
    "READS",
    "Cell",
    "cells",
    "draw",
    "markdown",
    "notes",
    "recipes",
    "require_data",
    "require_weights",
    "run",
    "table",
]
