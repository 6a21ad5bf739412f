"""What the scores of a task are called, which are shown, and how they are written: accuracies, or errors of numbers.

Everything that prints a score (terminal, report) reads it from here, and nothing else asks for the task.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from longcut.numbers import number

if TYPE_CHECKING:
    from longcut.evaluate import Scores

__all__ = ["SCALES", "Scale", "scale_of"]


@dataclass(frozen=True)
class Scale:
    """The scores of a task.

    Attributes:
        noun: what a score is, in one word.
        caption: what the numbers of a table are, with their unit.
        unit: the same, as the end of a sentence.
        percent: they are shares and written in percent; otherwise written as they are, with three digits.
        mean, best: by name, the score of all test samples at the selected epoch, and where it is best.
        best_title: what the latter is called.
        best_definition: what it is.
        columns: of the table of finished runs: name to heading and meaning.
        optional: columns that are left out where no run has them.
        bars: metrics that matter most, the hardest first.
        curves: metrics that are followed over the epochs.
        judged: metrics by which one method is better than another, the hardest first.
        hidden: metrics that are not shown, because they are of another task, or say the same less plainly.
        asked: metrics that tables and pages show where a data set is there to measure one of them.
        roots: metrics that are the root of the mean of a sample's values, and which mean that is.
    """

    noun: str
    caption: str
    unit: str
    percent: bool
    mean: str
    best: str
    best_title: str
    best_definition: str
    columns: Mapping[str, tuple[str, str]]
    optional: frozenset[str]
    bars: tuple[str, ...]
    curves: tuple[str, ...]
    judged: tuple[str, ...]
    hidden: frozenset[str]
    asked: frozenset[str] = frozenset()
    roots: Mapping[str, str] = field(default_factory=dict)

    def write(self, value: float | None) -> str:
        """A score as it is written.

        >>> SCALES["classification"].write(0.5), SCALES["regression"].write(0.5)
        ('50.0', '0.5')
        """
        return number(value, self.percent)

    def of_mean(self, value: float | None) -> float:
        """The score that the mean of the samples' values stands for: an accuracy, or the root of a squared error.

        >>> SCALES["classification"].of_mean(0.25), SCALES["regression"].of_mean(0.25)
        (0.25, 0.5)
        """
        if value is None or not self.roots or math.isnan(value):
            return math.nan if value is None else float(value)
        return math.sqrt(max(value, 0.0))

    def of(self, values: Mapping[str, float | None], metric: str) -> float:
        """A metric among those of a run; ``nan`` where it is not defined.

        A run that was made before errors had names of their own kept their squares.

        >>> SCALES["regression"].of({"average": 4.0}, "rmse"), SCALES["regression"].of({"rmse": 2.0}, "rmse")
        (2.0, 2.0)
        """
        value = values.get(metric)
        if value is not None and not math.isnan(value):
            return float(value)
        return self.of_mean(values.get(self.roots.get(metric, "")))

    def score(self, scores: Scores, metric: str) -> float:
        """A metric of a run's scores; ``nan`` where it is not defined, and for the worst group where none is known."""
        grouped = metric != "worst_group_rmse" or any(group.attribute is not None for group in scores.groups)
        return self.of(scores.values, metric) if grouped else math.nan

    def interval(self, scores: Scores, metric: str) -> tuple[float, float]:
        """The interval of :meth:`score`."""
        low, high = ({name: ends[i] for name, ends in scores.intervals.items()} for i in range(2))
        return self.of(low, metric), self.of(high, metric)


_OF_SHARES = ("average", "aligned", "conflicting", "worst_group", "group_mean", "train_weighted")
_OF_CLASSES = ("worst_class", "balanced", "class_difference", "ece", "top5", "auroc")
_OF_GROUPS = ("equalized_odds_sum", "equalized_odds_max", "equalized_odds_mean", "equal_opportunity")
_OF_GROUPS += ("demographic_parity",)
_OF_NUMBERS = ("rmse", "mae", "mape", "r2", "worst_group_rmse", "worst_fifth_rmse")

SCALES: Mapping[str, Scale] = {
    "classification": Scale(
        noun="accuracy",
        caption="Accuracy in percent",
        unit="in % for accuracies",
        percent=True,
        mean="average",
        best="best_average",
        best_title="Best average (oracle)",
        best_definition="average at the epoch where it is best, chosen on the test set",
        columns={
            "average": ("test", "accuracy on the test set, of the selected epoch"),
            "best_average": (
                "best epoch",
                "accuracy on the test set, of the epoch where it is highest; an oracle picks it",
            ),
            "aligned": ("aligned", "accuracy where the sample agrees with the shortcut"),
            "conflicting": ("conflicting", "accuracy where the sample contradicts the shortcut"),
            "worst_group": (
                "worst group",
                "accuracy of the worst group, a (label, attribute) cell, or a class without an attribute",
            ),
            "train_weighted": (
                "train weighted",
                "mean of the groups' accuracies, weighted by their share of the training set (adjusted average)",
            ),
            "equalized_odds_sum": (
                "EOd (sum)",
                "largest difference between groups of the true positive rate, plus that of the false positive rate "
                "(equalized odds), in points of 100; lower is better",
            ),
        },
        optional=frozenset({"train_weighted", "equalized_odds_sum"}),
        bars=("conflicting", "worst_group", "average", "aligned"),
        curves=("average", "aligned", "conflicting", "worst_group"),
        judged=("worst_group", "average"),
        hidden=frozenset(_OF_NUMBERS),
        asked=frozenset(_OF_GROUPS),
    ),
    "regression": Scale(
        noun="error",
        caption="Error in the units of the target (lower is better)",
        unit="errors in the units of the target",
        percent=False,
        mean="rmse",
        best="best_rmse",
        best_title="Lowest RMSE (oracle)",
        best_definition="root mean squared error at the epoch where it is lowest, chosen on the test set",
        columns={
            "rmse": ("RMSE", "root mean squared error on the test set, of the selected epoch; lower is better"),
            "best_rmse": (
                "best epoch",
                "root mean squared error on the test set, of the epoch where it is lowest; an oracle picks it",
            ),
            "worst_group_rmse": (
                "worst group",
                "root mean squared error of the group where it is largest; a group is a value of the attribute",
            ),
            "mae": ("MAE", "mean absolute error; lower is better"),
            "r2": (
                "R²",
                "share of the target's variance that is explained, 1 at best, below 0 where the mean would do better",
            ),
        },
        optional=frozenset({"worst_group_rmse"}),
        bars=("worst_group_rmse", "rmse", "mae"),
        curves=("rmse", "worst_group_rmse"),
        judged=("worst_group_rmse", "rmse"),
        hidden=frozenset(_OF_SHARES + _OF_CLASSES + _OF_GROUPS),
        roots={"rmse": "average", "worst_group_rmse": "worst_group"},
    ),
}
"""By task."""


def scale_of(task: str) -> Scale:
    """The scores of a task; a run that does not say which has classes.

    >>> scale_of("regression").noun, scale_of("").noun
    ('error', 'accuracy')
    """
    return SCALES.get(task, SCALES["classification"])
