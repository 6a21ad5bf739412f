"""Whose attribute is worth looking up: of the data of an audit or a run, round after round.

:func:`annotate` reads the data and the answers so far, and chooses; :func:`write` writes what is to be looked up, as a
table and as a page to click.
"""

from __future__ import annotations

import dataclasses
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from longcut import runs
from longcut.audit import folder as audits
from longcut.data import Dataset, Splits
from longcut.datasets import load, parse, spec_of, title_of
from longcut.deploy import load_net
from longcut.errors import UserError, unknown
from longcut.files import replacing, unwritable
from longcut.folders import require_either
from longcut.lookup.advice import Advice, advise
from longcut.lookup.answers import LOT, RULE, Answer, attach, name_of, names_of, read
from longcut.lookup.answers import write as write_answers
from longcut.lookup.rounds import Gain, choose, filling, gain, standardised
from longcut.lookup.rules import RULES, Seen
from longcut.methods.last_layer.balanced import Unknown, cross_fitted, usual_of
from longcut.methods.last_layer.heads import features_of
from longcut.record import fingerprint
from longcut.sources import Progress

__all__ = ["LookUp", "annotate", "write"]

PAGE, TABLE, ANSWERS = "look-up.html", "to-look-up.csv", "answers.csv"


@dataclass(frozen=True)
class LookUp:
    """What is to be looked up, and what is known so far.

    Attributes:
        spec: of the data.
        train: the samples that may be asked.
        rows: positions in ``train``, the most worthwhile first ``(n,)``; empty when all are answered.
        lot: which of them were drawn by lot ``(n,)``.
        score: of each training sample: one minus the probability of its label ``(m,)``.
        values: of the attribute.
        answers: so far.
        usual: for each class its usual value; empty before the first answer.
        counter: how many answers are counter-examples.
        unknown: how the attribute of all others is best taken.
        share: of samples that are not as usual, as far as it can be told; else nan.
        gain: what the later half of the answers brought, where that can be told.
        advice: what to do.
    """

    spec: str
    train: Dataset
    rows: NDArray[np.int64]
    lot: NDArray[np.bool_]
    score: NDArray[np.float64]
    values: tuple[str, ...]
    answers: list[Answer]
    usual: NDArray[np.int64]
    counter: int
    unknown: Unknown
    share: float
    gain: Gain | None
    advice: Advice

    def to_dict(self) -> dict[str, Any]:
        """As plain containers."""
        info = self.train.info
        usual = {info.class_names[i]: self.values[value] for i, value in enumerate(self.usual)}
        return {
            "data": self.spec,
            "to_look_up": len(self.rows),
            "values": list(self.values),
            "answers": len(self.answers),
            "counter_examples": self.counter,
            "usual": usual,
            "unknown": self.unknown,
            "unusual_share": self.share,
            "gain": None if self.gain is None else dataclasses.asdict(self.gain),
            "enough": bool(self.gain is not None and self.gain.enough),
            "advice": dataclasses.asdict(self.advice),
        }


def annotate(
    found: Path | str,
    *,
    budget: int = 100,
    answers: Sequence[Path | str] = (),
    values: Sequence[str] = (),
    rule: str = "suspicion",
    seed: int = 0,
    progress: Progress | None = None,
) -> LookUp:
    """Choose the training samples whose attribute is worth most.

    Tables and embeddings are judged by cross-fitted logistic regressions on their columns; the data of a run by the
    same on what its net makes of it; images and texts of an audit by the audit's biased model.

    Args:
        found: folder of an audit or of a run.
        budget: how many at most.
        answers: files of earlier rounds; what they answer is not asked again.
        values: of the attribute; by default the data's own, or those that were answered.
        rule: one of :data:`longcut.lookup.rules.RULES`.
        seed: of what is drawn.
        progress: told how many images of how many are decoded.

    Raises:
        UserError: for a folder that is neither, data that has changed since or is a regression, an unknown rule, values
            that nobody told, or answers that do not fit.
    """
    if rule not in RULES:
        raise unknown("rule", rule, RULES)
    spec, splits, features, probability, rows, record = _read(Path(found), progress)
    train = splits.train.take(rows)
    files = [Path(file) for file in answers]
    where = ", ".join(map(str, files)) or "the answers"
    theirs = splits.info.attribute_names
    if values and theirs and tuple(values) != theirs:
        raise UserError(
            f"{title_of(spec)} has the attribute values {', '.join(theirs)}, but the values given are "
            f"{', '.join(values)}; leave --values out."
        )
    declared = tuple(values) or theirs
    said = read(files, declared)
    names = names_of(said, declared)
    if len(set(names)) != len(names) or len(names) < 2:
        raise UserError(
            f"an attribute needs two different values or more, but {', '.join(names) or 'none'} is known; "
            "give them, such as --values land,water."
        )
    own = splits.train if splits.train.attribute is None else dataclasses.replace(splits.train, attribute=None)
    known = attach(own, said, names, where)[rows].numpy()
    if train.attribute is not None:
        known = np.where(known < 0, train.attribute.numpy(), known)
        if (train.attribute >= 0).all():
            raise UserError(
                f"every training sample of {title_of(spec)} has its attribute; there is nothing to look up."
            )
    asked = np.isin(train.index.numpy(), [answer.row for answer in said]) | (known >= 0)
    generator, label = np.random.default_rng([seed, 41]), train.label.numpy()
    if probability is None:
        probability = cross_fitted(features, label, train.info.n_classes, generator)
    seen = Seen(features, label, probability, ~asked)
    score, usual, brought = 1 - seen.own, np.zeros(0, np.int64), None
    lots = {answer.row for answer in said if answer.lot}
    how, share, counter = "usual", float("nan"), 0
    told = known >= 0
    if told.any():
        usual = usual_of(label, known, score, train.info.n_classes, len(names))
        lot = np.isin(train.index.numpy(), list(lots))
        how, share = filling(label[told], known[told], usual, lot[told])
        counter = int((known[told] != usual[label[told]]).sum())
        brought = gain(seen, known, usual, generator)
    chosen, lot = choose(seen, budget, rule, generator, known if told.any() else None, usual if told.any() else None)
    cells = np.unique(np.stack([label[told], known[told]]), axis=1)
    compare = shlex.join(["longcut", "compare", spec])
    about = {"kind": train.info.kind, "wide": math.prod(train.info.shape), "compare": compare}
    enough = brought is not None and brought.enough
    known_so_far = {"answered": int(told.sum()), "counter": counter, "cells": cells, "unusual": share, "enough": enough}
    advice = advise(record, budget=budget, **known_so_far, **about)
    return LookUp(spec, train, chosen, lot, score, tuple(names), said, usual, counter, how, share, brought, advice)


