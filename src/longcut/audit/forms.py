"""What the files of an audit folder must look like: each function raises, whatever is wrong.

Everything may be missing or null, as in a record of an older longcut; what is there has its type.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import GenerateJsonSchema
from torch import Tensor

from longcut.audit.baseline import Comparison

__all__ = ["Output", "gallery", "judged", "record", "schema"]

Plain = bool | int | float | str | None


class _Form(BaseModel):
    """Strict: nothing is converted. A newer longcut may say more."""

    model_config = ConfigDict(
        strict=True, extra="allow", allow_inf_nan=False, json_schema_serialization_defaults_required=True
    )


class _Finding(_Form):
    name: str | None = Field(None, description="of the check, or 'column' and which one was asked about")
    question: str | None = Field(None, description="what the check answers")
    statistic: float | None = Field(None, description="the number that was looked at")
    measure: str | None = Field(None, description="what the number is")
    baseline: float | None = Field(None, description="what it would be without a shortcut")
    interval: list[float | None] | None = Field(None, description="95 % interval of the number: its two ends")
    p_value: float | None = Field(None, description="corrected for all that the check looked at")
    verdict: str | None = Field(None, description="clear, notice, alarm or unknown")
    sentence: str | None = Field(None, description="the answer in words")
    table: list[dict[str, Any]] | None = Field(None, description="the evidence; every row has the same keys")


class _Cell(_Form):
    column: str
    value: Plain = None
    odd: bool = False


class _Sample(_Form):
    row: int | None = None
    name: str | None = None
    label: str | None = None
    looks_like: str | None = None
    score: float | None = None
    kind: str | None = None
    attribute: str | None = None
    picture: int | None = None
    text: str | None = None
    marks: list[str] | None = None
    cells: list[_Cell] | None = None


class _Pair(_Form):
    suspect: _Sample | None = None
    looks_like: _Sample | None = None
    same_label: _Sample | None = None


class _Slice(_Form):
    slice: str
    samples: list[_Sample]


class _Gallery(_Form):
    suspects: list[_Sample] | None = None
    typical: list[_Sample] | None = None


class _Curves(_Form):
    updates: list[int] | None = None
    aligned: list[float | None] | None = Field(None, description="an ordinary model, where the easy cue agrees")
    conflicting: list[float | None] | None = Field(None, description="the same, where it contradicts the label")
    chance: float | None = None
    ordinary: list[float | None] | None = Field(None, description="the two in the end")
    without: list[float | None] | None = Field(None, description="of a model kept from relying on the easy cue")
    remains: float | None = Field(None, description="what the ordinary one loses beyond that: the finding 'learned'")
    interval: list[float | None] | None = Field(None, description="95 % interval of what remains: its two ends")
    caption: str | None = Field(None, description="what remains, in words")


class _Cluster(_Form):
    class_: str | None = Field(None, alias="class")
    cluster: int | str | None = None
    n: int | None = None
    share_suspected: float | None = None
    looks_like: str | None = None


class _Record(_Form):
    data: str | None = Field(None, description="spec of the data set")
    kind: str | None = Field(None, description="image, table or tokens")
    encoder: str | None = Field(None, description="pretrained net that made the features; empty where none did")
    n: int | None = Field(None, description="samples that were audited")
    level: float | None = Field(None, description="how often the whole audit may raise a false alarm")
    seed: int | None = None
    classes: list[str] | None = None
    class_counts: list[int] | None = None
    attribute: str | None = None
    attributes: list[str] | None = None
    task: str | None = None
    preface: str | None = Field(None, description="what to know before the rest; may be empty")
    left_out: dict[str, str] | None = Field(None, description="columns that were not compared with the label, and why")
    notes: list[str] | None = Field(None, description="on the data as they were read")
    verdict: str | None = Field(None, description="clear, notice, alarm or unknown: the gravest finding that counts")
    headline: str | None = Field(None, description="what was found, in one sentence")
    advice: str | None = Field(None, description="what to do; a command stands at the end")
    findings: list[_Finding] | None = None
    suspected: int | None = None
    suspected_share: float | None = None
    curves: _Curves | None = None
    gallery: _Gallery | None = None
    pairs: list[_Pair] | None = None
    slices: list[_Slice] | None = Field(None, description="samples that show where an ordinary model errs")
    clusters: list[_Cluster] | None = None
    seconds: float | None = None
    longcut: str | None = None
    environment: dict[str, str] | None = None
    command: str | None = Field(None, description="that makes the audit again")
    fingerprint: str | None = Field(None, description="of the data; the same where the data are")
    compared: Comparison | None = Field(None, alias="baseline", description="with the audit of --baseline")


class Output(_Record):
    """What ``longcut audit --json`` prints: ``audit.json`` without checksums, where it is, and what has changed."""

    layout: int = Field(alias="schema", description="version of the layout; a higher one may say more")
    folder: str = Field(description="where the audit was written")
    report: str = Field(description="the page about it")


def schema() -> dict[str, Any]:
    """JSON Schema of what ``longcut audit --json`` prints."""
    made = Output.model_json_schema(mode="serialization", schema_generator=_Draft)
    return {"$schema": _Draft.schema_dialect, **made}


class _Draft(GenerateJsonSchema):
    """With what things are called in the code left out, for they are called by their keys."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def record(stored: Mapping[str, Any]) -> None:
    """What ``audit.json`` holds."""
    found = _Record.model_validate_json(json.dumps(stored))
    for finding in found.findings or ():
        _require(finding.interval is None or len(finding.interval) == 2)
    if curves := found.curves:
        _require(all(two is None or len(two) == 2 for two in (curves.ordinary, curves.without, curves.interval)))


