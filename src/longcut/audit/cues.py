"""What do trivial statistics of a sample already say about its label?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from longcut.audit.association import (
    MOST,
    balanced_accuracies,
    folds_of,
    guess,
    held_out_test,
    resampled_accuracy,
    verdict_of,
)
from longcut.audit.base import Finding, View
from longcut.audit.columns import values_of
from longcut.audit.numbers import means_elsewhere, strongest, trees_elsewhere

if TYPE_CHECKING:
    import pandas as pd

    from longcut.audit.judged import Judged

__all__ = ["cues", "draw"]

PURPOSE = 12
SAMPLES = 4000
FOLDS = 3
TREES = 40
COLUMNS = 1000  # of a table; of more, some are drawn
CHUNK = 250  # images in memory at a time
SIDE = 48  # pixels of an image that are looked at for shares and percentiles, per side
LITTLE = 0.1  # of the way from chance to certainty: where no more than that can be learned, no cue is strong

Matrix = NDArray[np.float64]


def cues(view: View, judged: Judged | None = None, shortcuts: Mapping[str, Finding] | None = None) -> Finding | None:
    """Guess the label of held-out samples from one trivial statistic at a time.

    Images: colours, brightness, contrast, sharpness, border, and what is known about the files. Text: length,
    punctuation. Tables: each column by itself. Of large data, 4,000 samples are drawn, as nearly equal in number for
    each class as can be. A single number is cut into tenths, and each tenth guesses the class that is typical of it;
    several numbers are left to a small random forest. Skill is how far a cue's balanced accuracy goes from chance to
    what can be learned.

    Args:
        view: what is audited.
        judged: says how well an ordinary model guesses samples that it did not learn from; None: nobody was asked, and
            the strongest cue is what can be learned.
        shortcuts: not looked at.

    Returns:
        The statistic is the skill of the strongest cue, the baseline its mean when the labels are permuted. None when
        no cue varies, or fewer than two classes have three samples. Of a target of numbers, see
        :func:`longcut.audit.numbers.strongest`.
    """
    if view.original is not None and judged is not None:
        return strongest(view, judged, PURPOSE, "cues", "cue", "trivial cue", partial(_told, view))
    if view.data.info.task == "regression" or (np.bincount(view.label) >= FOLDS).sum() < 2:
        return None
    rng = view.random(PURPOSE)
    rows = draw(view.label, rng)
    label = view.label[rows]
    fold = folds_of(label, FOLDS, rng)
    several, values = _split(view, rows, rng)
    guessed = {name: _forest(x, label, fold, view.seed) for name, x in several.items()}
    for name, column in values.items():
        found = values_of(column)
        if not isinstance(found, str):
            guessed[name] = guess(found[0], label, fold)
    if not guessed:
        return None
    guesses = np.stack(list(guessed.values()))
    accuracy, chance = balanced_accuracies(guesses, label), 1 / len(np.unique(label))
    p_values, permuted, strongest_permuted = held_out_test(guesses, label, fold, rng)
    ceiling = float(accuracy.max()) if judged is None else judged.ceiling
    room = max(max(ceiling, accuracy.max()) - chance, LITTLE * (1 - chance))
    skill = (accuracy - chance) / room
    order = np.lexsort((-skill, p_values > view.level))  # what chance explains comes last
    best, names = order[0], list(guessed)
    drawn = np.quantile(resampled_accuracy(guesses[best] == label, label, rng), [0.025, 0.975]) - chance
    low, high = np.minimum(drawn / room, 1)
    verdict = verdict_of(float(p_values[best]), view.level, float(drawn[0] / (1 - chance)))
    most = bool(low >= MOST)
    table = tuple(
        {
            "cue": names[i],
            "balanced_accuracy": float(accuracy[i]),
            "permuted": float(permuted[i]),
            "skill": float(skill[i]),
            "p_value": float(p_values[i]),
        }
        for i in order
    )
    return Finding(
        name="cues",
        question="What do trivial statistics already say about the label?",
        statistic=float(skill[best]),
        measure="how far the strongest cue alone goes from guessing to what can be learned",
        baseline=(strongest_permuted - chance) / room,
        interval=(float(low), float(high)),
        p_value=float(p_values[best]),
        verdict=verdict,
        sentence=_sentence(table, verdict, most, chance, ceiling, view.level),
        table=table,
        more={"most": most},
    )


def _told(view: View, rows: NDArray[np.int64], target: Matrix, fold: NDArray[np.int64]) -> dict[str, Matrix]:
    """What each cue says of a target of numbers."""
    several, single = _split(view, rows, view.random(PURPOSE))
    said = {name: trees_elsewhere(x, target, fold, view.seed) for name, x in several.items()}
    ids = {name: values_of(column) for name, column in single.items()}
    return said | {name: means_elsewhere(i[0], target, fold) for name, i in ids.items() if not isinstance(i, str)}


def _split(
    view: View, rows: NDArray[np.int64], rng: np.random.Generator
) -> tuple[dict[str, Matrix], dict[str, pd.Series]]:
    """Cues of several numbers, of which some vary, and cues of a single one."""
    import pandas as pd

    numbers, values = _measured(view, rows), _table(view, rows, rng)
    several = {name: x for name, x in numbers.items() if x.shape[1] > 1 and (x != x[0]).any()}
    return several, values | {name: pd.Series(x[:, 0]) for name, x in numbers.items() if x.shape[1] == 1}


def _sentence(
    table: tuple[dict[str, Any], ...], verdict: str, most: bool, chance: float, ceiling: float, level: float
) -> str:
    row = table[0]
    told = f"'{row['cue']}' alone guesses {row['balanced_accuracy']:.0%} right (balanced over the classes)"
    compared = f"{told}, against {chance:.0%} by chance and {ceiling:.0%} by an ordinary model"
    if verdict == "alarm":
        return f"A trivial cue nearly decides the label: {compared}. Is that what the model is meant to look at?"
    if verdict == "notice" and most:
        return f"A trivial cue is most of what a model uses: {compared}. Is that intended?"
    if verdict == "notice":
        telling = sum(row["p_value"] <= level for row in table)
        which = "1 trivial cue says" if telling == 1 else f"{telling} trivial cues say"
        return f"{which} something about the label, not enough to live on: {compared}."
    return f"None of {len(table)} trivial cues says more about the label than chance would have it: {compared}."


def draw(label: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """About 4,000 positions in order, with classes as nearly equal in number as can be, since they count the same."""
    members = [rng.permutation(np.flatnonzero(label == value)) for value in np.unique(label)]
    left, chosen = SAMPLES, []
    for i, rows in enumerate(sorted(members, key=len)):
        chosen.append(rows[: max(FOLDS, left // (len(members) - i))])
        left -= len(chosen[-1])
    return np.sort(np.concatenate(chosen))


def _forest(x: Matrix, label: NDArray[np.int64], fold: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Guesses of small random forests ``(n,)``; the forest that guesses a part has learned from the others."""
    from sklearn.ensemble import RandomForestClassifier

    guesses = np.zeros(len(label), np.int64)
    for part in range(FOLDS):
        held = fold == part
        forest = RandomForestClassifier(
            TREES,
            min_samples_leaf=max(3, len(label) // 500),
            class_weight="balanced",
            random_state=seed % 2**32,
        )
        guesses[held] = forest.fit(x[~held], label[~held]).predict(x[held])
    return guesses


# --- what is measured -------------------------------------------------------------------------------------------------


def _measured(view: View, rows: NDArray[np.int64]) -> dict[str, Matrix]:
    """Statistics of images and text, ``(n, numbers)`` by name."""
    found: dict[str, Matrix] = {}
    source, stored = view.source, view.data.index.numpy()[rows]
    found |= _images(view, torch.from_numpy(rows))
    if source and source.facts is not None:
        found |= _files(source.facts.iloc[stored])
    if source:
        for column in source.text:
            of = f" of {column}" if len(source.text) > 1 else ""
            texts = source.rows[column].iloc[stored].fillna("").astype(str)
            found |= {f"{name}{of}": x for name, x in _text(texts).items()}
    elif view.data.info.kind == "tokens":
        found["length"] = (view.data.gather(torch.from_numpy(rows)) != 0).sum(1, keepdim=True).double().numpy()
    return found


def _images(view: View, rows: Tensor) -> dict[str, Matrix]:
    """What :func:`_statistics` says, a chunk at a time: memory-mapped images are not all read at once."""
    chunks = [_statistics(x) for chunk in rows.split(CHUNK) if (x := view.data.seen(chunk)) is not None]
    if not chunks:
        return {}
    return {name: torch.cat([chunk[name] for chunk in chunks]).double().numpy() for name in chunks[0]}


def _statistics(x: Tensor) -> dict[str, Tensor]:
    """Trivial statistics of images ``(n, C, H, W)`` with values in [0, 1], ``(n, numbers)`` by name.

    Sharpness is the variance of the Laplacian: J. Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy",
    ICPR 2000.
    """
    n, channels, height, width = x.shape
    colour = channels == 3
    light = (x * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1) if colour else x.mean(1)
    some = (..., slice(None, None, math.ceil(height / SIDE)), slice(None, None, math.ceil(width / SIDE)))
    percentiles = torch.quantile(light[some].flatten(1), torch.tensor([0.1, 0.5, 0.9]), dim=1).T
    edge = max(1, min(height, width) // 16)
    sides = (x[..., :edge, :], x[..., -edge:, :], x[..., :edge], x[..., -edge:])
    found = {
        "brightness": torch.cat([light.mean((1, 2))[:, None], percentiles], 1),
        "contrast": light.flatten(1).std(1, correction=0, keepdim=True),
        "border pixels": torch.cat([side.mean((2, 3)) for side in sides], 1),
    }
    if min(height, width) >= 3:
        around = light[:, :-2, 1:-1] + light[:, 2:, 1:-1] + light[:, 1:-1, :-2] + light[:, 1:-1, 2:]
        found["sharpness"] = (around - 4 * light[:, 1:-1, 1:-1]).flatten(1).var(1, correction=0, keepdim=True)
    if colour:
        found["mean colour"] = x.mean((2, 3))
        level = (x[some] * 4).long().clamp_(0, 3)
        bins = ((level[:, 0] * 4 + level[:, 1]) * 4 + level[:, 2]).flatten(1)
        share = torch.zeros(n, 64).scatter_add_(1, bins, torch.ones(bins.shape))
        found["colour histogram"] = share / bins.shape[1]
    return found


def _files(facts: pd.DataFrame) -> dict[str, Matrix]:
    """What is known about image files; those that are no JPEG have quality -1."""
    width, height = (facts[name].to_numpy(np.float64) for name in ("width", "height"))
    return {
        "image size": np.stack([width, height], 1),
        "aspect ratio": (width / height)[:, None],
        "file size": facts["bytes"].to_numpy(np.float64)[:, None],
        "JPEG quality": facts["quality"].fillna(-1).to_numpy(np.float64)[:, None],
    }


def _text(texts: pd.Series) -> dict[str, Matrix]:
    """Length in characters and words; punctuation: counts of each mark, and the share of capitals among the letters."""

    def counts(pattern: str) -> Matrix:
        return texts.str.count(pattern).to_numpy(np.float64)

    characters = texts.str.len().to_numpy(np.float64)
    marks = [counts(pattern) for pattern in (r"\?", "!", r"\.", ",", r"[\"'“”‘’]", r"\d")]
    capitals = counts("[A-Z]") / np.maximum(counts("[A-Za-z]"), 1)
    return {
        "length": np.stack([characters, counts(r"\S+")], 1),
        "punctuation": np.stack([*marks, capitals], 1),
    }


def _table(view: View, rows: NDArray[np.int64], rng: np.random.Generator) -> dict[str, pd.Series]:
    """The input columns of a table, as they were read."""
    import pandas as pd

    info, source = view.data.info, view.source
    if source and source.features:
        frame = source.rows[list(source.features)].iloc[view.data.index.numpy()[rows]]
    elif info.kind == "table" and not info.encoder:  # what a pretrained net says is no trivial cue
        x = view.data.gather(torch.from_numpy(rows)).flatten(1).numpy()
        frame = pd.DataFrame(x, columns=[f"column {i}" for i in range(x.shape[1])])
    else:
        return {}
    chosen = np.sort(rng.permutation(frame.shape[1])[:COLUMNS])
    return {str(frame.columns[i]): frame.iloc[:, i] for i in chosen}