def _read(found: Path, progress: Progress | None) -> tuple[Any, ...]:
    """Spec, splits, features, probabilities or None, rows of the training set, and the audit's record or None."""
    if (found / runs.RECORD).is_file():
        run = runs.read(found)
        plan = run.record.plan
        spec, splits = _loaded(plan.data, plan.data_seed, progress)
        if spec == plan.data and run.record.fingerprint != fingerprint(splits):
            raise UserError(f"the data of the run in {found} has changed; bring the old data back, or train again.")
        net, _ = load_net(run)
        return spec, splits, standardised(features_of(net, splits.train).x.numpy()), None, slice(None), None
    require_either(found)
    record, _ = audits.read(found)
    judged = audits.judged(found)
    spec, splits = _loaded(record["data"], record["seed"], progress)
    if record["task"] != "classification" or splits.info.task != "classification":
        raise UserError(f"the data of {found} is a regression; annotate needs data with classes.")
    place = torch.full((max(splits.info.n_stored, int(judged["index"].max()) + 1),), -1)
    place[splits.train.index] = torch.arange(len(splits.train))
    rows = place[judged["index"]]
    label = splits.train.label[rows.clamp_min(0)]
    same = (label == judged["label"]) | (rows < 0)
    if tuple(record["classes"]) != splits.info.class_names or not bool(same.all()) or not bool((rows >= 0).any()):
        raise UserError(f"the audit in {found} is of other data than {title_of(spec)} is now; audit again.")
    inside, rows = rows >= 0, rows[rows >= 0]
    if splits.info.kind == "table":
        x = splits.train.x[splits.train.index[rows]].numpy()
        return spec, splits, standardised(x), None, rows, record
    probability = judged["probability"][inside].double().numpy()
    return spec, splits, standardised(judged["profile"][inside].numpy()), probability, rows, record


def _loaded(spec: str, seed: int, progress: Progress | None) -> tuple[str, Splits]:
    """The data that was looked at, not what was answered about it."""
    name, options = parse(spec)
    if name == "answered":
        spec = spec_of(*parse(options["data"]))
    splits = load(spec, seed, progress)
    if splits.info.task != "classification":
        raise UserError(f"{title_of(spec)} is a regression; annotate needs data with classes.")
    return spec, splits


def write(look_up: LookUp, folder: Path | str, attribute: str = "attribute") -> Path:
    """Write the table and the page of what is to be looked up, and all answers so far; returns the folder.

    Args:
        look_up: what was chosen.
        folder: new, empty or of an earlier round, whose files are replaced.
        attribute: what it is called on the page.

    Raises:
        UserError: when the folder holds something else, or cannot be written.
    """
    from longcut.report.lookup import page, shown

    folder = Path(folder)
    ours = {PAGE, TABLE, ANSWERS}
    if folder.exists() and (not folder.is_dir() or any(path.name not in ours for path in folder.iterdir())):
        raise UserError(f"{folder} exists and holds something else than look-ups; choose a new or empty folder.")
    train, info = look_up.train, look_up.train.info
    asked = [
        Answer(row := int(train.index[i]), "", name_of(train, row), info.class_names[int(train.label[i])], score, lot)
        for i, score, lot in zip(look_up.rows, look_up.score[look_up.rows], look_up.lot, strict=True)
    ]
    said = [(f"{one.score:.6g}", LOT if one.lot else RULE) for one in asked]
    title = f"Look up: {attribute} of {len(asked)} samples of {title_of(look_up.spec)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_answers(asked, folder / TABLE)
        with replacing(folder / PAGE) as temporary:
            temporary.write_text(page(title, attribute, look_up.values, shown(train, look_up.rows, said)), "utf-8")
        if look_up.answers:
            write_answers(look_up.answers, folder / ANSWERS)
    except OSError as error:
        raise unwritable(folder, error, "the look-ups to ", "choose another folder") from error
    return folder
