"""A stress test: methods on data with one shortcut of the zoo after the other, and on the same data without any.

Each method is trained on each cue with each seed, and on two null cases: ``none`` gives values out and shows them
nowhere, and another has wrong labels besides. What a method gains where there is a shortcut stands beside what it costs
where there is none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from longcut.clusters import Cluster
from longcut.compare import compare, difference, folders
from longcut.cues import CUES, NONE, STRENGTHS, plant
from longcut.data import Dataset, Splits
from longcut.datasets import DATASETS, ENCODER, parse, resolve, spec_of
from longcut.errors import unknown
from longcut.evaluate import Difference, metrics, sample_values
from longcut.execute import tested
from longcut.files import to_json, written
from longcut.plans import plan
from longcut.record import Plan
from longcut.runs import Run, read
from longcut.spec import options_of, parse_method

__all__ = ["BASELINE", "DEFINITIONS", "METRICS", "NOISE", "Cell", "Matrix", "by_agreement", "matrices", "plans", "run"]

BASELINE = "erm"
NOISE = 0.2  # of the training labels, in one of the null cases
METRICS = ("worst_group", "conflicting", "average")
DEFINITIONS = {
    "worst_group": "accuracy of the worst of the groups (label, agrees with the cue or not), two for each class",
    "conflicting": "accuracy on the test samples whose cue is that of another class",
    "average": "accuracy on all test samples, in which each class has all values of the cue equally often",
}


# --- what is trained --------------------------------------------------------------------------------------------------


def plans(
    data: str,
    splits: Splits,
    *,
    methods: Sequence[str] = ("erm", "selecmix"),
    cues: Sequence[str] = (),
    strengths: Sequence[str] = ("easy",),
    seeds: int = 3,
    samples: int = 0,
    ratio: float = 0.02,
    features: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> list[Plan]:
    """Everything that is to be trained: each method on each cue and on the null cases, with each seed.

    Args:
        data: spec of the data.
        splits: the data, to see whether the cues go with it.
        methods: specs; ``erm`` is put before them where none of them is.
        cues: names, or names joined by ``+``, each perhaps with its own strength; empty: all of the data's kind.
        strengths: of the cues that do not say.
        seeds: how many; a seed also draws the data.
        samples: training samples at most; 0: all.
        ratio: share of the training samples of each class that conflict.
        features: spec of a pretrained net whose features stand for what the cues were planted in; None: they stay.
        settings: see :func:`longcut.plans.plan`.

    Raises:
        UserError: for data without classes, a cue of another kind, one that has no room in the data, and for an unknown
            cue, strength, method or setting.
    """
    for strength in strengths:
        if strength not in STRENGTHS:
            raise unknown("strength", strength, STRENGTHS)
    info = splits.info
    names = [cue for cue in cues or CUES if cue != NONE and (cues or CUES[cue].kind == info.kind)]
    planted: list[dict[str, Any]] = [
        {"cue": cue, "strength": strength} for cue in names for strength in (strengths if _open(cue) else strengths[:1])
    ]
    few = splits.train.take(torch.arange(min(2, len(splits.train))))
    for one in [{"cue": NONE, "strength": "easy"}, *planted]:
        plant(Splits(few, None, few), one["cue"], strength=one["strength"])  # refuses what does not go with the data
    planted += [{"cue": NONE}, {"cue": NONE, "noise": NOISE}]
    given = {"data": data, "ratio": ratio, "samples": samples}
    if not any(parse_method(method)[0] == BASELINE for method in methods):
        methods = [BASELINE, *methods]
    return [
        plan(resolve(spec_of("planted", given | one), features), method, settings=settings, seed=seed)
        for one in planted
        for method in methods
        for seed in range(seeds)
    ]


def _open(cue: str) -> bool:
    """Whether some of the cues joined in a spec do not say how strong they are."""
    return any("strength=" not in one for one in cue.split("+"))


def run(
    plans: Sequence[Plan],
    out: Path | str,
    jobs: int | Cluster = 1,
    progress: Callable[[float, int], None] | None = None,
    device: torch.device | str = "cpu",
) -> Matrix:
    """Train all that is planned, each data set in a folder of its own, and write ``out/stress.json``.

    Args:
        plans: of :func:`plans`.
        out, jobs, progress, device: see :func:`longcut.compare.compare`, which resumes.

    Raises:
        UserError: as there.
    """
    out = Path(out)
    compare(plans, out, jobs, progress, device, by_data=True)
    sides: dict[tuple[str, str], list[Run]] = {}
    for folder, one in zip(folders(plans, out, by_data=True), plans, strict=True):
        sides.setdefault((one.data, one.label), []).append(read(folder))
    (found,) = matrices((label, members) for (_, label), members in sides.items())
    with written(out / "stress.json") as temporary:
        temporary.write_text(to_json(found.to_dict(), indent=1) + "\n", "utf-8")
    return found


# --- what came of it --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """A method on a cue.

    Attributes:
        runs: how many seeds.
        values: of each metric, the mean over seeds; see ``DEFINITIONS``.
        gain: how much higher than the baseline, by a paired bootstrap over the test samples, seeds averaged: of the
            conflicting samples, and where there is no cue of all samples. None for the baseline, and where the two
            have not been judged on the same samples.
    """

    runs: int
    values: Mapping[str, float]
    gain: Difference | None

    def to_dict(self) -> dict[str, Any]:
        return {"runs": self.runs, **self.values, "gain": None if self.gain is None else self.gain.to_dict()}


@dataclass(frozen=True)
class Matrix:
    """Methods and cues on one data set.

    Attributes:
        data: spec of the data in which the cues were planted.
        given: what else was asked for, such as ``{"ratio": 0.02}``.
        methods: their names, the baseline first.
        cues: their names with their strengths; the null cases last.
        cells: by method and cue; not every pair need be there.
    """

    data: str
    given: Mapping[str, Any]
    methods: tuple[str, ...]
    cues: tuple[str, ...]
    cells: Mapping[tuple[str, str], Cell]

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, for JSON."""
        cells = [{"method": method, "cue": cue, **cell.to_dict()} for (method, cue), cell in self.cells.items()]
        known = {"data": self.data, **self.given, "methods": self.methods, "cues": self.cues}
        return {**known, "definitions": DEFINITIONS, "cells": cells}


