"""The audit folder: the only file that knows its file names and its schema version.

====================== =============================================================================================
``audit.json``         findings, headline, gallery, settings; JSON has no nan, so it is ``null`` there
``suspects.csv``       every suspected sample, the most suspicious first
``slices.csv``         the parts of the data in which an ordinary model errs most
``columns.csv``        of columns that were asked about, how clearly each sample's value is read from the input
``gallery.safetensors`` pictures of some samples, and the biased embedding of some
``judged.safetensors`` of every audited sample: ``index, label``, and of the biased model, which did not see
                       it, ``probability`` and ``profile (n, C)``
``atlas.safetensors``  what the page shows of all samples, see :mod:`longcut.audit.atlas`
====================== =============================================================================================
"""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import longcut
from longcut.audit import atlas, forms
from longcut.audit.baseline import compare
from longcut.audit.given import margins
from longcut.audit.judged import Judged
from longcut.audit.noise import TYPICAL
from longcut.audit.slices import sheet as slices_sheet
from longcut.audit.staged import settle, stage
from longcut.audit.whole import Audit, counts
from longcut.data import Splits, in_turns
from longcut.door import Door
from longcut.errors import UserError
from longcut.files import escaped, to_json, unwritable
from longcut.folders import AUDIT as RECORD
from longcut.folders import STAGED, require_audit
from longcut.record import environment, fingerprint

if TYPE_CHECKING:
    import pandas as pd

    from longcut.audit.base import View

__all__ = ["SCHEMA", "find", "judged", "read", "samples", "suspects", "write"]

SCHEMA = 1
REMEDY = "delete the folder and audit again"
SUSPECTS, GALLERY = "suspects.csv", "gallery.safetensors"
JUDGED, MARGINS, SLICES = "judged.safetensors", "columns.csv", "slices.csv"
OPTIONAL = (MARGINS, SLICES)  # there where they have rows
SHOWN, PAIRS, MAPPED, CELLS = 24, 8, 600, 6


# --- reading ----------------------------------------------------------------------------------------------------------


