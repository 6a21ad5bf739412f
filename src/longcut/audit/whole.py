"""All checks in turn, and what they mean together."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

import longcut
from longcut.audit.base import Finding, Verdict, View
from longcut.audit.checks import CHECKS
from longcut.audit.columns import CANNOT_TELL, left_out
from longcut.audit.crossfit import FOLDS, judge
from longcut.audit.effort import FULL, QUICK, Effort, effort
from longcut.audit.given import given, named
from longcut.audit.judged import Judged
from longcut.audit.kept import in_folder, nowhere
from longcut.audit.noise import kinds, telling
from longcut.audit.numbers import in_parts
from longcut.data import Dataset, Info, Splits
from longcut.errors import UserError
from longcut.record import fingerprint

__all__ = ["Audit", "audit", "counts"]

SMALL = 40  # pixels of images that are seen as they are


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        view: what was audited.
        judged: what the models that did not see a sample say about it.
        findings: of each check that had something to look at.
        level: how often the whole audit raises a false alarm, at most.
        seconds: it took.
        compare: the command that compares methods on this data, for the advice to give.
        reduced: what was not looked at, as a sentence; empty where all was.
    """

    view: View
    judged: Judged
    findings: tuple[Finding, ...]
    level: float
    seconds: float
    compare: str = "longcut compare DATA"
    reduced: str = ""

    def __getitem__(self, name: str) -> Finding:
        return next(finding for finding in self.findings if finding.name == name)

    @property
    def shortcuts(self) -> dict[str, Finding]:
        """What the checks that look for a shortcut found, by name."""
        return {finding.name: finding for finding in self.findings if finding.name in _shares()}

    @property
    def asked(self) -> list[Finding]:
        """What was found of columns that somebody asked about (see :mod:`longcut.audit.given`)."""
        return [finding for finding in self.findings if "clause" in finding.more]

    @property
    def preface(self) -> str:
        """What to know before the rest: what was not looked at, what became of a target of numbers; or nothing."""
        return " ".join(filter(None, (self.reduced, self._in_parts)))

    @property
    def _in_parts(self) -> str:
        if self.view.original is None:
            return ""
        target, said = self.view.target, self.judged.numbers
        assert said is not None
        error = math.sqrt(float(np.square(said - target).mean()))
        return (
            f"{self.view.called} was cut into {len(self.view.classes)} parts of about equal size "
            f"({'; '.join(self.view.classes)}): where a label is named, or how many are right, these are meant. R² and "
            f"errors are of the numbers themselves: an ordinary model has R² {self.judged.explained(target):.2f} "
            f"(error {error:.3g}) on samples it did not learn from, the mean has 0 (error {target.std():.3g})."
        )

    @property
    def verdict(self) -> Verdict:
        """The gravest of the checks that look for a shortcut, and of the columns asked about."""
        found = {finding.verdict for finding in (*self.shortcuts.values(), *self.asked)}
        return next(verdict for verdict in ("alarm", "notice", "clear", "unknown") if verdict in found)

    @property
    def headline(self) -> str:
        """What was found, in one sentence."""
        for verdict, opening in (("alarm", "There is a shortcut"), ("notice", "No clear shortcut, but worth a look")):
            rows = [(f, CHECKS[f.name]) for f in self.shortcuts.values() if f.verdict == verdict]
            clauses = [finding.more["clause"] for finding in self.asked if finding.verdict == verdict]
            clauses += [check.clause(self.judged) for _, check in rows if check.clause]
            cues = {_cue(finding, check.cue): finding for finding, check in rows if not check.clause}
            most = [cue for cue, finding in cues.items() if verdict == "notice" and finding.more.get("most")]
            what = "the label" if self.view.original is None else self.view.called
            if most:
                uses = "it uses" if clauses else "a model uses"
                clauses.append(f"{' and '.join(most)} {'says' if len(most) == 1 else 'say'} most of what {uses}")
                return f"No clear shortcut, but {', and '.join(clauses)}. Is that intended?"
            if cues:
                says = "away" if verdict == "alarm" else "partly away"
                clauses.append(f"{' and '.join(cues)} {'gives' if len(cues) == 1 else 'give'} {what} {says}")
            if clauses:
                return f"{opening}: {', and '.join(clauses)}."
        unseen = sum(why not in CANNOT_TELL for why in self.left_out.values())
        rest = f" in what was compared; {unseen} column{'s were' if unseen > 1 else ' was'} not" if unseen else ""
        return f"No shortcut was found{rest}."

    @cached_property
    def left_out(self) -> dict[str, str]:
        """The columns that no check compared with the label, and why (:func:`longcut.audit.columns.left_out`)."""
        return left_out(self.view)

    @property
    def advice(self) -> str:
        """What to do about it; a command stands at the end, to be copied as it is."""
        verdicts = {finding.name: finding.verdict for finding in self.findings}
        known = self.view.attribute is not None
        if self.view.original is not None and self.verdict == "alarm":
            worst = f" and compare methods by their worst group: {self.compare} --methods erm,group-dro"
            return (
                "Ask whether the model is meant to look at this; if not, leave it out, or collect samples that "
                f"contradict it{worst if known else '.'}"
            )
        if verdicts.get("learned") == "alarm" and verdicts.get("order") != "alarm":
            return f"Look at the suspected samples, and train past it: {self.compare} --methods erm,selecmix"
        if verdicts.get("order") == "alarm":
            return "The methods that need no label for the shortcut do not fit here; use the attribute, if it is known."
        if self.verdict == "alarm" and known:
            return f"Compare methods by their worst group: {self.compare} --methods erm,selecmix,resample:by=group"
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

    def _repr_html_(self) -> str:
        """In a notebook: headline, advice and findings."""
        from longcut.notebook import shown

        rows = [
            {
                "verdict": finding.verdict,
                "check": finding.name,
                "found": finding.sentence,
                "statistic": finding.statistic,
                "without a shortcut": finding.baseline,
                "p": finding.p_value,
            }
            for finding in self.findings
        ]
        return shown(f"{self.verdict}: {self.headline}", rows, notes=(self.preface, self.advice))

    def with_finding(self, finding: Finding) -> Audit:
        """The audit and one more."""
        return dataclasses.replace(self, findings=(*self.findings, finding))

    @cached_property
    def kinds(self) -> NDArray[np.str_]:
        """What each sample is taken for (see :func:`longcut.audit.noise.kinds`)."""
        return kinds(self.judged, telling(self.shortcuts))

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
    limit: int = FULL.samples,
    columns: Sequence[str] = (),
    folder: Path | None = None,
    progress: Callable[[float, int], None] | None = None,
    quick: bool = False,
    foreseen: Callable[[Effort], None] | None = None,
    ended: Callable[[Finding], None] | None = None,
) -> Audit:
    """Look for a shortcut in data, by every check.

    Args:
        data: what to audit. Of a data set with parts of its own the training part is audited, for that is what a model
            would learn from; parts that were only drawn are put together again.
        net: spec of the ordinary network; default: for images ``conv:width=16,side=40``, or of those with more pixels
            ``side=32``; else ``auto``.
        level: how often the whole audit may raise an alarm where there is nothing, in (0, 1). The checks that look for
            a shortcut divide it among themselves by their shares in :data:`~longcut.audit.checks.CHECKS`.
        seed: of everything that is drawn.
        limit: larger data is audited by a sample of this many, every class in proportion.
        columns: names of columns that are asked about, each by :func:`longcut.audit.given.given`; ``all``: every one
            that is known beside the input.
        folder: where the audit is to be written; what each model said is kept there until
            :func:`longcut.audit.kept.forget`, so that one that was killed does not train it again. None keeps nothing.
        progress: told how many of how many models are trained.
        quick: look at 5,000 samples at most, by models of two folds in place of four; less is found.
        foreseen: told, before any model is trained, how long it will take; None: nobody measures it.
        ended: told of each check as it ends; those that need no model come first.

    Raises:
        UserError: for an unknown column, a single class, a class with fewer than four samples, a target of several
            numbers, or one that is always the same, or a level out of range.

    Example::

        found = audit(longcut.load("photos"))
        print(found.headline)
    """
    began = time.perf_counter()
    if not 0 < level < 1:
        raise UserError(f"the level is {level}; give a share of false alarms above 0 and below 1, such as 0.05.")
    whole, scope = _audited(data), QUICK if quick else FULL
    view = _view(whole, level, seed, min(limit, scope.samples) if quick else limit)
    samples, asked = view.data, named(view, columns)
    with view.threads():
        net = net or _usual(samples.info)
        keep = nowhere
        if folder is not None:
            stored = view.original or samples
            key = (longcut.__version__, torch.__version__, torch.get_num_threads(), net, seed, scope.folds)
            keep = in_folder(folder, *key, fingerprint(Splits(stored, None, stored)))
        if foreseen:
            foreseen(effort(view, net, scope.folds))
        found: dict[str, Finding] = {}
        shares = _shares()
        first = [name for name in shares if CHECKS[name].early and view.original is None]
        for name in first:
            _add(found, name, dataclasses.replace(view, level=shares[name] * level), None, {})
            if ended and name in found:
                ended(found[name])
        judged = judge(view, net, progress, scope.folds, keep)
        for name in [name for name in shares if name not in first]:
            _add(found, name, dataclasses.replace(view, level=shares[name] * level), judged, {})
        shortcuts = {name: found[name] for name in shares if name in found}
        found = dict(shortcuts)
        for name in CHECKS:
            if name not in shares:
                _add(found, name, view, judged, shortcuts)
        findings = (*found.values(), *(given(view, name, values) for name, values in asked.items()))
        reduced = _reduced(len(samples), len(whole), quick)
        return Audit(view, judged, findings, level, time.perf_counter() - began, reduced=reduced)


