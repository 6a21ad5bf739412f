"""The panels about an audit: what was found in the data, the evidence, and how the biased model sees the samples."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from markupsafe import Markup

from longcut.audit.baseline import WORSE, in_words
from longcut.datasets import title_of
from longcut.numbers import number
from longcut.report import embed, figures
from longcut.report.base import Page
from longcut.report.figures import Style
from longcut.report.samples import strip
from longcut.report.template import fragment

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Audit", "checks", "command", "evidence", "groups", "learning", "named", "opening", "settings", "since"]

Audit: TypeAlias = "tuple[Mapping[str, Any], Mapping[str, Tensor]]"
"""What :func:`longcut.audit.folder.read` returns; any key may be missing or None."""

VERDICTS = {"alarm": "Alarm", "notice": "Notice", "unknown": "Cannot tell", "clear": "Clear"}  # the worst first
PLURAL = ("alarm", "notice")
UNITS = {"regression": "parts of the target"}
KINDS = {"image": "images", "table": "table rows", "tokens": "texts"}
LOOKS = {
    "agreeing": Style("#0072b2"),
    "contradicting": Style("#d55e00", (0, (4, 1.5))),
    "agreeing, without relying on the easy cue": Style("#767676"),
    "contradicting, without relying on the easy cue": Style("#767676", (0, (4, 1.5))),
}


def named(audit: Audit) -> str:
    """What the audited data is called."""
    return title_of(audit[0].get("data") or "some data")


def opening(audit: Audit, page: Page) -> Markup:
    """Verdict, headline and advice."""
    record, data = audit[0], named(audit)
    headline, advice = record.get("headline") or "Nothing was concluded.", record.get("advice") or ""
    facts, preface = _facts(record), record.get("preface") or ""
    shown = "" if data == page.title else data
    reasons: dict[str, list[str]] = {}
    for name, why in (record.get("left_out") or {}).items():
        reasons.setdefault(str(why), []).append(str(name))
    said = reasons, record.get("notes") or []
    return fragment("audit", "opening", _verdict(record), headline, *_advised(advice), shown, facts, preface, *said)


def evidence(audit: Audit, page: Page) -> Markup | None:
    """What can be seen at a glance: suspected pictures, or bars, or the loudest finding."""
    record, curves = audit[0], audit[0].get("curves") or {}
    pictures = strip(audit) if record.get("kind") == "image" else []
    shown = (pictures, _bars(curves), _strongest(_findings(record)))
    return fragment("audit", "evidence", *shown) if any(shown) else None


def learning(audit: Audit, page: Page) -> Markup | None:
    """How an ordinary model learns samples that agree with what is suspected, and samples that contradict it."""
    record = audit[0]
    curves = record.get("curves") or {}
    found, above = _curves(curves, page.ids), record.get("kind") != "image" or not strip(audit)
    return fragment("audit", "learning", found, "" if above else _caption(curves)) if found else None


def checks(audit: Audit, page: Page) -> Markup | None:
    """Every finding with its answer, its number and its evidence."""
    found = _findings(audit[0])
    return fragment("audit", "checks", found, _tally(found)) if found else None


def since(audit: Audit, page: Page) -> Markup | None:
    """What has changed since an earlier audit."""
    found = audit[0].get("baseline")
    if not found:
        return None
    rows = [
        (change["name"], change["how"], change["how"] in WORSE, *(in_words(change[when]) for when in ("then", "now")))
        for change in found["changes"]
    ]
    return fragment("audit", "since", found["sentence"], found["unfair"], rows)


def groups(audit: Audit, page: Page) -> Markup | None:
    """Clusters within the classes, those with most suspects first."""
    rows = sorted(audit[0].get("clusters") or (), key=lambda cluster: -(cluster.get("share_suspected") or 0))
    return fragment("audit", "groups", [_cluster(row) for row in rows]) if rows else None


def settings(audit: Audit, page: Page) -> Markup:
    """What the audit was told and what it ran on."""
    return fragment("audit", "settings", _settings(audit[0]))


def command(audit: Audit, page: Page) -> Markup | None:
    """What to type to get the same audit."""
    typed = audit[0].get("command")
    return fragment("macros", "command", typed) if typed else None


# --- words ------------------------------------------------------------------------------------------------------------


def _verdict(thing: Mapping[str, Any]) -> dict[str, str]:
    """The verdict's name, which decides its shape and colour, and its word."""
    name = thing.get("verdict")
    name = name if name in VERDICTS else "unknown"
    return {"name": name, "word": VERDICTS[name]}


