"""The panels about the samples of an audit: who is suspected, beside typical ones, and contradicting pairs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

from markupsafe import Markup, escape

from longcut.report import embed
from longcut.report.base import Page
from longcut.report.template import fragment
from longcut.sources.words import stands_alone

if TYPE_CHECKING:
    from torch import Tensor

    from longcut.report.audit import Audit

__all__ = ["marked", "pairs", "slices", "strip", "suspects"]

SUSPICIONS = {"conflicting": "contradicts the shortcut", "mislabelled": "perhaps mislabelled", "unclear": "unclear"}
STRIP, SUSPECTS, TYPICAL, PAIRS = 5, 24, 6, 4  # samples on top, in the gallery, beside each class, and side by side
LETTERS = 420  # of a text
PIXELS = 144


def suspects(audit: Audit, page: Page) -> Markup | None:
    """The most suspected samples beside typical ones: rows of a table where they have cells, else a gallery."""
    record = audit[0]
    found, typical = _samples(audit, "suspects")[:SUSPECTS], _samples(audit, "typical")
    if not found:
        return None
    rows, gallery = _rows(found, typical), _by_look(found, typical)
    return fragment("audit", "suspects", found, record.get("suspected"), rows, gallery, record.get("kind") == "tokens")


def pairs(audit: Audit, page: Page) -> Markup | None:
    """Suspects side by side with the samples that mixing would pair them with."""
    record, tensors = audit
    named = record.get("attribute") or "attribute"
    found = [_pair(pair, tensors, named) for pair in (record.get("pairs") or ())[:PAIRS]]
    return fragment("audit", "pairs", found, record.get("kind") or "") if found else None


def slices(audit: Audit, page: Page) -> Markup | None:
    """Some samples of each part of the data in which an ordinary model errs most."""
    record, tensors = audit
    named = record.get("attribute") or "attribute"
    found = [
        {"slice": part["slice"], "samples": [_sample(sample, tensors, named) for sample in part["samples"]]}
        for part in record.get("slices") or ()
    ]
    for sample in (sample for part in found for sample in part["samples"]):
        sample["notes"] = [f"{cell['column']}: {cell['value']}" for cell in sample["cells"]] or [sample["name"]]
    return fragment("audit", "slices", found, record.get("kind") == "image") if found else None


def strip(audit: Audit) -> list[dict[str, Any]]:
    """The most suspected pictures, each with a typical one of the class it looks like."""
    return _strip(_samples(audit, "suspects"), _samples(audit, "typical"))


def _strip(suspects: Sequence[dict[str, Any]], typical: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
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


# --- a sample ---------------------------------------------------------------------------------------------------------


def marked(text: str, words: Sequence[str]) -> Markup:
    """The text with these words marked, in whatever case, wherever they stand alone if words of their script do.

    >>> marked("Not a knot, <not>", ["not"])
    Markup('<mark>Not</mark> a knot, &lt;<mark>not</mark>&gt;')
    >>> marked("看电影吧", ["电影"])
    Markup('看<mark>电影</mark>吧')
    """
    longest_first = sorted(filter(None, words), key=len, reverse=True)
    found = [rf"(?<!\w){re.escape(word)}(?!\w)" if stands_alone(word) else re.escape(word) for word in longest_first]
    if not found:
        return escape(text)
    parts = re.split(rf"({'|'.join(found)})", normalize("NFC", text), flags=re.IGNORECASE)
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


def _samples(audit: Audit, part: str) -> list[dict[str, Any]]:
    """The samples of a part of the gallery."""
    record, tensors = audit
    found = (record.get("gallery") or {}).get(part) or ()
    return [_sample(sample, tensors, record.get("attribute") or "attribute") for sample in found]


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
        "uri": None if pictures is None or row is None else embed.uri(pictures[row].numpy(), PIXELS),
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
