"""Measure predictions: averages, groups, classes, calibration, with bootstrap intervals; compare in pairs."""

from longcut.evaluate.bootstrap import Group, Scores, metrics, scores
from longcut.evaluate.cells import Draws
from longcut.evaluate.difference import Difference, paired, paired_sets
from longcut.evaluate.outputs import sample_values
from longcut.evaluate.rates import Rates, rates_by_group
from longcut.evaluate.table import METRICS, Metric, lower_is_better

__all__ = [
    "METRICS",
    "Difference",
    "Draws",
    "Group",
    "Metric",
    "Rates",
    "Scores",
    "lower_is_better",
    "metrics",
    "paired",
    "paired_sets",
    "rates_by_group",
    "sample_values",
    "scores",
]