def _usual(info: Info) -> str:
    """The ordinary net; larger pictures are seen at 32 pixels."""
    if len(info.shape) != 3:
        return "auto"
    return f"conv:width=16,side={SMALL if min(info.shape[1:]) <= SMALL else 32}"


def _reduced(n: int, of: int, quick: bool) -> str:
    """Of what was looked at, what is not all there is."""
    looked = f"{n:,} of {of:,} samples were looked at" if n < of else f"all {n:,} samples were looked at"
    if quick:
        return f"quick: {looked}, by models of {QUICK.folds} folds in place of {FULL.folds}; a full audit finds more."
    return f"{looked}, every class in proportion (--limit)." if n < of else ""


def _shares() -> dict[str, float]:
    """The share of the level of each check that looks for a shortcut; together no more than 1."""
    declared = {name: check.share for name, check in CHECKS.items() if check.share is not None}
    return {name: share / max(1.0, math.fsum(declared.values())) for name, share in declared.items()}


def _add(
    found: dict[str, Finding], name: str, view: View, judged: Judged | None, shortcuts: Mapping[str, Finding]
) -> None:
    """What a check found, under the check's name in the table; nothing where it had nothing to look at."""
    finding = CHECKS[name].function(view, cast(Judged, judged), shortcuts)  # None for an early one
    if finding is not None:
        found[name] = dataclasses.replace(finding, name=name)


def _cue(finding: Finding, cue: str) -> str:
    """What a check found to give the label away."""
    return cue.format(**finding.table[0]) if cue else f"what the check '{finding.name}' found"


def _audited(data: Splits | Dataset) -> Dataset:
    if isinstance(data, Dataset):
        return data
    source = data.train.source
    own = source is None or source.official or not source.encoding
    return data.train if own else data.whole


def _view(data: Dataset, level: float, seed: int, limit: int) -> View:
    """The samples that are audited; a target of numbers is cut into parts."""
    if data.info.task == "classification":
        return View(_sample(data, limit, seed), data.source, level, seed)
    parts = in_parts(data)
    rows = _sample(dataclasses.replace(parts, index=torch.arange(len(parts))), limit, seed).index
    return View(parts.take(rows), data.source, level, seed, data.take(rows))


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
