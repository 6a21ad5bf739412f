"""What stands on the page, part by part; ``page.html.j2`` says how it looks."""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
from markupsafe import Markup

import longcut
from longcut.datasets import title_of
from longcut.errors import UserError
from longcut.evaluate import METRICS
from longcut.files import to_json
from longcut.methods import METHODS
from longcut.numbers import number
from longcut.plans import plan, slug
from longcut.record import Plan
from longcut.report import analyses, figures, tables
from longcut.report.audit import Audit, section
from longcut.report.figures import Style, metric_title
from longcut.report.study import Contender, Study, differences, gallery, name_of
from longcut.spec import write

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["page"]

SHOWN = ("conflicting", "worst_group", "average", "aligned")
SAMPLES, PAIRS, PICTURED = 20, 6, 3  # pictures of a kind, and methods with pictures; studies share them


def page(audits: Sequence[Audit], found: Sequence[Study], title: str = "") -> str:
    """The HTML about some audits and some studies."""
    ids = (f"f{i}" for i in count())
    contenders = [contender for study in found for contender in study.contenders]
    names = list(dict.fromkeys(contender.name for contender in contenders))
    looks = figures.styles(names, next((c.name for c in contenders if c.is_baseline), None))
    parts = {
        "audits": [section(audit, ids) for audit in audits],
        "studies": [_section(study, looks, ids, len(found)) for study in found],
    }
    title = title or ", ".join(dict.fromkeys(part["data"] for some in parts.values() for part in some))
    return _template().render(title=title, sweeps=analyses.data_sweeps(found, looks, ids), **parts)


@cache
def _template() -> jinja2.Template:
    """The page, with the only script that may run on it and the hash by which the browser knows that."""
    loader = jinja2.PackageLoader("longcut", "report")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    script = loader.get_source(environment, "script.js")[0]
    environment.globals.update(
        metric_title=metric_title,
        definitions=METRICS,
        version=longcut.__version__,
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
    )
    return environment.get_template("page.html.j2")


