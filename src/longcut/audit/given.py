"""A column that somebody asks about: can a model take it, and what happens where it is new?

A column such as the hospital that a picture is from becomes a shortcut where three things are so: a model can read it
from the input, it goes with the label, and what a model learned then fails for values that it has not seen. Each is
asked for itself, of samples that a model did not learn from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from longcut.audit.association import LARGE, balanced_accuracies, folds_of, guess, resampled_accuracy
from longcut.audit.base import Finding, Verdict, View
from longcut.audit.columns import Values, candidates
from longcut.audit.cues import draw
from longcut.errors import UserError, unknown
from longcut.files import escaped
from longcut.sources.header import ALL
from longcut.sources.words import words

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Readable", "auc", "given", "margins", "named"]

PURPOSE = 17
FOLDS = 3
DRAWS = 400
ENOUGH = 20  # samples of a value that is looked at
FEW = 5  # samples of a class with a value, below which a model cannot be asked about it
MOST_VALUES = 6  # the commonest; others stay in training
WORDS = 1 << 16  # places of words, which some share
SIDE = 16  # pixels to which an image is made small
READS = 0.6  # area under the curve from which on a column can be read
SOME, DROP = 0.02, 0.05  # accuracy lost on a value that was not seen: more than the chances of training, and much

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Readable:
    """How well a column is read from the input among samples of the same class.

    Attributes:
        area: under the ROC curve, the mean over classes and values; 0.5 by chance, 1 at best.
        low, high: 95 % interval, by a bootstrap over samples.
        margin: of each sample, how much clearer its own value is than the next ``(n,)``; ``nan`` where not asked.
    """

    area: float
    low: float
    high: float
    margin: Floats


def auc(score: Floats, member: NDArray[np.bool_], count: Floats | None = None) -> float:
    """Area under the ROC curve: how often a member's score is above another's, ties counting half.

    Args:
        score: ``(n,)``.
        member: ``(n,)``.
        count: how often each sample is there ``(n,)``; default: once.

    >>> auc(np.array([0.9, 0.4, 0.4, 0.1]), np.array([True, True, False, False]))
    0.875
    """
    count = np.ones(len(score)) if count is None else count
    _, at = np.unique(score, return_inverse=True)
    inside, outside = (np.bincount(at, weights=count * side, minlength=at.max() + 1) for side in (member, ~member))
    below = np.cumsum(outside) - outside / 2
    pairs = inside.sum() * outside.sum()
    return float((inside * below).sum() / pairs) if pairs else math.nan


def named(view: View, names: Sequence[str]) -> dict[str, Values]:
    """The columns that are asked about, as ids and names of their values.

    ``all`` is each that is known beside the input and has values to compare.

    Raises:
        UserError: for a name that there is not, the only input, or a target of numbers.
    """
    if not names:
        return {}
    if view.original is not None:
        raise UserError("a column is asked about where there are classes, and the target is numbers; leave it out.")
    known, found = candidates(view, inputs=True), dict[str, Values]()
    inputs = view.source.features if view.source else ()
    for name in [name for name in known if name not in inputs] if ALL in names else names:
        if name not in known:
            raise unknown("column", name, known)
        values = known[name]
        if not isinstance(values, str):
            found[name] = values
        elif ALL not in names:
            raise UserError(f"column '{name}' cannot be asked about: it has {values}; name another.")
        if tuple(inputs) == (name,):
            raise UserError(f"column '{name}' cannot be asked about: it is the only input; name one beside it.")
    return found


def given(view: View, name: str, values: Values) -> Finding:
    """What is to be said of a column, of at most 4,000 samples, as nearly equal in number for each class as can be.

    Models: of a table, gradient boosting on its other columns; of texts, logistic regression on the weights of their
    words (tf-idf); of features and of images, which are made small, ridge regression of the values. A value is held
    out as published for hospitals: a model that learned from the others is compared, on the same samples, with one that
    saw as many of each class, some of them of that value.

    Args:
        view: what is audited.
        name: of the column.
        values: its ids and their names, of :func:`named`.

    Returns:
        The statistic is the area under the curve (:class:`Readable`), the baseline 0.5. An alarm is for a column that
        can be read, and nearly decides the label or costs much where a value is new; and for one that decides it
        everywhere (confounded), which no model can be kept from. ``more["margin"]`` has the margin of each sample,
        ``nan`` where it was not asked; where nothing could be, ``more["why"]`` is ``"confounded"`` or ``"too small"``.

    Source: J. Zech et al., "Variable generalization performance of a deep learning model to detect pneumonia in chest
    radiographs", PLoS Medicine 2018.
    """
    ids, names = values
    rng = view.random(PURPOSE)
    rows = draw(view.label, rng)
    label, value, x = view.label[rows], ids[rows], _inputs(view, rows, name)
    cells = np.zeros((len(names), view.data.info.n_classes), np.int64)
    np.add.at(cells, (value, label), 1)
    enough = np.flatnonzero(cells.sum(1) >= ENOUGH)
    if len(enough) < 2:
        why = f"fewer than two of its values have {ENOUGH} samples"
        return _finding(name, "unknown", why, "too small")
    if (cells[enough] >= FEW).sum(1).max() < 2 or (cells[enough] >= FEW).sum(0).max() < 2:
        against = int(cells.sum() - cells.max(1).sum())
        why = f"{against:,} of {cells.sum():,} samples have another class than most with the same value"
        return _finding(name, "alarm", why, "confounded")
    shown = enough[np.argsort(-cells.sum(1)[enough], kind="stable")][:MOST_VALUES]
    fit = _learner(view)
    read = _readable(fit, x, label, value, rng)
    guesses = guess(value, label, folds_of(label, FOLDS, rng))
    chance = 1 / len(np.unique(label))
    alone = float((balanced_accuracies(guesses[None], label)[0] - chance) / (1 - chance))
    ends = np.quantile(resampled_accuracy(guesses == label, label, rng, DRAWS), [0.025, 0.975]) - chance
    low, high = ends / (1 - chance)
    held = [_held_out(fit, x, label, value == v, rng, 0.025 / len(shown)) for v in shown]
    table = tuple(
        {
            "value": names[v],
            "samples": int(cells[v].sum()),
            "seen": seen,
            "new": new,
            "lost": seen - new,
            "at least": low_,
        }
        for v, (seen, new, low_) in zip(shown, held, strict=True)
    )
    lost = max((one[2] for one in held if not math.isnan(one[2])), default=math.nan)
    verdict: Verdict = "clear"
    if read.low > READS and (low >= LARGE or lost >= DROP):
        verdict = "alarm"
    elif (read.area >= READS and read.low > 0.5 and low > 0) or lost >= SOME:
        verdict = "notice"
    margin = np.full(len(view.label), math.nan)
    margin[rows] = read.margin
    return _finding(
        name,
        verdict,
        _told(read, (alone, low, high), table),
        statistic=read.area,
        interval=(read.low, read.high),
        table=table,
        more={"margin": margin, "value": np.array(names, object)[ids]},
    )


def _told(read: Readable, alone: tuple[float, float, float], table: Sequence[dict[str, Any]]) -> str:
    """The three answers, each with its interval."""
    said = [
        f"among samples of a class it is read from the input with an area under the curve of {read.area:.2f} "
        f"[{read.low:.2f}, {read.high:.2f}] (0.5: not at all)",
        f"alone it goes {alone[0]:.0%} [{alone[1]:.0%}, {alone[2]:.0%}] of the way from guessing to the label",
    ]
    asked = [row for row in table if not math.isnan(row["lost"])]
    if asked:
        worst = max(asked, key=lambda row: row["at least"])
        said.append(
            f"where '{worst['value']}' is new, a model is right on {worst['new']:.0%} of its samples, and on "
            f"{worst['seen']:.0%} if it has seen others of it (lost at least {100 * worst['at least']:.0f} points)"
        )
    return "; ".join(said)


def _finding(
    name: str, verdict: Verdict, said: str, why: str = "", more: Mapping[str, Any] = MappingProxyType({}), **found: Any
) -> Finding:
    clause = {
        "confounded": f"'{name}' cannot be told from the label with these data (confounded)",
        "too small": f"'{name}' cannot be judged",
        "alarm": f"'{name}' is a shortcut that a model can take",
        "notice": f"'{name}' is one that a model may take",
        "clear": f"'{name}' does not look like a shortcut",
    }[why or verdict]
    closed = {
        "confounded": ", too few to learn from or to judge by; collect samples of several classes with each value",
        "too small": "; collect more",
    }.get(why, "")
    return Finding(
        name=f"column {name}",
        question=f"Is '{name}' a shortcut?",
        measure="area under the curve of reading the column from the input, within a class",
        baseline=0.5,
        p_value=math.nan,
        verdict=verdict,
        sentence=f"{clause}: {said}{closed}.",
        more={"clause": clause, "why": why, **more},
        **{"statistic": math.nan, "interval": (math.nan, math.nan), **found},
    )


def margins(view: View, asked: Sequence[Finding]) -> list[dict[str, Any]]:
    """A row for every sample of which a column was asked: its value, and how much clearer it is read than the next."""
    asked = [finding for finding in asked if "margin" in finding.more]
    if not asked:
        return []
    made = []
    for row in np.flatnonzero(np.any([~np.isnan(finding.more["margin"]) for finding in asked], 0)):
        cells: dict[str, Any] = {"row": int(view.data.index[row]), "name": escaped(view.name_of(int(row)))}
        for finding in asked:
            name, margin = finding.name.removeprefix("column "), float(finding.more["margin"][row])
            value = escaped(str(finding.more["value"][row]))
            cells |= {name: value, f"margin of {name}": "" if math.isnan(margin) else margin}
        made.append(cells)
    return made


# --- models -----------------------------------------------------------------------------------------------------------


def _learner(view: View) -> Any:
    """An untrained classifier that suits the inputs."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
    from sklearn.linear_model import LogisticRegression, RidgeClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if view.data.info.kind == "table" and not view.data.info.encoder:
        return HistGradientBoostingClassifier(
            max_iter=60,
            categorical_features="from_dtype",
            class_weight="balanced",
            random_state=view.seed % 2**32,
        )
    if view.data.info.kind == "tokens":
        counting: Any = HashingVectorizer  # takes texts without a word, too; its types know neither of these arguments
        counted = counting(n_features=WORDS, analyzer=words, alternate_sign=False, norm=None)
        weighed = TfidfTransformer(sublinear_tf=True)
        return make_pipeline(counted, weighed, LogisticRegression(C=10, max_iter=300, class_weight="balanced"))
    return make_pipeline(StandardScaler(), RidgeClassifierCV(np.geomspace(1, 1e5, 6), class_weight="balanced"))