def gallery(record: Mapping[str, Any], found: Mapping[str, Tensor]) -> None:
    """Pictures ``(k, 3, H, W)`` that the record shows by number, and the map."""
    if "picture" in found:
        _require(
            found["picture"].dtype == torch.uint8 and found["picture"].ndim == 4 and found["picture"].shape[1] == 3
        )
        _require(found["picture"].numel() > 0)
    parts = record.get("gallery") or {}
    samples = [sample for part in ("suspects", "typical") for sample in parts.get(part) or ()]
    samples += [sample for pair in record.get("pairs") or () for sample in pair.values() if sample]
    samples += [sample for part in record.get("slices") or () for sample in part["samples"]]
    shown = [sample["picture"] for sample in samples if sample.get("picture") is not None]
    _require(all(0 <= place < len(found.get("picture", ())) for place in shown))
    mapped = {name: tensor for name, tensor in found.items() if name.startswith("map_")}
    if mapped:
        n, _ = mapped["map_embedding"].shape
        _require(all(tensor.ndim > 0 and len(tensor) == n for tensor in mapped.values()))
        _require(mapped["map_embedding"].is_floating_point() and bool(mapped["map_embedding"].isfinite().all()))
        for name in ("map_label", "map_looks", "map_attribute"):
            if name in mapped:
                _require(mapped[name].ndim == 1 and mapped[name].dtype == torch.int64 and int(mapped[name].min()) >= -1)
        if "map_suspected" in mapped:
            _require(mapped["map_suspected"].ndim == 1 and mapped["map_suspected"].dtype == torch.bool)


def judged(found: Mapping[str, Tensor]) -> None:
    """What the biased model said of every sample."""
    index, label = found["index"], found["label"]
    _require(all(found[name].ndim == 2 and found[name].is_floating_point() for name in ("probability", "profile")))
    _require(all(column.ndim == 1 and column.dtype == torch.int64 for column in (index, label)))
    _require(len({len(tensor) for tensor in found.values()}) == 1)
    _require(not len(label) or (int(index.min()) >= 0 and int(label.min()) >= 0))
    _require(not len(label) or int(label.max()) < found["probability"].shape[1])


def _require(so: bool) -> None:
    if not so:
        raise ValueError("a tensor is not what it should be")
