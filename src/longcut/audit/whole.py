"""All checks in turn, and what they mean together."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from longcut.audit.base import Finding, Verdict, View
from longcut.audit.columns import columns
from longcut.audit.cues import cues
from longcut.audit.known import known
from longcut.audit.learned import FOLDS, Judged, judge, learned
from longcut.audit.noise import kinds, noise
from longcut.audit.order import order
from longcut.audit.words import words
from longcut.data import Dataset, Splits
from longcut.errors import UserError

__all__ = ["Audit", "audit"]

SHORTCUTS = {"learned": 0.4, "columns": 0.2, "cues": 0.2, "words": 0.2}
"""The checks that look for a shortcut, and their shares of the level, so that the whole audit keeps it."""

LIMIT = 20_000


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        view: what was audited.
        judged: what the models that did not see a sample say about it.
        findings: of each check that had something to look at.
        level: how often the whole audit raises a false alarm, at most.
        seconds: it took.
    """

    view: View
    judged: Judged
    findings: tuple[Finding, ...]
    level: float
    seconds: float

    def __getitem__(self, name: str) -> Finding:
        return next(finding for finding in self.findings if finding.name == name)

    @property
    def verdict(self) -> Verdict:
        """The gravest of the checks that look for a shortcut."""
        found = [finding.verdict for finding in self.findings if finding.name in SHORTCUTS]
        return next(verdict for verdict in ("alarm", "notice", "clear", "unknown") if verdict in found)  # type: ignore[return-value]

    @property
    def headline(self) -> str:
        """What was found, in one sentence."""
        for verdict, opening in (("alarm", "There is a shortcut"), ("notice", "No clear shortcut, but worth a look")):
            found = [f for f in self.findings if f.name in SHORTCUTS and f.verdict == verdict]
            if found:
                cues = [_cue(finding) for finding in found if finding.name != "learned"]
                says = "away" if verdict == "alarm" else "partly away"
                given = [f"{' and '.join(cues)} {'gives' if len(cues) == 1 else 'give'} the label {says}"] * bool(cues)
                lost = [self._loss()] if found[0].name == "learned" else []
                return f"{opening}: {', and '.join(lost + given)}."
        return "No shortcut was found."

    def _loss(self) -> str:
        """What the learned check found, in a few words."""
        wrong, right = self.judged.wrong, self.judged.right
        return (
            f"an ordinary model is right on {right[~wrong].mean():.0%} of the samples that agree with what is "
            f"learned first, and on {right[wrong].mean():.0%} of the {wrong.sum():,} that contradict it"
        )

    @property
    def advice(self) -> str:
        """What to do about it."""
        verdicts = {finding.name: finding.verdict for finding in self.findings}
        if verdicts["learned"] == "alarm" and verdicts.get("order") != "alarm":
            return "Train past it: longcut compare DATA --methods erm,selecmix, and look at the suspected samples."
        if verdicts.get("order") == "alarm":
            return "The methods that need no label for the shortcut do not fit here; use the attribute, if it is known."
        if self.verdict == "alarm" and self.view.attribute is not None:
            return (
                "Compare methods by their worst group: longcut compare DATA --methods erm,selecmix,resample:by=group."
            )
        if self.verdict == "alarm":
            return (
                "Ask whether the model is meant to look at this; if not, collect samples that contradict it, or name "
                "it as the attribute and compare methods by their worst group."
            )
        if self.verdict == "notice":
            return (
                "Look at the suspected samples before training; nothing here calls for another method than the usual."
            )
        return "Train as usual; the methods against shortcuts have nothing to work with here."

    def with_finding(self, finding: Finding) -> Audit:
        """The audit and one more."""
        return dataclasses.replace(self, findings=(*self.findings, finding))

    @cached_property
    def kinds(self) -> NDArray[np.str_]:
        """What each sample is taken for (see :func:`longcut.audit.noise.kinds`)."""
        return kinds(self.judged, _telling(self.findings))

    @cached_property
    def clusters(self) -> NDArray[np.int64]:
        """Candidate groups: a cluster of the biased embedding within its class, for each sample ``(n,)``."""
        return _clusters(self.view, self.judged)


