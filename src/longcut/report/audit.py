"""The part of the page about an audit: what was found in the data, which samples tell, and the evidence."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

from markupsafe import Markup, escape

from longcut.datasets import title_of
from longcut.numbers import number
from longcut.report import figures
from longcut.report.figures import Style
from longcut.report.study import name_of

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Audit", "section"]

Audit: TypeAlias = "tuple[Mapping[str, Any], Mapping[str, Tensor]]"
"""What :func:`longcut.audit.folder.read` returns; any key may be missing or None."""

VERDICTS = {"alarm": "Alarm", "notice": "Notice", "unknown": "Cannot tell", "clear": "Clear"}  # the worst first
PLURAL = ("alarm", "notice")
KINDS = {"image": "images", "table": "table rows", "tokens": "texts"}
SUSPICIONS = {"conflicting": "contradicts the shortcut", "mislabelled": "perhaps mislabelled", "unclear": "unclear"}
LOOKS = {"suspected aligned": Style("#0072b2"), "suspected conflicting": Style("#d55e00", (0, (4, 1.5)))}
STRIP, SUSPECTS, TYPICAL, PAIRS = 5, 24, 6, 4  # samples on top, in the gallery, beside each class, and side by side
LETTERS = 420  # of a text
PIXELS = 144


def section(audit: Audit, ids: Iterator[str]) -> dict[str, Any]:
    """Everything the template shows of one audit."""
    record, tensors = audit
    gallery = record.get("gallery") or {}
    named = record.get("attribute") or "attribute"
    suspects, typical = (_samples(gallery.get(part), tensors, named) for part in ("suspects", "typical"))
    findings = [_finding(finding) for finding in record.get("findings") or ()]
    kind = record.get("kind") or ""
    return {
        "data": title_of(record.get("data") or "some data"),
        "kind": kind,
        "verdict": _verdict(record),
        "headline": record.get("headline") or "Nothing was concluded.",
        "advice": record.get("advice") or "",
        "facts": _facts(record),
        "tally": _tally(findings),
        "strip": _strip(suspects, typical) if kind == "image" else [],
        "bars": _bars(record.get("curves") or {}),
        "strongest": _strongest(findings),
        "curves": _curves(record.get("curves") or {}, ids),
        "findings": findings,
        "suspected": record.get("suspected"),
        "suspects": suspects[:SUSPECTS],
        "gallery": _by_look(suspects[:SUSPECTS], typical),
        "rows": _rows(suspects[:SUSPECTS], typical),
        "pairs": [_pair(pair, tensors, named) for pair in (record.get("pairs") or ())[:PAIRS]],
        "map": _map(record, tensors, ids),
        "clusters": [
            _cluster(cluster)
            for cluster in sorted(record.get("clusters") or (), key=lambda c: -(c.get("share_suspected") or 0))
        ],
        "settings": _settings(record),
        "command": record.get("command") or "",
    }


# --- words ------------------------------------------------------------------------------------------------------------


def _verdict(thing: Mapping[str, Any]) -> dict[str, str]:
    """The verdict's name, by which it gets shape and colour, and its word."""
    name = thing.get("verdict")
    name = name if name in VERDICTS else "unknown"
    return {"name": name, "word": VERDICTS[name]}


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
        facts.append(f"{len(record['classes'])} classes")
    if record.get("suspected") is not None:
        share = record.get("suspected_share")
        facts.append(f"{record['suspected']:,} suspected{'' if share is None else f' ({_percent(share)})'}")
    if record.get("attribute"):
        facts.append(f"known attribute: {record['attribute']}")
    return facts


