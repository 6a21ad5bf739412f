"""Recipes: a paper's table or figure as plans, and our numbers beside the published ones."""

from longcut.papers.cells import ANNOTATIONS, ORIGINS, PROTOCOLS, Cell, cells
from longcut.papers.claims import HOLDS, NOT, OPEN, Claim, Verdict, claimants, claims, judged, sampled
from longcut.papers.draw import draw, picture
from longcut.papers.known import Known, known_in, merged
from longcut.papers.listed import DOCUMENTS, STATES, Shown, listed
from longcut.papers.queue import Queue, Task, queue
from longcut.papers.run import require_data, require_weights, run
from longcut.papers.show import READS, lacking, markdown, notes, table
from longcut.papers.verdicts import HOW_JUDGED, comparisons, summary
from longcut.papers.work import Outcome, work
from longcut.recipes import EVERY, recipes

__all__ = [
    "ANNOTATIONS",
    "DOCUMENTS",
    "EVERY",
    "HOLDS",
    "HOW_JUDGED",
    "NOT",
    "OPEN",
    "ORIGINS",
    "PROTOCOLS",
    "READS",
    "STATES",
    "Cell",
    "Claim",
    "Known",
    "Outcome",
    "Queue",
    "Shown",
    "Task",
    "Verdict",
    "cells",
    "claimants",
    "claims",
    "comparisons",
    "draw",
    "judged",
    "known_in",
    "lacking",
    "listed",
    "markdown",
    "merged",
    "notes",
    "picture",
    "queue",
    "recipes",
    "require_data",
    "require_weights",
    "run",
    "sampled",
    "summary",
    "table",
    "work",
]
