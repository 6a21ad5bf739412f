"""The panels about runs that are pictures: bars, curves, training samples, mixtures and maps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from longcut.report import embed, figures
from longcut.report.base import Page
from longcut.report.figures import metric_title
from longcut.report.study import Contender, Study, name_of
from longcut.report.template import fragment

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Words", "bars", "contenders_with", "maps", "mixtures", "samples", "training", "with_names"]

SAMPLES, PAIRS, PICTURED = 20, 6, 3  # pictures of a kind, and methods with pictures; studies share them


def bars(study: Study, page: Page) -> Markup | None:
    """Bars of the metrics that matter most; None where none of them is defined."""
    drawn = [_bars(study, metric, page) for metric in study.metrics(study.scale.bars)]
    return fragment("study", "bars", study, drawn) if drawn else None


def _bars(study: Study, metric: str, page: Page) -> Markup:
    values = {contender.name: contender.values(metric) for contender in study.contenders}
    intervals = {contender.name: contender.interval_of_mean(metric) for contender in study.contenders}
    scale = study.scale
    unit = " %" if scale.percent else ""
    means = ", ".join(f"{c.name} {scale.write(c.mean(metric))}{unit}" for c in study.contenders)
    return embed.svg(
        figures.accuracy({metric: values}, page.looks, intervals={metric: intervals}, percent=scale.percent),
        f"{metric_title(metric)} on the test set, mean over seeds: {means}.",
        next(page.ids),
    )


def training(study: Study, page: Page) -> Markup | None:
    """Test metrics over the epochs; None where no method was watched more than once."""
    drawn = list(_curves(study, page))
    if not drawn:
        return None
    names = [contender.name for contender in study.contenders]
    legend = embed.legend(names, [page.looks[name] for name in names], page.ids, line=True)
    return fragment("study", "training", study, drawn, legend)


def _curves(study: Study, page: Page) -> Iterator[Markup]:
    """Test metrics over the epochs, where at least one method was watched more than once."""
    scale = study.scale
    for metric in study.metrics(scale.curves):
        lines = {contender.name: contender.curve(metric) for contender in study.contenders}
        lines = {name: line for name, line in lines.items() if line[0]}
        if any(len(epochs) > 1 for epochs, _ in lines.values()):
            ends = ", ".join(
                f"{name} {scale.write(float(np.mean([seed[-1] for seed in seeds])))} at epoch {epochs[-1]}"
                for name, (epochs, seeds) in lines.items()
            )
            title = metric_title(metric)
            figure = figures.curve(lines, page.looks, title, percent=scale.percent)
            yield embed.svg(figure, f"{title} on the test set over the epochs; it ends with {ends}.", next(page.ids))


# --- samples, mixtures and maps ---------------------------------------------------------------------------------------


class Words:
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
                found.append(name_of(names, int(column[i])) if column[i] >= 0 else "")
        return found[0], found[1]


def contenders_with(study: Study, tensor: str) -> list[tuple[Contender, Mapping[str, Tensor], Mapping[str, Any]]]:
    """The contenders whose first run has that tensor in its gallery, and the gallery."""
    found = [(contender, *contender.runs[0].gallery()) for contender in study.contenders]
    return [item for item in found if tensor in item[1]]


def samples(study: Study, page: Page) -> Markup | None:
    """Training images that agree with the shortcut, and that contradict it; None where the runs keep none."""
    n = max(4, SAMPLES // page.studies)
    found: dict[str, list[dict[str, Any]]] = {"agree": [], "contradict": []}
    tensors, about = study.runs[0].gallery()
    words = Words(about)
    for i, image in enumerate(tensors.get("sample_x", ())):
        label, attribute = words(tensors, "sample", i)
        row = found["contradict" if tensors["sample_conflicting"][i] else "agree"]
        if len(row) < n:
            row.append({"uri": embed.uri(image.numpy()), "label": label, "attribute": attribute})
    return fragment("study", "samples", study, found) if any(found.values()) else None


def mixtures(study: Study, page: Page) -> Markup | None:
    """Pairs that were mixed, by method and by what the two have in common; None where no method mixes."""
    found = list(_mixtures(study, max(3, PAIRS // page.studies), max(1, PICTURED // page.studies)))
    return fragment("study", "mixtures", found) if found else None


def _mixtures(study: Study, n: int, methods: int) -> Iterator[dict[str, Any]]:
    found = contenders_with(study, "pair_mixed_x")[:methods]
    for contender, tensors, about in found:
        kinds: dict[tuple[int, str], list[int]] = {}
        for i in range(len(tensors["pair_share"])):
            kinds.setdefault(_kind(tensors, i, study.cue or "attribute"), []).append(i)
        parts = []
        for (_, title), rows in sorted(kinds.items()):
            pairs = [_pair(tensors, Words(about), i) for i in rows[: max(2, n // len(found))]]
            parts.append({"title": title, "count": len(rows), "pairs": pairs})
        yield {"name": contender.name, "count": len(tensors["pair_share"]), "kinds": parts}


def _pair(tensors: Mapping[str, Tensor], words: Words, i: int) -> dict[str, Any]:
    pair: dict[str, Any] = {"share": 100 * float(tensors["pair_share"][i])}
    for part in ("anchor", "partner", "mixed"):
        label, attribute = words(tensors, f"pair_{part}", i)
        uri = embed.uri(tensors[f"pair_{part}_x"][i].numpy())
        pair[part] = {"uri": uri, "label": label, "attribute": attribute}
    return pair


def _kind(tensors: Mapping[str, Tensor], i: int, cue: str) -> tuple[int, str]:
    """What anchor and partner of pair ``i`` have in common: place among other kinds, and words."""
    same = {}
    for what, word in (("label", "label"), ("attribute", cue)):
        own, other = (tensors.get(f"pair_{part}_{what}") for part in ("anchor", "partner"))
        if own is not None and other is not None and not own.is_floating_point() and min(own[i], other[i]) >= 0:
            same[word] = bool(own[i] == other[i])
    common = [word for word in same if same[word]]
    apart = [word for word in same if not same[word]]
    words = ([f"same {' and '.join(common)}"] if common else []) + ([f"another {' and '.join(apart)}"] if apart else [])
    contradicting = len(common) == len(apart)
    return not contradicting, ", ".join(words).capitalize()


def with_names(column: Tensor, names: Sequence[str]) -> tuple[Tensor, list[str]]:
    """Ids and what each is called; where it is not known, -1, that is the last.

    >>> import torch
    >>> with_names(torch.tensor([0, -1]), ["land", "water"])
    (tensor([0, 1]), ['land', 'not known'])
    """
    called = [name_of(names, i) for i in range(int(column.max()) + 1)]
    if (column < 0).any():
        column, called = column.where(column >= 0, len(called)), [*called, name_of(names, -1)]
    return column, called


def maps(study: Study, page: Page) -> Markup | None:
    """Each net's features, and its bias model's, coloured by label and by attribute; None where nobody kept them."""
    found = list(_maps(study, max(1, PICTURED // page.studies), page.ids))
    return fragment("study", "maps", found) if found else None


def _maps(study: Study, methods: int, ids: Iterator[str]) -> Iterator[dict[str, Any]]:
    for contender, tensors, about in contenders_with(study, "embedding_label")[:methods]:
        label, ringed = tensors["embedding_label"], tensors["embedding_conflicting"].numpy()
        for who, tensor in (("bias model", "embedding"), ("net", "features")):
            place = figures.flatten(tensors[tensor].numpy()) if tensor in tensors else None
            if place is None or label.is_floating_point():
                continue
            views = []
            for what, names in Words(about).names.items():
                column = tensors.get(f"embedding_{what}")
                if column is None:
                    continue
                column, called = with_names(column, names)
                looks = figures.looks_of(called, named=what == "attribute")
                alt = f"Map of {len(place)} training samples as the {who} of {contender.name} sees them, by {what}."
                picture = embed.svg(figures.points(place, column.tolist(), looks, ringed), alt, next(ids))
                title = study.cue or what if what == "attribute" else what
                views.append({"title": title, "svg": picture, "legend": embed.legend(called, looks, ids, line=False)})
            yield {"who": who, "name": contender.name, "views": views, "ringed": bool(ringed.any())}
