"""Recipes: a paper's table or figure as plans, and our numbers beside the published ones."""

from longcut.papers.cells import ANNOTATIONS, ORIGINS, PROTOCOLS, Cell, cells, recipes
from longcut.papers.draw import draw
from longcut.papers.listed import DOCUMENTS, STATES, Shown, listed
from longcut.papers.run import require_data, require_weights, run
from longcut.papers.show import READS, markdown, notes, table

__all__ = [
    "ANNOTATIONS",
    "DOCUMENTS",
    "ORIGINS",
    "PROTOCOLS",
    "READS",
    "STATES",
    "Cell",
    "Shown",
    "cells",
    "draw",
    "listed",
    "markdown",
    "notes",
    "recipes",
    "require_data",
    "require_weights",
    "run",
    "table",
]