def matrices(sides: Iterable[tuple[str, Sequence[Run]]], draws: int = 1000) -> list[Matrix]:
    """One matrix for each data set in which cues were planted; runs on other data are left out.

    Args:
        sides: the name of a method, and its finished runs on one data set.
        draws: bootstrap resamples of each difference.
    """
    found: dict[tuple[Any, ...], dict[tuple[str, str], Sequence[Run]]] = {}
    for name, members in sides:
        spec = members[0].record.plan.data
        place = _place(spec)
        if place is not None:
            base, cue = place
            found.setdefault(base, {})[name, cue] = members
    return [_matrix(base, runs, draws) for base, runs in found.items()]


def _place(spec: str) -> tuple[tuple[Any, ...], str] | None:
    """The data that a cue was planted in, with its options, and the name of the cue with its strength; else None."""
    seen = {}
    if spec.partition(":")[0] == "embedded":
        of = parse(spec)[1]
        spec, seen = of["data"], {"features": of.get("encoder", ENCODER)}
    if spec.partition(":")[0] != "planted":
        return None
    options = {o.name: o.default for o in options_of(DATASETS["planted"].function)} | parse(spec)[1] | seen
    data, cue, strength, noise = (options.pop(name) for name in ("data", "cue", "strength", "noise"))
    said = [cue, *([strength] if cue != NONE and _open(cue) else []), *([f"{noise:.0%} wrong labels"] if noise else [])]
    return (data, *options.items()), ", ".join(said)


def _matrix(base: tuple[Any, ...], runs: Mapping[tuple[str, str], Sequence[Run]], draws: int) -> Matrix:
    data, *given = base
    named = {name: members[0].record.plan for (name, _), members in runs.items()}
    plain = sorted((name for name, one in named.items() if one.method == BASELINE), key=lambda n: n.lower() != BASELINE)
    baseline = plain[0] if plain else ""
    methods = sorted(named, key=lambda name: name != baseline)
    cues = sorted(dict.fromkeys(cue for _, cue in runs), key=_is_null)
    cells = {
        (method, cue): _cell(runs[method, cue], runs.get((baseline, cue), ()) if method != baseline else (), cue, draws)
        for method in methods
        for cue in cues
        if (method, cue) in runs
    }
    return Matrix(data, dict(given), tuple(methods), tuple(cues), cells)


def _is_null(cue: str) -> bool:
    return cue.partition(",")[0] == NONE


def _cell(members: Sequence[Run], baseline: Sequence[Run], cue: str, draws: int) -> Cell:
    rows = []
    for run in members:
        test = by_agreement(run)
        rows.append(metrics(sample_values(run.predictions()["outputs"], test), test))
    gain = None
    prints = [{run.record.fingerprint for run in side} for side in (members, baseline)]
    if baseline and prints[0] == prints[1]:
        metric = "average" if _is_null(cue) else "conflicting"
        gain = difference(members, baseline, metric, draws=draws, judged=by_agreement)
    return Cell(len(members), {name: fmean(row[name] for row in rows) for name in METRICS}, gain)


def by_agreement(run: Run) -> Dataset:
    """The test set of a run in two groups for each class: where the attribute agrees with the label, and where not."""
    test = tested(run)
    info = dataclasses.replace(
        test.info, n_attributes=2, attribute_names=("agrees", "conflicts"), aligned=(0,) * test.info.n_classes
    )
    return dataclasses.replace(test, attribute=test.conflicting.long(), info=info)
