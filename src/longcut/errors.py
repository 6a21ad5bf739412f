"""The one exception for users' mistakes, and the helper that suggests what was meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["UserError", "unknown"]


class UserError(ValueError):
    """A mistake its user can mend: what was given, what is allowed, what to do, in one sentence.

    The command line prints it without a traceback and exits with status 2.
    """


def unknown(what: str, given: str, allowed: Iterable[str]) -> UserError:
    """The error for a name that does not exist, with the nearest that does.

    >>> print(unknown("method", "slecmix", ["erm", "selecmix"]))
    unknown method 'slecmix': did you mean 'selecmix'? Known: erm, selecmix.
    """
    names = sorted(allowed)
    near = get_close_matches(given, names, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return UserError(f"unknown {what} '{given}': {hint}Known: {', '.join(names) or 'none'}.")
