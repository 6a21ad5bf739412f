"""What changed since an earlier audit, and what makes an automatic check fail."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from longcut.audit.checks import CHECKS

__all__ = ["WORSE", "Change", "Comparison", "Numbers", "compare", "counts", "failing", "in_words"]

RANK = {"notice": 1, "alarm": 2}
How = Literal["new", "graver", "stronger", "another", "weaker", "milder", "gone", "cannot tell", "not looked at"]
WORSE: tuple[How, ...] = ("new", "graver", "stronger", "another")
SETTINGS = {  # of the record; where one of them is another, numbers cannot be compared
    "task": "the task",
    "kind": "the kind of data",
    "classes": "the classes",
    "attribute": "the attribute",
    "encoder": "the features",
    "level": "the level",
    "seed": "the seed",
    "longcut": "the version of longcut",
}


@dataclass(frozen=True)
class Numbers:
    """What an audit said of one thing.

    Attributes:
        verdict: ``clear``, ``notice``, ``alarm`` or ``unknown``.
        what: it found, where it compared several things; else empty.
        statistic: the number that was looked at, None where there is none.
        interval: its 95 % interval.
    """

    verdict: str
    what: str
    statistic: float | None
    interval: tuple[float | None, float | None]


@dataclass(frozen=True)
class Change:
    """What is no longer as it was.

    Attributes:
        name: of the finding, or ``slice`` and which.
        how: ``new`` (nothing then), ``graver`` (an alarm that was a notice), ``another`` (the same verdict of another
            column, cue or word), ``stronger`` and ``weaker`` (the same verdict, and 95 % intervals that do not meet),
            ``milder``, ``gone``, ``cannot tell``, ``not looked at``.
        then: None where it was not looked at.
        now: None where it is not.
        counts: whether the verdict of the audit depends on it.
    """

    name: str
    how: How
    then: Numbers | None
    now: Numbers | None
    counts: bool


@dataclass(frozen=True)
class Comparison:
    """An audit beside an earlier one.

    Attributes:
        verdicts: of the earlier audit, and of this one.
        sentence: what became of the verdict.
        unfair: why the two cannot be compared, in one sentence; empty where they can.
        changes: what is no longer as it was, the worse first.
    """

    verdicts: tuple[str, str]
    sentence: str
    unfair: str
    changes: tuple[Change, ...]


def in_words(numbers: Mapping[str, Any] | None) -> str:
    """A verdict with its number and interval, and of what: of the fields of :class:`Numbers`.

    >>> in_words({"verdict": "alarm", "what": "the word 'not'", "statistic": 0.5, "interval": (0.41, None)})
    "alarm 0.5 [0.41, –]: the word 'not'"
    """
    if numbers is None:
        return "–"
    ends = ", ".join("–" if end is None else f"{end:.2g}" for end in numbers["interval"])
    number = "" if numbers["statistic"] is None else f" {numbers['statistic']:.2g} [{ends}]"
    what = f": {numbers['what']}" if numbers["what"] else ""
    return f"{numbers['verdict']}{number}{what}"


def counts(name: str) -> bool:
    """Whether the verdict of an audit depends on a finding of this name."""
    return name.startswith("column ") or (name in CHECKS and CHECKS[name].share is not None)


def compare(then: Mapping[str, Any], now: Mapping[str, Any]) -> Comparison:
    """What changed between two audits.

    Args:
        then: record of the earlier one, of :func:`longcut.audit.folder.read`.
        now: record of this one.
    """
    old, new = _numbers(then), _numbers(now)
    changes = [change for name in {**new, **old} if (change := _change(name, old.get(name), new.get(name)))]
    changes.sort(key=lambda change: (change.how not in WORSE, not change.counts))
    verdicts = str(then.get("verdict") or "unknown"), str(now["verdict"])
    became = f"was {verdicts[0]} and is {verdicts[1]}" if verdicts[0] != verdicts[1] else f"is {verdicts[1]}, as it was"
    data = ""
    if then.get("fingerprint") != now.get("fingerprint"):
        data = f" The data changed: {then.get('n') or 0:,} samples then, {now.get('n') or 0:,} now."
    return Comparison(verdicts, f"The verdict {became}.{data}", _unfair(then, now), tuple(changes))


def failing(record: Mapping[str, Any], fail_on: str, comparison: Comparison | None = None) -> list[str]:
    """Names of the findings that make a check fail: those that the verdict depends on, of that verdict or graver.

    Args:
        record: of the audit.
        fail_on: ``notice`` or ``alarm``.
        comparison: with an earlier audit: only what is worse than it was counts (:data:`WORSE`), unless the two cannot
            be compared.
    """
    grave = [
        finding["name"]
        for finding in record["findings"]
        if counts(finding["name"]) and RANK.get(finding["verdict"], 0) >= RANK[fail_on]
    ]
    if comparison is None or comparison.unfair:
        return grave
    worse = {change.name for change in comparison.changes if change.how in WORSE}
    return [name for name in grave if name in worse]


def _numbers(record: Mapping[str, Any]) -> dict[str, Numbers]:
    """Of every finding, and of every slice as if it were one, by name."""
    made = {}
    for finding in record.get("findings") or ():
        name, table = finding.get("name") or "", finding.get("table") or ()
        if name == "slices":
            for row in table:
                ends = row.get("low"), row.get("high")
                made[f"slice {row.get('slice')}"] = Numbers("notice", "", row.get("errors"), ends)
            continue
        cue = CHECKS[name].cue if name in CHECKS else ""
        what = cue.format_map(defaultdict(str, table[0])) if table else ""
        low, high = finding.get("interval") or (None, None)
        made[name] = Numbers(finding.get("verdict") or "unknown", what, finding.get("statistic"), (low, high))
    return made


def _change(name: str, then: Numbers | None, now: Numbers | None) -> Change | None:
    how = _how(name, then, now)
    return None if how is None else Change(name, how, then, now, counts(name))


def _how(name: str, then: Numbers | None, now: Numbers | None) -> How | None:
    before, after = (RANK.get(said.verdict, 0) if said else 0 for said in (then, now))
    if after > before:
        return "graver" if before else "new"
    if not before:
        return None
    if now is None:
        return "gone" if name.startswith("slice ") else "not looked at"
    if after < before:
        return "milder" if after else "cannot tell" if now.verdict == "unknown" else "gone"
    assert then is not None
    if then.what != now.what:
        return "another"
    if counts(name) or name.startswith("slice "):  # of others, more may be better
        if _above(now.interval, then.interval):
            return "stronger"
        if _above(then.interval, now.interval):
            return "weaker"
    return None


def _above(one: Sequence[float | None], other: Sequence[float | None]) -> bool:
    low, high = one[0], other[1]
    return low is not None and high is not None and low > high


def _unfair(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """In one sentence, the settings that are not the same."""
    told = [(words, then.get(key), now.get(key)) for key, words in SETTINGS.items()]
    told.append(("the network", _option(then.get("command"), "--net"), _option(now.get("command"), "--net")))
    other = [f"{words} was {_shown(old)} and is {_shown(new)}" for words, old, new in told if old != new]
    if not other:
        return ""
    return f"This is no fair comparison, for {'; '.join(other)}: audit with the same settings, or take a new baseline."


def _option(command: str | None, name: str) -> str | None:
    words = shlex.split(command or "")
    return words[words.index(name) + 1] if name in words[:-1] else None


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "none" if value in (None, "") else str(value)
