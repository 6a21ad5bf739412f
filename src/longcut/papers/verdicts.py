"""The claims of a paper and what became of them, as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from longcut.papers.claims import HOLDS, NOT, OPEN, Comparison, Verdict

__all__ = ["HOW_JUDGED", "comparisons", "summary"]

HOW_JUDGED = (
    "Differences are paired by seed, in points (errors of regressions in their unit), and positive where the claim's "
    "side is better. The interval is 95 % of the mean over seeds (Student's t) and, where runs are there, over test "
    "samples (paired bootstrap), whichever reaches further; both must agree. A comparison is told of three seeds or "
    "more, where its p-value, corrected for all comparisons of the paper (Benjamini-Hochberg), is below 0.05. A claim "
    "holds where it holds in one column at least and fails in none."
)
HEAD = ("claim", "stands in", "column", "difference", "95 %", "seeds", "epochs", "verdict")


def comparisons(verdicts: Sequence[Verdict]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """A head and lines: the verdict of each claim, and below it that of each column with runs; the others as one."""
    lines = []
    for one in verdicts:
        lines.append((one.claim.says, one.claim.stands, "", "", "", "", "", one.verdict))
        for found in one.comparisons:
            if found.value is not None:
                shown = found.verdict if found.verdict != OPEN else f"{OPEN}: {found.why}"
                lines.append(("", "", found.where, *_numbers(found), str(found.seeds), found.epochs, shown))
        for why, where in _without(one).items():
            lines.append(("", "", ", ".join(where), "", "", "", "", f"{OPEN}: {why}"))
    return HEAD, lines


def summary(verdicts: Sequence[Verdict]) -> list[str]:
    """A Markdown table with a line for each claim."""
    lines = ["| claim | stands in | verdict | told by |", "|---|---|---|---|"]
    for one in verdicts:
        told = [_told(found) for found in one.comparisons if found.verdict == one.verdict and found.value is not None]
        if one.verdict == NOT and (held := [_told(found) for found in one.comparisons if found.verdict == HOLDS]):
            told.append(f"but holds on {', '.join(held)}")
        if one.verdict == OPEN:
            every = len(one.comparisons)
            reasons = Counter(found.why for found in one.comparisons)
            told += [why if n == every else f"{why} ({n} of {every} columns)" for why, n in reasons.items()]
        lines.append(f"| {one.claim.says} | {one.claim.stands} | *{one.verdict}* | {', '.join(told)} |")
    return lines


def _told(found: Comparison) -> str:
    value, interval = _numbers(found)
    return f"{found.where} {value} ({interval}; {found.seeds} seeds{_shorter(found)})"


def _shorter(found: Comparison) -> str:
    return f", {found.epochs} epochs" if found.epochs else ""


def _without(one: Verdict) -> dict[str, list[str]]:
    """Why there is no number, and in which columns."""
    found: dict[str, list[str]] = {}
    for comparison in one.comparisons:
        if comparison.value is None:
            found.setdefault(comparison.why, []).append(comparison.where)
    return found


def _numbers(found: Comparison) -> tuple[str, str]:
    interval = "–" if found.low is None else f"{found.low:+.3g} to {found.high:+.3g}"
    return f"{found.value:+.3g}", interval
