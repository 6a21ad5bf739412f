"""Recipes: a paper's table or figure as plans, and our numbers beside the published ones."""

from longcut.papers.cells import ANNOTATIONS, ORIGINS, PROTOCOLS, Cell, cells, recipes
from longcut.papers.draw import draw
from longcut.papers.listed import DOCUMENTS, STATES, Shown, listed
from longcut.papers.queue import EVERY, Known, Queue, Task, known_in, queue
from longcut.papers.run import require_data, require_weights, run
from longcut.papers.show import READS, markdown, notes, table
from longcut.papers.work import Outcome, work

__all__ = [
    "ANNOTATIONS",
    "DOCUMENTS",
    "EVERY",
    "ORIGINS",
    "PROTOCOLS",
    "READS",
    "STATES",
    "Cell",
    "Known",
    "Outcome",
    "Queue",
    "Shown",
    "Task",
    "cells",
    "draw",
    "known_in",
    "listed",
    "markdown",
    "notes",
    "queue",
    "recipes",
    "require_data",
    "require_weights",
    "run",
    "table",
    "work",
]