def audit(
    data: Splits | Dataset,
    *,
    net: str | None = None,
    level: float = 0.05,
    seed: int = 0,
    limit: int = LIMIT,
    progress: Callable[[float, int], None] | None = None,
) -> Audit:
    """Look for a shortcut in data, by every check.

    Args:
        data: what to audit. Of a data set with parts of its own the training part is audited, for that is what a model
            would learn from; parts that were only drawn are put together again.
        net: spec of the ordinary network; default: ``conv:width=16,side=40`` for images, else ``auto``.
        level: how often the whole audit may raise an alarm where there is nothing, in (0, 1).
        seed: of everything that is drawn.
        limit: larger data is audited by a sample of this many, every class in proportion.
        progress: told how many of how many models are trained.

    Raises:
        UserError: for a regression, a single class, a class with fewer than four samples, or a level out of range.

    Example::

        found = audit(longcut.load("photos"))
        print(found.headline)
    """
    began = time.perf_counter()
    if not 0 < level < 1:
        raise UserError(f"the level is {level}; give a share of false alarms above 0 and below 1, such as 0.05.")
    samples = _sample(_audited(data), limit, seed)
    view = View(samples, samples.source, level, seed)
    judged = judge(view, net or ("conv:width=16,side=40" if len(samples.info.shape) == 3 else "auto"), progress)
    at = {name: dataclasses.replace(view, level=share * level) for name, share in SHORTCUTS.items()}
    looked = [
        learned(at["learned"], judged),
        columns(at["columns"]),
        cues(at["cues"], judged.ceiling),
        words(at["words"]),
    ]
    shortcut = any(finding is not None and finding.verdict == "alarm" for finding in looked)
    looked += [known(view, judged), order(view, judged, shortcut), noise(view, judged, _telling(looked))]
    findings = tuple(finding for finding in looked if finding is not None)
    return Audit(view, judged, findings, level, time.perf_counter() - began)


def _cue(finding: Finding) -> str:
    """The strongest cue that a check found."""
    names = {"columns": "the column '{column}'", "cues": "the cue '{cue}' alone", "words": "the word '{word}'"}
    return names[finding.name].format(**finding.table[0])


def _telling(findings: Iterable[Finding | None]) -> bool:
    """Whether the debiased model can tell noise from conflict: it mends the shortcut, or there is none to mend."""
    verdicts = {finding.name: finding.verdict for finding in findings if finding is not None}
    return verdicts["learned"] == "alarm" or "alarm" not in (verdicts.get(name) for name in SHORTCUTS)


def _audited(data: Splits | Dataset) -> Dataset:
    if isinstance(data, Dataset):
        return data
    own = data.train.source is None or data.train.source.official
    return data.train if own else data.whole


def _sample(data: Dataset, limit: int, seed: int) -> Dataset:
    """At most ``limit`` samples, every class in proportion, but enough of each to be cut; in their old order."""
    if len(data) <= limit:
        return data
    draw = np.random.default_rng([seed, 7])
    label, chosen = data.label.numpy(), []
    for value in np.unique(label):
        rows = np.flatnonzero(label == value)
        chosen.append(draw.permutation(rows)[: max(FOLDS, limit * len(rows) // len(label))])
    return data.take(torch.from_numpy(np.sort(np.concatenate(chosen))))


def _clusters(view: View, judged: Judged) -> NDArray[np.int64]:
    """k-means of the profiles within each class; two to four clusters where they stand apart, else one."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    cluster = np.zeros(len(judged.label), np.int64)
    for value in np.unique(judged.label):
        rows = np.flatnonzero(judged.label == value)
        points, best = judged.profile[rows], APART
        some = view.random(8).permutation(len(rows))[:1000]
        for k in range(2, min(4, len(np.unique(points, axis=0)) - 1) + 1):
            found = KMeans(k, random_state=0).fit_predict(points)
            if len(np.unique(found[some])) < 2:  # all but a handful are in one cluster
                continue
            value_of = float(silhouette_score(points[some], found[some]))
            if value_of > best:
                best, cluster[rows] = value_of, found
    return cluster


APART = 0.4  # silhouette above which clusters count as groups


def counts(audit: Audit) -> Sequence[dict[str, object]]:
    """Candidate groups as rows: class, cluster, size, share suspected, and what its samples mostly look like."""
    judged, rows = audit.judged, []
    for c, name in enumerate(audit.view.classes):
        for k in np.unique(audit.clusters[judged.label == c]):
            inside = (judged.label == c) & (audit.clusters == k)
            looks = int(np.bincount(judged.looks[inside]).argmax())
            rows.append(
                {
                    "class": name,
                    "cluster": int(k),
                    "n": int(inside.sum()),
                    "share_suspected": float(judged.suspected[inside].mean()),
                    "looks_like": audit.view.classes[looks],
                }
            )
    return rows
