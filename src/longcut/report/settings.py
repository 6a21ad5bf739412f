"""The panels about how the runs were made: their settings, and the command that makes them again."""

from __future__ import annotations

import json
import shlex
from typing import Any

import numpy as np
from markupsafe import Markup

from longcut.errors import UserError
from longcut.files import to_json
from longcut.methods import METHODS
from longcut.places import RUNS, short
from longcut.plans import plan
from longcut.record import Plan
from longcut.report.base import Page
from longcut.report.study import Contender, Study, differences
from longcut.report.template import fragment
from longcut.spec import write

__all__ = ["command", "settings"]


def settings(study: Study, page: Page) -> Markup:
    """Settings of the runs, and what they were made with."""
    return fragment("study", "settings", study, _settings(study))


def command(study: Study, page: Page) -> Markup | None:
    """What to type to get the same runs and this page; None where no command says it."""
    typed = _command(study)
    return fragment("macros", "command", typed) if typed else None


def _settings(study: Study) -> dict[str, Any]:
    """What all runs have in common, what each method adds, and where they were made."""
    common, own = differences([contender.plan for contender in study.contenders])
    methods = [
        {
            "name": contender.name,
            "paper": METHODS[contender.plan.method].paper if contender.plan.method in METHODS else "",
            "settings": settings,
            "seeds": ", ".join(str(run.record.plan.seed) for run in contender.runs),
            "seconds": f"{np.mean([run.record.seconds for run in contender.runs]):.3g}",
            "parameters": f"{contender.runs[0].record.parameters:,}",
        }
        for contender, settings in zip(study.contenders, own, strict=True)
    ]
    runs = study.runs
    environments = {tuple(sorted(run.record.environment.items())): None for run in runs}
    prints = {(run.record.plan.data_seed, run.record.fingerprint): None for run in runs}
    return {
        "common": common,
        "methods": methods,
        "environments": [", ".join(f"{key} {value}" for key, value in items) for items in environments],
        "fingerprints": sorted(prints),
    }


def _command(study: Study) -> str:
    """What to type to get the same runs and this page; settings that no command can say are left out."""
    together: dict[tuple[Any, ...], list[str]] = {}
    lines = []
    for contender in study.contenders:
        again = _again(contender)
        if again is None:
            continue
        spec, flags = again
        seeds = [run.record.plan.seed for run in contender.runs]
        if seeds == list(range(len(seeds))):
            together.setdefault((len(seeds), *flags), []).append(spec)
        else:
            lines += [["train", study.data, "--method", spec, "--seed", str(seed), *flags] for seed in seeds]
    lines += [
        ["compare", study.data, "--methods", ",".join(specs), "--seeds", str(seeds), *flags]
        for (seeds, *flags), specs in together.items()
    ]
    if lines:
        lines.append(["report", str(RUNS / short(study.data))])
    return "\n".join(shlex.join(["longcut", *words]) for words in lines)


def _again(contender: Contender) -> tuple[str, list[str]] | None:
    """The method and further flags to type that plan exactly these runs; None where nothing does."""
    plans = [run.record.plan for run in contender.runs]
    first = plans[0]
    for spec in (first.label, first.method):
        try:
            own = plan(first.data, spec, select=first.select)
            settings = differences([first, own])[1][0]
            settings.pop("init_weights", None)  # follows from init
            flags = [word for key, value in settings.items() for word in ("--set", write("", {key: value})[1:])]
            typed = {key: str(value) for key, value in settings.items()}
            made = [plan(first.data, spec, settings=typed, seed=p.seed, select=p.select) for p in plans]
        except UserError:
            continue
        if [_unnamed(p) for p in made] == [_unnamed(p) for p in plans]:
            return spec, flags + (["--select", first.select] if first.select != "last" else [])
    return None


def _unnamed(plan: Plan) -> dict[str, Any]:
    return json.loads(to_json(plan.to_dict() | {"label": ""}))