def _settings(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the audit was told and what it ran on."""
    counts = zip(record.get("classes") or (), record.get("class_counts") or (), strict=False)
    environment = (record.get("environment") or {}).items()
    told = {
        "Data": record.get("data"),
        "Classes": " · ".join(f"{name} {count:,}" for name, count in counts),
        "Attribute": record.get("attribute"),
        "Level": record.get("level"),
        "Seed": record.get("seed"),
        "Took": None if record.get("seconds") is None else f"{record['seconds']:.3g} s",
        "Made with": ", ".join(
            f"{key} {value}" for key, value in {"longcut": record.get("longcut"), **dict(environment)}.items() if value
        ),
        "Data fingerprint": record.get("fingerprint"),
    }
    return [(key, str(value)) for key, value in told.items() if value not in (None, "")]


def marked(text: str, words: Sequence[str]) -> Markup:
    """The text with these words marked, wherever they stand alone, in whatever case.

    >>> marked("Not a knot, <not>", ["not"])
    Markup('<mark>Not</mark> a knot, &lt;<mark>not</mark>&gt;')
    """
    alternatives = "|".join(re.escape(word) for word in sorted(filter(None, words), key=len, reverse=True))
    if not alternatives:
        return escape(text)
    parts = re.split(rf"(?<!\w)({alternatives})(?!\w)", text, flags=re.IGNORECASE)
    return Markup("").join(Markup("<mark>{}</mark>").format(part) if i % 2 else part for i, part in enumerate(parts))


def _excerpt(text: str, words: Sequence[str]) -> str:
    """A text that is not too long, around the first of the words.

    >>> _excerpt("short", [])
    'short'
    """
    if len(text) <= LETTERS:
        return text
    places = [place for word in filter(None, words) if (place := text.lower().find(word.lower())) >= 0]
    start = max(0, min(min(places, default=0) - LETTERS // 2, len(text) - LETTERS))
    end = start + LETTERS
    return f"{'…' if start else ''}{text[start:end].strip()}{'…' if end < len(text) else ''}"


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
    """The finding that speaks loudest: the worst verdict, then the farthest from its baseline."""
    shown = [finding for finding in findings if finding["gauge"] and finding["gauge"]["baseline"] is not None]
    order = list(VERDICTS)

    def loudness(finding: dict[str, Any]) -> tuple[int, float]:
        gauge = finding["gauge"]
        return order.index(finding["verdict"]["name"]), -abs(gauge["statistic"] - gauge["baseline"])

    return min(shown, key=loudness, default=None)


def _bars(curves: Mapping[str, Any]) -> dict[str, Any] | None:
    """Where the learning curves end, as bars."""
    ends = [
        [value for value in curves.get(part) or () if value is not None][-1:] for part in ("aligned", "conflicting")
    ]
    if not all(ends):
        return None
    named = zip(("agree", "contradict"), ends, strict=True)
    bars = [{"name": name, "width": 100 * end, "value": _percent(end)} for name, (end,) in named]
    chance = curves.get("chance")
    return {"bars": bars, "chance": None if chance is None else 100 * chance}


def _curves(curves: Mapping[str, Any], ids: Iterator[str]) -> dict[str, Any] | None:
    """How an ordinary model learns samples of both kinds."""
    updates = curves.get("updates") or ()
    parts = dict(zip(LOOKS, (curves.get("aligned"), curves.get("conflicting")), strict=True))
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
    legend = figures.legend(list(LOOKS), list(LOOKS.values()), ids, line=True)
    return {"svg": figures.svg(figure, alt, next(ids)), "legend": legend}


# --- samples ----------------------------------------------------------------------------------------------------------


def _samples(
    samples: Sequence[Mapping[str, Any]] | None, tensors: Mapping[str, Tensor], attribute: str
) -> list[dict[str, Any]]:
    return [_sample(sample, tensors, attribute) for sample in samples or ()]


def _sample(sample: Mapping[str, Any], tensors: Mapping[str, Tensor], attribute: str) -> dict[str, Any]:
    """A sample as the template shows it, whatever it is: a picture, a text or cells.

    A value of the attribute that is a bare number is shown with the attribute's name before it.
    """
    value = sample.get("attribute") or ""
    said = f"{attribute} {value}" if value.isdigit() else value
    pictures, row = tensors.get("picture"), sample.get("picture")
    label, looks_like, text = sample.get("label") or "?", sample.get("looks_like") or "", sample.get("text")
    marks = sample.get("marks") or ()
    name = sample.get("name") or f"row {sample.get('row', '?')}"
    score = "" if sample.get("score") is None else f"{sample['score']:.2f}"
    kind = SUSPICIONS.get(sample.get("kind") or "", "")
    doubt = "" if kind == SUSPICIONS["conflicting"] else kind
    return {
        "name": name,
        "label": label,
        "looks_like": looks_like,
        "attribute": sample.get("attribute") or "",
        "score": score,
        "kind": kind,
        "doubt": doubt,
        "notes": [said, f"score {score}" if kind and score else "", doubt, name if text is not None else ""],
        "uri": None if pictures is None or row is None else figures.uri(pictures[row].numpy(), PIXELS),
        "alt": f"{name}: {label}" + (f", looks like {looks_like}" if looks_like not in ("", label) else ""),
        "text": None if text is None else marked(_excerpt(text, marks), marks),
        "cells": sample.get("cells") or [],
    }


def _turns(samples: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The samples, taking turns among what they look like."""
    seen: Counter[str] = Counter()
    ranks = []
    for sample in samples:
        ranks.append(seen[sample["looks_like"]])
        seen[sample["looks_like"]] += 1
    return [sample for _, _, sample in sorted(zip(ranks, range(len(ranks)), samples, strict=True), key=lambda t: t[:2])]


def _strip(suspects: Sequence[dict[str, Any]], typical: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The most suspected pictures, each with a typical one of the class it looks like."""
    left = {
        name: iter([s for s in typical if s["uri"] and s["label"] == name]) for name in {s["label"] for s in typical}
    }
    sure, doubtful = ([sample for sample in suspects if bool(sample["doubt"]) == doubt] for doubt in (False, True))
    columns = (
        {"suspect": sample, "typical": next(left.get(sample["looks_like"], iter(())), None)}
        for sample in _turns(sure) + doubtful
        if sample["uri"]
    )
    return list(islice(columns, STRIP))


def _by_look(suspects: Sequence[dict[str, Any]], typical: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Suspects by what they look like, each time beside typical samples of that class."""
    parts = []
    for name in dict.fromkeys(sample["looks_like"] for sample in suspects):
        alike = [sample for sample in suspects if sample["looks_like"] == name]
        beside = [sample for sample in typical if sample["label"] == name]
        parts.append(
            {
                "looks_like": name,
                "suspects": alike,
                "typical": beside[: TYPICAL if len(alike) >= TYPICAL else TYPICAL // 2],
            }
        )
    return parts


def _pair(pair: Mapping[str, Any], tensors: Mapping[str, Tensor], attribute: str) -> dict[str, Any]:
    """A suspect, the sample it looks like, and one of its own label."""
    roles = ("suspect", "looks_like", "same_label")
    found = {role: _sample(pair[role], tensors, attribute) if pair.get(role) else None for role in roles}
    columns = _columns([sample for sample in found.values() if sample])
    rows = zip(*(_aligned(sample, columns) for sample in found.values()), strict=True)
    return {**found, "rows": list(zip(columns, rows, strict=True))}


def _rows(suspects: Sequence[dict[str, Any]], typical: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Suspects and typical samples as rows of one table; None where there are no cells."""
    kinds = {"Suspected": suspects, "Typical": [s for part in _by_look(suspects, typical) for s in part["typical"]]}
    columns = _columns([sample for samples in kinds.values() for sample in samples])
    if not columns:
        return None
    parts = {
        kind: [{**sample, "cells": _aligned(sample, columns)} for sample in samples]
        for kind, samples in kinds.items()
        if samples
    }
    return {"columns": columns, "parts": parts}


def _columns(samples: Sequence[dict[str, Any]]) -> list[str]:
    """The columns of which these samples show a cell, the commonest first; not every sample shows the same."""
    counts = Counter(cell["column"] for sample in samples for cell in sample["cells"])
    return [column for column, _ in counts.most_common()]


def _aligned(sample: Mapping[str, Any] | None, columns: Sequence[str]) -> list[dict[str, Any] | None]:
    """The sample's cells under these columns, None where it shows none."""
    cells = {cell["column"]: cell for cell in (sample or {}).get("cells", ())}
    return [cells.get(column) for column in columns]


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


def _map(record: Mapping[str, Any], tensors: Mapping[str, Tensor], ids: Iterator[str]) -> dict[str, Any] | None:
    """The embedding of the biased model: by label, by what a sample looks like, and by the attribute if it is known."""
    place = figures.flatten(tensors["map_embedding"].numpy()) if "map_embedding" in tensors else None
    if place is None:
        return None
    ringed = tensors["map_suspected"].numpy() if "map_suspected" in tensors else None
    classes, attributes = record.get("classes") or (), record.get("attributes") or ()
    views = []
    for tensor, title, names in (
        ("map_label", "label", classes),
        ("map_looks", "what it looks like", classes),
        ("map_attribute", record.get("attribute") or "attribute", attributes),
    ):
        if tensor not in tensors:
            continue
        column = tensors[tensor]
        called = [name_of(names, i) for i in range(int(column.max()) + 1)]
        looks = figures.looks_of(called, named=tensor == "map_attribute")
        picture = figures.points(place, column.tolist(), looks, ringed)
        alt = f"Map of {len(place)} samples as the biased model sees them, coloured by {title}."
        legend = figures.legend(called, looks, ids, line=False)
        views.append({"title": title, "svg": figures.svg(picture, alt, next(ids)), "legend": legend})
    folded = tensors["map_embedding"].shape[1] > 2
    return {"views": views, "ringed": ringed is not None and bool(ringed.any()), "folded": folded}