def _section(study: Study, looks: Mapping[str, Style], ids: Iterator[str], sharing: int) -> dict[str, Any]:
    """Everything the template shows of one of ``sharing`` studies on the page."""
    names = [contender.name for contender in study.contenders]
    columns = study.metrics(METRICS)
    return {
        "data": title_of(study.data),
        "spec": study.data,
        "sentence": study.sentence(),
        "facts": _facts(study),
        "notes": study.notes,
        "percent": study.percent,
        "cue": study.cue or "shortcut",
        "legend": figures.legend(names, [looks[name] for name in names], ids, line=True),
        "bars": [_bars(study, metric, looks, ids) for metric in study.metrics(SHOWN)],
        "columns": columns,
        "rows": [tables.method(c, columns, looks[c.name].color, study.percent) for c in study.contenders],
        "single": {len(contender.runs) == 1 for contender in study.contenders},
        "against": tables.against(study, study.metrics(("worst_group", "average"))),
        "groups": tables.groups(study),
        "confusions": list(tables.confusions(study, max(1, PICTURED // sharing))),
        "curves": list(_curves(study, looks, ids)),
        "sweeps": analyses.method_sweeps(study, ids),
        "partners": analyses.partners(study, looks, ids),
        "knowledge": analyses.knowledge(study),
        "minority": analyses.minority(study),
        "samples": _samples(study, max(4, SAMPLES // sharing)),
        "mixtures": list(_mixtures(study, max(3, PAIRS // sharing), max(1, PICTURED // sharing))),
        "maps": list(_maps(study, max(1, PICTURED // sharing), ids)),
        "settings": _settings(study),
    }


def _facts(study: Study) -> list[str]:
    """What a reader wants to know before believing a number."""
    seeds = sorted({len(contender.runs) for contender in study.contenders})
    how_many = f"{seeds[0]}–{seeds[-1]}" if len(seeds) > 1 else str(seeds[0])
    tested = study.runs[0].scores().n
    return [
        f"{len(study.contenders)} method{'s' * (len(study.contenders) > 1)}",
        f"{how_many} seed{'s' * (how_many != '1')}{' each' * (len(study.contenders) > 1)}",
        f"{tested:,} test samples",
    ]


# --- numbers ----------------------------------------------------------------------------------------------------------


def _bars(study: Study, metric: str, looks: Mapping[str, Style], ids: Iterator[str]) -> Markup:
    values = {contender.name: contender.values(metric) for contender in study.contenders}
    intervals = {contender.name: contender.interval_of_mean(metric) for contender in study.contenders}
    unit = " %" if study.percent else ""
    means = ", ".join(f"{c.name} {number(c.mean(metric), study.percent)}{unit}" for c in study.contenders)
    return figures.svg(
        figures.accuracy({metric: values}, looks, intervals={metric: intervals}, percent=study.percent),
        f"{metric_title(metric)} on the test set, mean over seeds: {means}.",
        next(ids),
    )


def _curves(study: Study, looks: Mapping[str, Style], ids: Iterator[str]) -> Iterator[Markup]:
    """Test metrics over the epochs, where at least one method was watched more than once."""
    for metric in study.metrics(("average", "aligned", "conflicting")):
        lines = {contender.name: contender.curve(metric) for contender in study.contenders}
        lines = {name: line for name, line in lines.items() if line[0]}
        if any(len(epochs) > 1 for epochs, _ in lines.values()):
            ends = ", ".join(
                f"{name} {number(float(np.mean([seed[-1] for seed in seeds])), study.percent)} at epoch {epochs[-1]}"
                for name, (epochs, seeds) in lines.items()
            )
            title = metric_title(metric)
            figure = figures.curve(lines, looks, title, percent=study.percent)
            yield figures.svg(figure, f"{title} on the test set over the epochs; it ends with {ends}.", next(ids))


# --- pictures ---------------------------------------------------------------------------------------------------------


class _Words:
    """Labels and attributes of a gallery as people call them."""

    def __init__(self, about: Mapping[str, Any]) -> None:
        self.names = {"label": about.get("class_names", ()), "attribute": about.get("attribute_names", ())}

    def __call__(self, tensors: Mapping[str, Tensor], prefix: str, i: int) -> tuple[str, str]:
        """Label and attribute of row ``i``; the attribute is empty where it is not known."""
        found = []
        for what, names in self.names.items():
            column = tensors.get(f"{prefix}_{what}")
            if column is None:
                found.append("")
            elif column.is_floating_point():
                found.append(", ".join(f"{value:.3g}" for value in column[i].flatten().tolist()))
            else:
                found.append(name_of(names, int(column[i])))
        return found[0], found[1]


def _with(study: Study, tensor: str) -> list[tuple[Contender, Mapping[str, Tensor], Mapping[str, Any]]]:
    """The contenders whose first run has that tensor in its gallery, and the gallery."""
    found = [(contender, *gallery(contender.runs[0])) for contender in study.contenders]
    return [item for item in found if tensor in item[1]]


def _samples(study: Study, n: int) -> dict[str, list[dict[str, Any]]]:
    """Training images that agree with the shortcut, and that contradict it."""
    found: dict[str, list[dict[str, Any]]] = {"agree": [], "contradict": []}
    tensors, about = gallery(study.runs[0])
    words = _Words(about)
    for i, image in enumerate(tensors.get("sample_x", ())):
        label, attribute = words(tensors, "sample", i)
        row = found["contradict" if tensors["sample_conflicting"][i] else "agree"]
        if len(row) < n:
            row.append({"uri": figures.uri(image.numpy()), "label": label, "attribute": attribute})
    return found


def _mixtures(study: Study, n: int, methods: int) -> Iterator[dict[str, Any]]:
    """Pairs that were mixed, by method and by what the two have in common."""
    found = _with(study, "pair_mixed_x")[:methods]
    for contender, tensors, about in found:
        kinds: dict[tuple[int, str], list[int]] = {}
        for i in range(len(tensors["pair_share"])):
            kinds.setdefault(_kind(tensors, i, study.cue or "attribute"), []).append(i)
        parts = []
        for (_, title), rows in sorted(kinds.items()):
            pairs = [_pair(tensors, _Words(about), i) for i in rows[: max(2, n // len(found))]]
            parts.append({"title": title, "count": len(rows), "pairs": pairs})
        yield {"name": contender.name, "count": len(tensors["pair_share"]), "kinds": parts}


def _pair(tensors: Mapping[str, Tensor], words: _Words, i: int) -> dict[str, Any]:
    pair: dict[str, Any] = {"share": 100 * float(tensors["pair_share"][i])}
    for part in ("anchor", "partner", "mixed"):
        label, attribute = words(tensors, f"pair_{part}", i)
        uri = figures.uri(tensors[f"pair_{part}_x"][i].numpy())
        pair[part] = {"uri": uri, "label": label, "attribute": attribute}
    return pair


def _kind(tensors: Mapping[str, Tensor], i: int, cue: str) -> tuple[int, str]:
    """What anchor and partner of pair ``i`` have in common: place among other kinds, and words."""
    same = {}
    for what, word in (("label", "label"), ("attribute", cue)):
        own, other = (tensors.get(f"pair_{part}_{what}") for part in ("anchor", "partner"))
        if own is not None and other is not None and not own.is_floating_point():
            same[word] = bool(own[i] == other[i])
    common = [word for word in same if same[word]]
    apart = [word for word in same if not same[word]]
    words = ([f"same {' and '.join(common)}"] if common else []) + ([f"another {' and '.join(apart)}"] if apart else [])
    contradicting = len(common) == len(apart)
    return not contradicting, ", ".join(words).capitalize()


def _maps(study: Study, methods: int, ids: Iterator[str]) -> Iterator[dict[str, Any]]:
    """The embedding of each bias model, once coloured by label and once by attribute."""
    for contender, tensors, about in _with(study, "embedding")[:methods]:
        place = figures.flatten(tensors["embedding"].numpy())
        label = tensors["embedding_label"]
        if place is None or label.is_floating_point():
            continue
        ringed = tensors["embedding_conflicting"].numpy()
        views = []
        for what, names in _Words(about).names.items():
            column = tensors.get(f"embedding_{what}")
            if column is None:
                continue
            called = [name_of(names, i) for i in range(int(column.max()) + 1)]
            looks = figures.looks_of(called, named=what == "attribute")
            alt = f"Map of {len(place)} training samples as the bias model of {contender.name} sees them, by {what}."
            picture = figures.svg(figures.points(place, column.tolist(), looks, ringed), alt, next(ids))
            title = study.cue or what if what == "attribute" else what
            views.append({"title": title, "svg": picture, "legend": figures.legend(called, looks, ids, line=False)})
        yield {"name": contender.name, "views": views, "ringed": bool(ringed.any())}


# --- settings ---------------------------------------------------------------------------------------------------------


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
        "command": _command(study),
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
        lines.append(["report", f"runs/{slug(study.data)}"])
    return "\n".join(shlex.join(["longcut", *words]) for words in lines)


def _again(contender: Contender) -> tuple[str, list[str]] | None:
    """The method as it is typed, and further flags, that plan these very runs; None when there are none."""
    plans = [run.record.plan for run in contender.runs]
    first = plans[0]
    for spec in (first.label, first.method):
        try:
            own = plan(first.data, spec, select=first.select)
            settings = differences([first, own])[1][0]
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