def _inputs(view: View, rows: Ids, name: str) -> Any:
    """What a model sees of the samples, without the column itself."""
    import torch

    data, source, at = view.data, view.source, torch.from_numpy(rows)
    if source is not None and source.features:
        return _frame(source.rows[[f for f in source.features if f != name]].iloc[data.index.numpy()[rows]])
    if data.info.kind == "tokens":
        if source is not None and source.text:
            columns = [
                source.rows[column].iloc[data.index.numpy()[rows]].fillna("").astype(str) for column in source.text
            ]
            return np.array([" ".join(texts) for texts in zip(*columns, strict=True)], object)
        return np.array([" ".join(map(str, ids[ids != 0].tolist())) for ids in data.gather(at)], object)
    if data.info.kind == "image" and len(data.info.shape) == 3:
        from torch.nn.functional import adaptive_avg_pool2d

        side = min(SIDE, *data.info.shape[1:])
        return torch.cat([adaptive_avg_pool2d(data.gather(some), side).flatten(1) for some in at.split(250)]).numpy()
    return data.gather(at).flatten(1).float().numpy()


def _frame(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns of a table as gradient boosting takes them: numbers, and at most 200 categories."""
    import pandas as pd
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    made = {}
    for name in frame.columns:
        column = frame[name]
        if is_numeric_dtype(column) and not is_bool_dtype(column):
            made[str(name)] = column.astype(float)
        else:
            words = column.astype(object).where(column.notna(), None).map(lambda v: None if v is None else str(v))
            common = words.value_counts().index[:200].tolist()
            made[str(name)] = pd.Categorical(words.where(words.isin(common)), categories=sorted(common))
    return pd.DataFrame(made, index=frame.index)


def _taken(x: Any, rows: Any) -> Any:
    return x.iloc[rows] if hasattr(x, "iloc") else x[rows]


def _trained(fit: Any, x: Any, y: Ids) -> Any:
    from sklearn.base import clone

    model: Any = clone(fit)
    return model.fit(x, y)


def _scores(model: Any, x: Any) -> Floats:
    """A score of each class that the model knows ``(n, k)``."""
    scores = model.decision_function(x)
    return np.stack([-scores, scores], 1) if scores.ndim == 1 else scores


def _readable(fit: Any, x: Any, label: Ids, value: Ids, rng: np.random.Generator) -> Readable:
    margin, asked = np.full(len(label), math.nan), []
    for c in np.unique(label):
        rows = np.flatnonzero(label == c)
        common = np.flatnonzero(np.bincount(value[rows]) >= max(FEW, FOLDS))
        rows = rows[np.isin(value[rows], common)]
        if len(common) < 2:
            continue
        scores, of = np.zeros((len(rows), len(common))), np.searchsorted(common, value[rows])
        fold = folds_of(of, FOLDS, rng)
        for part in range(FOLDS):
            held = fold == part
            model = _trained(fit, _taken(x, rows[~held]), of[~held])
            scores[held] = _scores(model, _taken(x, rows[held]))
        own = scores[np.arange(len(rows)), of]
        rest = scores.copy()
        rest[np.arange(len(rows)), of] = -np.inf
        margin[rows] = own - rest.max(1)
        asked.append((scores, of))

    def area(counts: Sequence[Floats | None]) -> float:
        return float(
            np.mean(
                [
                    np.mean([auc(scores[:, v], of == v, count) for v in range(scores.shape[1])])
                    for (scores, of), count in zip(asked, counts, strict=True)
                ]
            )
        )

    drawn = [
        area([rng.multinomial(len(of), np.full(len(of), 1 / len(of))).astype(float) for _, of in asked])
        for _ in range(DRAWS // 2)
    ]
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Readable(area([None] * len(asked)), float(low), float(high), margin)


def _held_out(
    fit: Any, x: Any, label: Ids, member: NDArray[np.bool_], rng: np.random.Generator, tail: float
) -> tuple[float, float, float]:
    """Balanced accuracy on the members of a model that has seen others of them, and of one that has seen none.

    Returns:
        Both, and what is lost at least, but for a ``tail`` of the bootstrap over samples; ``nan`` where a class is
        missing inside or outside.
    """
    inside, outside = np.bincount(label[member]), np.bincount(label[~member], minlength=label.max() + 1)
    asked = np.flatnonzero(inside >= FEW)
    if len(asked) < 2 or (outside[asked] < FEW).any():
        return math.nan, math.nan, math.nan
    rows = np.flatnonzero(member & np.isin(label, asked))
    others = np.flatnonzero(~member & np.isin(label, asked))
    new = _trained(fit, _taken(x, others), label[others]).predict(_taken(x, rows)) == label[rows]
    seen, fold = np.zeros(len(rows), bool), folds_of(label[rows], FOLDS, rng)
    for part in range(FOLDS):
        held = fold == part
        pool = np.concatenate([others, rows[~held]])
        of_class = [rng.permutation(pool[label[pool] == c])[: (label[others] == c).sum()] for c in asked]
        chosen = np.sort(np.concatenate(of_class))
        model = _trained(fit, _taken(x, chosen), label[chosen])
        seen[held] = model.predict(_taken(x, rows[held])) == label[rows[held]]
    own = label[rows]
    drawn = []
    for _ in range(DRAWS):
        picked = np.concatenate([rng.choice(np.flatnonzero(own == c), (own == c).sum()) for c in asked])
        drawn.append(_balanced(seen[picked], own[picked], asked) - _balanced(new[picked], own[picked], asked))
    low = float(np.quantile(drawn, tail))
    return _balanced(seen, own, asked), _balanced(new, own, asked), low


def _balanced(right: NDArray[np.bool_], label: Ids, classes: Ids) -> float:
    return float(np.mean([right[label == c].mean() for c in classes]))
