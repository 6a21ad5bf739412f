"""scikit-learn estimators: ``fit(X, y, attribute=…)`` around the one training loop, and tools for other classifiers."""

from longcut.estimators.debiased import DebiasedClassifier, DebiasedRegressor
from longcut.estimators.fairness import (
    demographic_parity,
    demographic_parity_scorer,
    equalized_odds,
    equalized_odds_scorer,
)
from longcut.estimators.tools import GroupBalancer, SuspectedConflict, worst_group_accuracy, worst_group_scorer
from longcut.estimators.weights import times_of as _times  # noqa: F401, the name it had when this was one file

__all__ = [
    "DebiasedClassifier",
    "DebiasedRegressor",
    "GroupBalancer",
    "SuspectedConflict",
    "demographic_parity",
    "demographic_parity_scorer",
    "equalized_odds",
    "equalized_odds_scorer",
    "worst_group_accuracy",
    "worst_group_scorer",
]
