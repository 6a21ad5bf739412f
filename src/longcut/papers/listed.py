"""What the papers show, table by table and figure by figure, and how far each is here."""

from __future__ import annotations

from dataclasses import dataclass

from longcut.recipes import contents, recipes

__all__ = ["DOCUMENTS", "STATES", "Shown", "listed"]

DOCUMENTS = ("selecmix", "jm1", "wcl", "slides")  # come first; the others are of the papers around them
STATES = {
    "run": "trained here as published, or as a recipe of our own has it",
    "run shorter": "trained here with fewer epochs, seeds or rows, or a smaller net or smaller images",
    "not run": "a command, of which there is no run here yet",
    "needs a GPU": "a command that two cores do not carry",
    "data not reachable": "its files are not to be had here; where it is a recipe, the command reads them",
    "not built": "no command yet",
}


@dataclass(frozen=True)
class Shown:
    """A table or figure of a document, on one of its data sets.

    Attributes:
        name: ``"paper/table"``.
        about: what it shows.
        data: the data set, or which part of it; empty where all of it has one state.
        state: one of ``STATES``.
        recipe: whether ``longcut reproduce`` makes it.
        by: the file with its numbers, where they are not of the recipe's runs; empty where they are.
    """

    name: str
    about: str
    data: str
    state: str
    recipe: bool
    by: str


def listed() -> list[Shown]:
    """Every table and figure that the documents are known to hold, the four main documents first.

    Of these, none is without a command or a state of its own.

    >>> [one.state for one in listed() if one.name == "selecmix/table1"]
    ['run shorter', 'run shorter', 'data not reachable']
    """
    known, files = recipes(), contents()
    found = []
    for paper in (*DOCUMENTS, *(name for name in sorted(files) if name not in DOCUMENTS)):
        for name, one in files[paper]["shown"].items():
            states = {"": one["state"]} if isinstance(one["state"], str) else one["state"]
            full = f"{paper}/{name}"
            found += [
                Shown(full, one["about"], data, state, full in known, one.get("by", ""))
                for data, state in states.items()
            ]
    return found
