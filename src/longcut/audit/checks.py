"""The table of checks; another module adds to it by a dict of its own called ``CHECKS``."""

from __future__ import annotations

from longcut.audit.base import Check
from longcut.audit.columns import columns
from longcut.audit.cues import cues
from longcut.audit.known import known
from longcut.audit.learned import learned, loss
from longcut.audit.noise import noise
from longcut.audit.order import order
from longcut.audit.slices import slices
from longcut.audit.words import words
from longcut.registry import Registry, required

__all__ = ["CHECKS"]

CHECKS: Registry[Check] = Registry(
    "audit check",
    "CHECKS",
    {
        "learned": Check(learned, share=0.4, clause=loss),
        "columns": Check(columns, share=0.2, cue="the column '{column}'", early=True),
        "cues": Check(cues, share=0.2, cue="the cue '{cue}' alone"),
        "words": Check(words, share=0.2, cue="the word '{word}'", early=True),
        "known": Check(known),
        "order": Check(order),
        "noise": Check(noise),
        "slices": Check(slices),
    },
    made=required(lambda row: isinstance(row, Check), "a Check"),
)
"""By name, in the order of the page: those that look for a shortcut share the level, the others describe."""