def read(folder: Path | str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The record and the tensors of the audit in ``folder``.

    Raises:
        UserError: when there is none, it is damaged, or a newer longcut wrote it.
    """
    folder = Path(folder)
    with suppress(OSError):
        settle(folder, RECORD, OPTIONAL)
    require_audit(folder)
    record, door = Door(folder, REMEDY).record(RECORD, "audit", SCHEMA)
    with door.reading(RECORD):
        forms.record(record)
    there = (folder / GALLERY).exists()
    return record, door.tensors(GALLERY, partial(forms.gallery, record))[0] if there else {}


def judged(folder: Path | str) -> dict[str, Tensor]:
    """Of every audited sample: ``index, label (n,)``, and the biased model's ``probability, profile (n, C)``.

    Raises:
        UserError: when an older longcut wrote the audit, or the file is damaged.
    """
    folder = Path(folder)
    if not (folder / JUDGED).exists():
        raise UserError(f"{folder} was written before audits kept what every sample looks like; audit again.")
    return Door(folder, REMEDY).beside(RECORD).tensors(JUDGED, forms.judged)[0]


def samples(folder: Path | str) -> dict[str, Any] | None:
    """What a page shows of all samples, see :func:`longcut.audit.atlas.opened`; None where there is no such file.

    Raises:
        UserError: when the file is damaged.
    """
    if not Path(folder, atlas.FILE).exists():
        return None
    door = Door(Path(folder), REMEDY).beside(RECORD)
    with door.reading(atlas.FILE):
        return atlas.opened(door.tensors(atlas.FILE)[0])


def find(paths: Iterable[Path | str]) -> list[Path]:
    """All audit folders at or below the paths, each once, in order of their names; there may be none."""
    found = (file.parent for path in map(Path, paths) for file in sorted(path.rglob(RECORD)))
    return list(dict.fromkeys(folder.parent if folder.name == STAGED else folder for folder in found))


# --- writing ----------------------------------------------------------------------------------------------------------


def write(
    audit: Audit, folder: Path | str, *, data: str, command: str, then: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Write an audit, its record last, and return the record.

    Args:
        audit: what was found.
        folder: new, empty, or with an earlier audit, which is replaced.
        data: spec of the data set.
        command: that makes it again.
        then: record of an earlier audit; what has changed since stands under ``baseline``.

    Raises:
        UserError: when the folder holds something else, or cannot be written.
    """
    from safetensors.torch import save

    folder = Path(folder)
    check(folder)
    tensors: dict[str, Tensor] = {}
    # as it will be read: None for nan
    record, rows = json.loads(to_json(_record(audit, tensors, data, command))), suspects(audit)
    record["baseline"] = None if then is None else json.loads(to_json(dataclasses.asdict(compare(then, record))))

    def files(new: Path) -> None:
        (new / GALLERY).write_bytes(save(tensors))
        (new / JUDGED).write_bytes(save(_judged(audit)))
        (new / atlas.FILE).write_bytes(save(atlas.gather(audit)))
        _write_csv(new / SUSPECTS, SUSPECT_COLUMNS, rows)
        for name, sheet in ((MARGINS, margins(audit.view, audit.asked)), (SLICES, slices_sheet(audit.findings))):
            if sheet:
                _write_csv(new / name, tuple(sheet[0]), sheet)

    try:
        stage(folder, files, record, RECORD, OPTIONAL)
    except OSError as error:
        raise unwritable(folder, error, "the audit to ", "choose another folder") from error
    return record


def check(folder: Path) -> None:
    """Refuse a folder that an audit cannot go to: one that holds other files, but no audit.

    Raises:
        UserError: in this case.
    """
    with suppress(OSError):
        settle(folder, RECORD, OPTIONAL)
    ours = (SUSPECTS, GALLERY, JUDGED, *OPTIONAL, atlas.FILE, ".*.tmp")  # without a record: what a killed audit left
    foreign = folder.is_dir() and not all(any(map(path.match, ours)) for path in folder.iterdir())
    if foreign and not (folder / RECORD).is_file():
        raise UserError(f"{folder} exists and is neither empty nor an audit; choose a new or empty folder.")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; choose a folder.")


SUSPECT_COLUMNS = ("row", "name", "label", "looks_like", "score", "kind", "cluster", "split", "attribute")


def suspects(audit: Audit) -> list[dict[str, Any]]:
    """A row for every suspected sample, the most suspicious first."""
    judged, view = audit.judged, audit.view
    rows = np.flatnonzero(judged.suspected)
    rows = rows[np.argsort(-judged.score[rows], kind="stable")]
    samples = (_sample(audit, int(row)) for row in rows)
    parts = np.array(["train", "valid", "test"])
    where = view.data.index.numpy()[rows]
    split = parts[view.source.part[where]] if view.source is not None and view.source.official else [""] * len(rows)
    return [
        {key: _cell(sample[key]) for key in SUSPECT_COLUMNS if key in sample}
        | {"cluster": int(audit.clusters[row]), "split": part, "attribute": _cell(sample["attribute"] or "")}
        for row, sample, part in zip(rows, samples, split, strict=True)
    ]


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def _cell(value: Any) -> Any:
    return escaped(value) if isinstance(value, str) else value


def _judged(audit: Audit) -> dict[str, Tensor]:
    columns = {"probability": audit.judged.easy, "profile": audit.judged.profile}
    tensors = {name: torch.from_numpy(np.ascontiguousarray(column)) for name, column in columns.items()}
    return {"index": audit.view.data.index.contiguous(), "label": torch.from_numpy(audit.judged.label), **tensors}


def _record(audit: Audit, tensors: dict[str, Tensor], data: str, command: str) -> dict[str, Any]:
    view, judged, info = audit.view, audit.judged, audit.view.data.info
    gallery = _Gallery(audit, tensors)
    with view.threads():
        computed = environment()
    against = judged.suspected
    return {
        "schema": SCHEMA,
        "longcut": longcut.__version__,
        "data": data,
        "kind": _kind(view),
        "encoder": info.encoder,
        "n": len(view.data),
        "level": audit.level,
        "seed": view.seed,
        "classes": list(view.classes),
        "class_counts": np.bincount(view.label, minlength=len(view.classes)).tolist(),
        "attribute": view.source.attribute if view.source else ("attribute" if info.n_attributes else None),
        "attributes": list(info.attribute_names),
        "task": "classification" if view.original is None else "regression",
        "preface": audit.preface,
        "left_out": audit.left_out,
        "notes": list(view.source.notes) if view.source else [],
        "verdict": audit.verdict,
        "headline": audit.headline,
        "advice": audit.advice,
        "findings": [
            {f.name: getattr(finding, f.name) for f in dataclasses.fields(finding) if f.name != "more"}
            for finding in audit.findings
        ],
        "suspected": int(against.sum()),
        "suspected_share": float(against.mean()),
        "curves": next((found.more["picture"] for found in audit.findings if "picture" in found.more), None),
        **gallery.parts(),
        "clusters": counts(audit),
        "seconds": audit.seconds,
        "environment": computed,
        "command": command,
        "fingerprint": fingerprint(Splits(view.data, None, view.data)),
    }


def _kind(view: View) -> str:
    """What is shown of the samples: of features, that which they were made from."""
    text = view.data.info.encoder and view.source is not None and view.source.text
    return "image" if view.data.pictures is not None else "tokens" if text else view.data.info.kind


# --- the gallery ------------------------------------------------------------------------------------------------------


Places: TypeAlias = "tuple[NDArray[np.float64], float]"


class _Gallery:
    """Chooses samples to show; their pictures go to ``tensors``, each once."""

    def __init__(self, audit: Audit, tensors: dict[str, Tensor]) -> None:
        self.audit, self.tensors, self.pictured = audit, tensors, dict[int, int]()
        source, where = audit.view.source, audit.view.data.index.numpy()
        self.places = {name: _places(source.rows[name].iloc[where]) for name in source.features} if source else {}

    def parts(self) -> dict[str, Any]:
        """``gallery``, ``pairs`` and ``slices`` of the record."""
        judged = self.audit.judged
        suspected = _in_turn(judged, np.flatnonzero(judged.suspected), judged.score)
        typical = _in_turn(
            judged, np.flatnonzero(~judged.suspected), judged.easy[np.arange(len(judged.label)), judged.label]
        )
        pairs = []
        for row in suspected[:PAIRS]:
            alike = self._nearest(row, judged.label == judged.looks[row])
            fellow = self._nearest(row, judged.label == judged.label[row], away=True)
            if alike is not None and fellow is not None:
                chosen = {"suspect": row, "looks_like": alike, "same_label": fellow}
                pairs.append({key: self._shown(int(value), int(row)) for key, value in chosen.items()})
        gallery = {
            "suspects": [self._shown(int(row)) for row in suspected[:SHOWN]],
            "typical": [self._shown(int(row)) for row in typical[:SHOWN]],
        }
        found = next((finding for finding in self.audit.findings if finding.name == "slices"), None)
        named = zip(found.table, found.more.get("samples", ()), strict=False) if found else ()
        slices = [{"slice": row["slice"], "samples": [self._shown(int(one)) for one in rows]} for row, rows in named]
        self._map(suspected)
        x = self.audit.view.data.seen(torch.tensor(list(self.pictured), dtype=torch.long)) if self.pictured else None
        if x is not None:
            x = (x.clamp(0, 1) * 255).round().to(torch.uint8)
            self.tensors["picture"] = (x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x[:, :3]).contiguous()
        return {"gallery": gallery, "pairs": pairs, "slices": slices}

    def _shown(self, row: int, beside: int | None = None) -> dict[str, Any]:
        image = _kind(self.audit.view) == "image"
        picture = self.pictured.setdefault(row, len(self.pictured)) if image else None
        return _sample(self.audit, row) | {"picture": picture} | _content(self.audit, row, beside, self.places)

    def _nearest(self, row: int, among: NDArray[np.bool_], *, away: bool = False) -> int | None:
        """The typical sample that the biased model finds most like ``row``, or least like it."""
        profile = self.audit.judged.profile
        rows = np.flatnonzero(among & ~self.audit.judged.contradicts)
        if not len(rows):
            return None
        distance = np.linalg.norm(profile[rows] - profile[row], axis=1)
        return int(rows[distance.argmax() if away else distance.argmin()])

    def _map(self, suspected: NDArray[np.int64]) -> None:
        """Some samples' profiles, a third of them suspected if there are so many."""
        judged, view = self.audit.judged, self.audit.view
        few = suspected[: MAPPED // 3]
        others = view.random(6).permutation(np.flatnonzero(~judged.suspected))[: MAPPED - len(few)]
        rows = np.concatenate([few, others])
        columns = {
            "embedding": judged.profile[rows],
            "label": judged.label[rows],
            "looks": judged.looks[rows],
            "suspected": judged.suspected[rows],
            **({} if view.attribute is None else {"attribute": view.attribute[rows]}),
        }
        for name, values in columns.items():
            self.tensors[f"map_{name}"] = torch.from_numpy(np.ascontiguousarray(values))


def _in_turn(judged: Judged, rows: NDArray[np.int64], score: NDArray[Any]) -> NDArray[np.int64]:
    """The rows with the highest score first, taking turns among the classes."""
    rows = rows[np.argsort(-score[rows], kind="stable")]
    return in_turns(torch.from_numpy(judged.label), torch.from_numpy(rows)).numpy()


def _sample(audit: Audit, row: int) -> dict[str, Any]:
    judged, view = audit.judged, audit.view
    names = view.data.info.attribute_names
    return {
        "row": int(view.data.index[row]),
        "name": view.name_of(row),
        "label": view.classes[judged.label[row]],
        "looks_like": view.classes[judged.looks[row]],
        "score": round(float(judged.score[row]), 4),
        "kind": str(audit.kinds[row]) if judged.suspected[row] else TYPICAL,
        "attribute": names[view.attribute[row]] if view.attribute is not None and view.attribute[row] >= 0 else None,
    }


def _content(audit: Audit, row: int, beside: int | None, places: Mapping[str, Places]) -> dict[str, Any]:
    """The sample's text and the words to mark in it, or some cells and whether they are odd (in another's columns)."""
    source, judged = audit.view.source, audit.judged
    empty: dict[str, Any] = {"text": None, "marks": [], "cells": None}
    if source is None:
        return empty
    where = int(audit.view.data.index[row])
    if source.text:
        looks = audit.view.classes[judged.looks[row]]
        cue_words: Mapping[str, str] = {}
        for finding in audit.findings:
            cue_words = finding.more.get("cue_words", cue_words)
        marks = [word for word, goes_with in cue_words.items() if goes_with == looks]
        return empty | {"text": " / ".join(str(source.rows[name].iloc[where]) for name in source.text), "marks": marks}
    if source.features:
        odds = _odds(audit.judged, row, places)
        order = odds if beside is None else _odds(audit.judged, beside, places)
        shown = sorted(order, key=lambda name: -abs(order[name]))[:CELLS]
        values = {name: str(source.rows[name].iloc[where]) for name in shown}  # a row of a frame would turn 3 into 3.0
        cells = [{"column": name, "value": values[name], "odd": bool(odds[name] > np.log(1.5))} for name in shown]
        return empty | {"cells": cells}
    return empty


def _odds(judged: Judged, row: int, places: Mapping[str, Places]) -> dict[str, float]:
    """How clearly each column speaks for what the sample looks like and against its label: a log ratio of shares."""
    own, other = judged.label == judged.label[row], judged.label == judged.looks[row]
    odds: dict[str, float] = {}
    for name, (place, width) in places.items():
        same = np.abs(place - place[row]) <= width
        odds[name] = float(
            np.log((same[other].sum() + 1) / (other.sum() + 2)) - np.log((same[own].sum() + 1) / (own.sum() + 2))
        )
    return odds


def _places(column: pd.Series) -> Places:
    """A number for each value, and how near two must be to be about the same; missing is a value of its own.

    Numbers of many values are ranked from 0 to 1, and a tenth of the samples on either side are about the same.
    """
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column) and column.nunique() > 12:
        return column.rank(pct=True).fillna(-1).to_numpy(np.float64), 0.1
    return pd.factorize(column)[0].astype(np.float64), 0.0