def _advised(advice: str) -> tuple[str, str]:
    """The advice, and the command at its end, to be copied; empty where it ends with none.

    >>> _advised("Compare methods: longcut compare DATA --methods erm.")
    ('Compare methods:', 'longcut compare DATA --methods erm')
    >>> _advised("Train as usual.")
    ('Train as usual.', '')
    """
    sentence, found, command = advice.rpartition(": longcut ")
    if not found or ", and " in command:
        return advice, ""
    return f"{sentence}:", f"longcut {command.removesuffix('.')}"


def _tally(findings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """How often each verdict was given, the worst first."""
    counts = Counter(finding["verdict"]["name"] for finding in findings)
    return [
        {"name": name, "text": f"{counts[name]} {word.lower()}{'s' * (counts[name] > 1 and name in PLURAL)}"}
        for name, word in VERDICTS.items()
        if counts[name]
    ]


def _facts(record: Mapping[str, Any]) -> list[str]:
    facts = []
    if record.get("n") is not None:
        facts.append(f"{record['n']:,} {KINDS.get(record.get('kind') or '', 'samples')}")
    if record.get("classes"):
        facts.append(f"{len(record['classes'])} {UNITS.get(record.get('task') or '', 'classes')}")
    if record.get("suspected") is not None:
        share = record.get("suspected_share")
        facts.append(f"{record['suspected']:,} suspected{'' if share is None else f' ({_percent(share)})'}")
    if record.get("attribute"):
        facts.append(f"known attribute: {record['attribute']}")
    return facts


def _settings(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    counts = zip(record.get("classes") or (), record.get("class_counts") or (), strict=False)
    environment = (record.get("environment") or {}).items()
    told = {
        "Data": record.get("data"),
        "Classes": " · ".join(f"{name} {count:,}" for name, count in counts),
        "Attribute": record.get("attribute"),
        "Features": record.get("encoder") or None,
        "Level": record.get("level"),
        "Seed": record.get("seed"),
        "Took": None if record.get("seconds") is None else f"{record['seconds']:.3g} s",
        "Made with": ", ".join(
            f"{key} {value}" for key, value in {"longcut": record.get("longcut"), **dict(environment)}.items() if value
        ),
        "Data fingerprint": record.get("fingerprint"),
    }
    return [(key, str(value)) for key, value in told.items() if value not in (None, "")]


def _number(value: Any) -> str:
    """A value of a table as it is read: three digits, thousands apart, a dash for nothing.

    >>> _number(0.98765), _number(12345), _number(None), _number(True), _number("<b>")
    ('0.988', '12,345', '–', 'yes', '<b>')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return "–" if value is None or isinstance(value, float) else str(value)


def _percent(share: float) -> str:
    """A share in percent, with a decimal where it is small.

    >>> _percent(0.051), _percent(0.97), _percent(0)
    ('5.1\u202f%', '97\u202f%', '0\u202f%')
    """
    return f"{100 * share:.{1 if 0 < share < 0.1 else 0}f}\u202f%"


# --- findings ---------------------------------------------------------------------------------------------------------


def _findings(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [_finding(finding) for finding in record.get("findings") or ()]


def _finding(finding: Mapping[str, Any]) -> dict[str, Any]:
    table = finding.get("table") or ()
    columns = list(dict.fromkeys(key for row in table for key in row))
    return {
        "verdict": _verdict(finding),
        "question": finding.get("question") or finding.get("name") or "",
        "sentence": finding.get("sentence") or "",
        "measure": finding.get("measure") or "",
        "gauge": _gauge(finding),
        "p_value": _p_value(finding.get("p_value")),
        "columns": columns,
        "rows": [[_evidence(row.get(column)) for column in columns] for row in table],
    }


def _evidence(value: Any) -> dict[str, Any]:
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    return {"text": _number(value), "sort": value if numeric else None, "numeric": numeric}


def _p_value(p: float | None) -> str:
    """A p-value as it is printed; empty where there was no test.

    >>> _p_value(0.0004), _p_value(0.0312), _p_value(None)
    ('p < 0.001', 'p = 0.03', '')
    """
    if p is None:
        return ""
    return "p < 0.001" if p < 0.001 else f"p = {p:.1g}" if p < 0.1 else f"p = {p:.2f}"


def _gauge(finding: Mapping[str, Any]) -> dict[str, Any] | None:
    """Where statistic, interval and baseline lie on a line, in percent of its length."""
    statistic, baseline = finding.get("statistic"), finding.get("baseline")
    if statistic is None:
        return None
    low, high = finding.get("interval") or (None, None)
    known = [value for value in (statistic, baseline, low, high) if value is not None]
    start = min(0.0, 1.1 * min(known))
    end = 1.0 if max(known) <= 1 else 1.1 * max(known)

    def place(value: float | None) -> float | None:
        return None if value is None else 100 * (value - start) / (end - start)

    alt = f"{_number(float(statistic))}"
    if low is not None and high is not None:
        alt += f", 95 % interval {_number(float(low))} to {_number(float(high))}"
    if baseline is not None:
        alt += f"; without a shortcut {_number(float(baseline))}"
    return {
        "statistic": place(statistic),
        "low": place(low),
        "high": place(high),
        "baseline": place(baseline),
        "value": _number(float(statistic)),
        "without": None if baseline is None else _number(float(baseline)),
        "alt": alt,
    }


def _strongest(findings: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The strongest finding: the one with the worst verdict, and among those the farthest from its baseline."""
    shown = [finding for finding in findings if finding["gauge"] and finding["gauge"]["baseline"] is not None]
    order = list(VERDICTS)

    def loudness(finding: dict[str, Any]) -> tuple[int, float]:
        gauge = finding["gauge"]
        return order.index(finding["verdict"]["name"]), -abs(gauge["statistic"] - gauge["baseline"])

    return min(shown, key=loudness, default=None)


def _bars(curves: Mapping[str, Any]) -> dict[str, Any] | None:
    """Where the learning curves end, as bars, and beside each what the same samples give without the easy cue."""
    ends = [[value for value in curves.get(part) or () if value is not None] for part in ("aligned", "conflicting")]
    if not all(ends):
        return None
    without = curves.get("without") or (None, None)
    bars = [
        {"name": name, "models": [_bar("ordinary", end[-1]), *([] if fair is None else [_bar("without", fair)])]}
        for name, end, fair in zip(("agree", "contradict"), ends, without, strict=True)
    ]
    chance = curves.get("chance")
    return {"bars": bars, "chance": None if chance is None else 100 * chance, "caption": _caption(curves)}


def _caption(curves: Mapping[str, Any]) -> str:
    """What remains of the difference between the two sides when hardness is accounted for."""
    return curves.get("caption") or (
        "The samples that contradict were chosen by what a small model gets wrong, so any model is worse on them, with "
        "or without a shortcut: this older audit does not say what remains. Audit again to see it."
    )


def _bar(model: str, share: float) -> dict[str, Any]:
    return {"model": model, "width": 100 * share, "value": _percent(share)}


def _curves(curves: Mapping[str, Any], ids: Iterator[str]) -> dict[str, Any] | None:
    """How an ordinary model learns samples of both kinds."""
    updates = curves.get("updates") or ()
    level = [[end] * len(updates) for end in curves.get("without") or ()]  # of this model only the end is known
    parts = dict(zip(LOOKS, (curves.get("aligned"), curves.get("conflicting"), *level), strict=False))
    lines = {
        name: (updates, [[math.nan if value is None else value for value in values]])
        for name, values in parts.items()
        if values and len(values) == len(updates)
    }
    if len(updates) < 2 or not lines:
        return None
    chance = curves.get("chance")
    figure = figures.curve(lines, LOOKS, "", unit="updates", chance=math.nan if chance is None else chance)
    ends = ", ".join(f"{name} {number(values[0][-1])} %" for name, (_, values) in lines.items())
    guess = "" if chance is None else f"; chance is {number(chance)} %"
    alt = f"Accuracy of an ordinary model on held-out samples; it ends with {ends}{guess}."
    legend = embed.legend(list(lines), [LOOKS[name] for name in lines], ids, line=True)
    return {"svg": embed.svg(figure, alt, next(ids)), "legend": legend}


# --- clusters -------------------------------------------------------------------------------------------------------


def _cluster(cluster: Mapping[str, Any]) -> dict[str, Any]:
    share = cluster.get("share_suspected")
    return {
        "class": cluster.get("class") or "",
        "cluster": cluster.get("cluster", ""),
        "n": cluster.get("n"),
        "share": share,
        "percent": "–" if share is None else _percent(share),
        "looks_like": cluster.get("looks_like") or "",
    }
