"""Equal odds for a finished classifier: what it says is changed at random, by group, as held-out samples ask.

Nothing is trained. A rule says with which chance a sample is called positive (class 1) from what the network says of it
and from its group, so the attribute must be known wherever the rule is used. The rates after are expectations over
these chances, exact for the given samples; predictions are one draw.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from longcut.data import Dataset, Info, generator
from longcut.errors import UserError, unknown

if TYPE_CHECKING:
    from longcut.runs import Run

__all__ = [
    "BY_GROUP",
    "CONSTRAINTS",
    "GAPS",
    "Postprocessed",
    "Rates",
    "Rule",
    "fit_rule",
    "hardt",
    "postprocess",
    "rates",
]

Rule = Callable[[Tensor, Tensor], Tensor]
"""From outputs ``(n, 2)`` and attributes ``(n,)`` to the chance of being called positive ``(n,)``."""

CONSTRAINTS = {  # ours, and as fairlearn says it
    "equalized-odds": "equalized_odds",
    "equal-opportunity": "true_positive_rate_parity",
    "demographic-parity": "demographic_parity",
}
GAPS = {  # between groups, and what they are
    "equalized_odds_sum": "difference of true positive rates between groups plus that of false positive rates",
    "equalized_odds_max": "the larger of the two",
    "equalized_odds_mean": "half the sum",
    "equal_opportunity": "difference of true positive rates between groups",
    "demographic_parity": "difference between groups of the shares that are called positive",
}
BY_GROUP = {
    "tpr": "share of the positives that is called positive",
    "fpr": "share of the negatives that is called positive",
    "selected": "share of all that is called positive",
}


# --- rates ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rates:
    """How often samples are called positive, by group: shares in [0, 1], ``nan`` where a group has no such samples.

    Differences are defined as the metrics of the same names are, see :data:`longcut.evaluate.METRICS`.

    Attributes:
        accuracy: of all.
        tpr: of each attribute value, the share of its positives that is called positive.
        fpr: the same of its negatives.
        selected: the same of all its samples.
    """

    accuracy: float
    tpr: tuple[float, ...]
    fpr: tuple[float, ...]
    selected: tuple[float, ...]

    @property
    def equal_opportunity(self) -> float:
        """Largest difference of ``tpr`` between two groups."""
        return self._gap(self.tpr)

    @property
    def demographic_parity(self) -> float:
        """Largest difference of ``selected`` between two groups."""
        return self._gap(self.selected)

    @property
    def equalized_odds_sum(self) -> float:
        """The differences of ``tpr`` and of ``fpr``, added."""
        return self._gap(self.tpr) + self._gap(self.fpr)

    @property
    def equalized_odds_mean(self) -> float:
        """Half the sum."""
        return self.equalized_odds_sum / 2

    @property
    def equalized_odds_max(self) -> float:
        """The larger of the two differences."""
        gaps = self._gap(self.tpr), self._gap(self.fpr)
        return math.nan if math.isnan(sum(gaps)) else max(gaps)

    def _gap(self, values: tuple[float, ...]) -> float:
        """Between groups that have samples; ``nan`` where there are not two, or one of these has no such samples."""
        there = [value for value, share in zip(values, self.selected, strict=True) if not math.isnan(share)]
        defined = len(there) > 1 and not any(map(math.isnan, there))
        return max(there) - min(there) if defined else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers by name, the differences first."""
        gaps = {name: getattr(self, name) for name in GAPS}
        return {"accuracy": self.accuracy, **gaps} | {name: list(getattr(self, name)) for name in BY_GROUP}


def rates(chance: Tensor, data: Dataset) -> Rates:
    """Expected rates where each sample is called positive with a chance.

    Args:
        chance: ``(n,)`` in [0, 1]; 0 and 1 are predictions.
        data: the samples, of two classes and with an attribute.

    >>> data = Dataset.of(torch.zeros(4, 1), [1, 1, 0, 0], [0, 1, 0, 1])
    >>> found = rates(torch.tensor([1.0, 0.5, 0.0, 0.0]), data)
    >>> found.accuracy, found.tpr, found.equalized_odds_sum
    (0.875, (1.0, 0.5), 0.5)
    """
    attribute, positive = cast(Tensor, data.attribute), data.label == 1
    chance = chance.double()

    def by_group(among: Tensor) -> tuple[float, ...]:
        own = attribute[among]
        total = torch.bincount(own, chance[among], minlength=data.info.n_attributes)
        return tuple((total / torch.bincount(own, minlength=len(total))).tolist())

    right = torch.where(positive, chance, 1 - chance)
    return Rates(float(right.mean()), by_group(positive), by_group(~positive), by_group(positive | ~positive))


# --- rules ------------------------------------------------------------------------------------------------------------


def hardt(positives: Tensor, negatives: Tensor, tpr: Tensor, fpr: Tensor, *, constraint: str) -> Tensor:
    """The randomised rule with equal rates in all groups that errs least, from the rates of predictions.

    With p(y, a) the chance of saying positive where the prediction is y and the group a, the new rates are
    ``p(1, a) tpr + p(0, a) (1 - tpr)`` and the same of ``fpr``. The expected error, their sum weighted by how many
    positives and negatives each group has, is linear in p, and so are the constraints: a linear program.

    Args:
        positives, negatives: how many each group has ``(A,)``, or shares.
        tpr, fpr: rates of the predictions in each group ``(A,)``.
        constraint: ``"equalized-odds"``, or ``"equal-opportunity"``: equal rates of true positives alone.

    Returns:
        p ``(2, A)``, float64.

    Source: Hardt et al. 2016, "Equality of opportunity in supervised learning", equation 4.2; the loss is the error.

    >>> half = torch.tensor([0.5, 0.5])
    >>> hardt(half, half, torch.tensor([0.9, 0.7]), torch.tensor([0.1, 0.3]), constraint="equalized-odds")
    tensor([[0.2500, 0.0000],
            [0.7500, 1.0000]], dtype=torch.float64)
    """
    from scipy.optimize import linprog

    positives, negatives, tpr, fpr = (column.double() for column in (positives, negatives, tpr, fpr))
    says = torch.stack([torch.stack([1 - rate, rate]) for rate in (fpr, tpr)])  # (label, predicted, group)
    cost = negatives * says[0] - positives * says[1]
    groups = len(tpr)
    each = torch.eye(groups, dtype=torch.float64)
    apart = (each[1:] - each[:1])[:, None]  # every group from the first
    rows = torch.cat([(apart * rate).flatten(1) for rate in (says if constraint == "equalized-odds" else says[1:])])
    solved: Any = linprog(cost.numpy().ravel(), A_eq=rows.numpy(), b_eq=[0.0] * len(rows), bounds=(0, 1))
    assert solved.success, solved.message  # equal chances for all are always allowed
    return torch.from_numpy(solved.x).view(2, groups).clamp(0, 1)


def fit_rule(outputs: Tensor, data: Dataset, constraint: str = "equalized-odds", *, rule: str = "scores") -> Rule:
    """A rule that makes groups equal on these samples, with the least expected error.

    Args:
        outputs: logits ``(n, 2)`` of held-out samples.
        data: the samples, with their attribute.
        constraint: one of ``CONSTRAINTS``.
        rule: ``"scores"``: thresholds on the scores, by group and mixed at random (fairlearn's ``ThresholdOptimizer``);
            ``"hardt"``: from the predicted classes alone, see :func:`hardt`.

    Raises:
        UserError: for an unknown constraint or rule, a constraint that the rule cannot meet, data of other than two
            classes or without an attribute, one group alone, or a group without positives or negatives.

    >>> data = Dataset.of(torch.zeros(8, 1), [0, 0, 1, 1, 0, 0, 1, 1], [0, 0, 0, 0, 1, 1, 1, 1])
    >>> outputs = torch.tensor([[0.0, s] for s in (-1, -1, 1, 1, -1, 1, -1, 1)])
    >>> chance = fit_rule(outputs, data, rule="hardt")(outputs, data.attribute)
    >>> rates(chance, data).equalized_odds_sum
    0.0
    """
    if constraint not in CONSTRAINTS:
        raise unknown("constraint", constraint, CONSTRAINTS)
    if rule not in ("scores", "hardt"):
        raise unknown("rule", rule, ("scores", "hardt"))
    if rule == "hardt" and constraint == "demographic-parity":
        raise UserError(
            "rule hardt makes rates among positives and negatives equal, not demographic-parity; use rule scores, or "
            "constraint equalized-odds or equal-opportunity."
        )
    present = _require_groups(data)
    if rule == "scores":
        return _thresholds(outputs, data, constraint)
    now = rates(outputs.argmax(1), data)
    cells = torch.bincount(data.group, minlength=2 * data.info.n_attributes).view(2, -1)[:, present]
    tpr, fpr = (torch.tensor(of, dtype=torch.float64)[present] for of in (now.tpr, now.fpr))
    p = torch.full((2, data.info.n_attributes), torch.nan, dtype=torch.float64)
    p[:, present] = hardt(cells[1], cells[0], tpr, fpr, constraint=constraint)
    return lambda outputs, attribute: p[outputs.argmax(1), attribute]


def _thresholds(outputs: Tensor, data: Dataset, constraint: str) -> Rule:
    """Of fairlearn, whose own predictions are draws; this takes the chances they are drawn with."""
    try:
        from fairlearn.postprocessing import ThresholdOptimizer
        from sklearn.base import BaseEstimator
    except ModuleNotFoundError:
        raise UserError(
            'rule scores needs a further package; pip install "longcut[fairness]", or use rule hardt.'
        ) from None

    class AsTheyAre(BaseEstimator):
        """A fitted estimator that passes scores on."""

        def fit(self, X: Any, y: Any) -> AsTheyAre:
            return self

        def __sklearn_is_fitted__(self) -> bool:
            return True

        def decision_function(self, X: Any) -> Any:
            return X[:, 0]

    how: dict[str, Any] = {"constraints": CONSTRAINTS[constraint], "predict_method": "decision_function"}
    optimizer: Any = ThresholdOptimizer(estimator=AsTheyAre(), prefit=True, **how)
    groups = cast(Tensor, data.attribute).numpy()
    optimizer.fit(_score(outputs)[:, None], data.label.numpy(), sensitive_features=groups)
    found = optimizer.interpolated_thresholder_.interpolation_dict

    def chance(outputs: Tensor, attribute: Tensor) -> Tensor:
        score = _score(outputs)
        chances = torch.full((len(outputs),), torch.nan, dtype=torch.float64)
        for group, mixed in found.items():
            own = mixed.p0 * mixed.operation0(score) + mixed.p1 * mixed.operation1(score)
            coin = getattr(mixed, "p_ignore", 0.0)
            own = (1 - coin) * own + coin * getattr(mixed, "prediction_constant", 0.0)
            chances = torch.where(attribute == group, torch.from_numpy(own), chances)
        return chances.clamp(0, 1)

    return chance


def _score(outputs: Tensor) -> Any:
    """Log-odds of class 1, as an array ``(n,)``: probabilities near 1 would be equal."""
    return (outputs[:, 1].double() - outputs[:, 0].double()).numpy()


def _require_groups(data: Dataset) -> Tensor:
    """The attribute values ``(k,)`` that are there, unless no rule can be fitted on them."""
    info = data.info
    _require_two_classes(info)
    _require_attribute(data, "validation")
    cells = torch.bincount(data.group, minlength=2 * info.n_attributes).view(2, -1)
    present = cells.sum(0).nonzero().flatten()
    if len(present) < 2:
        raise UserError(
            f"post-processing makes groups equal, but all validation samples of {info.name} have the attribute "
            f"'{info.attribute_names[int(present[0])]}'; add samples with another one."
        )
    for label, a in (cells[:, present] == 0).nonzero().tolist():
        raise UserError(
            f"in the validation set of {info.name} no sample with the attribute '{info.attribute_names[present[a]]}' "
            f"has the label '{info.class_names[label]}', so a rate is not defined; add some."
        )
    return present


def _require_attribute(data: Dataset, part: str) -> None:
    if data.attribute is None:
        raise UserError(
            f"post-processing needs the attribute of each {part} sample, but {data.info.name} has none; "
            "name one when the data is read, and train again."
        )


def _require_two_classes(info: Info) -> None:
    if info.task != "classification" or info.n_classes != 2:
        has = f"{info.n_classes} classes" if info.task == "classification" else "targets that are numbers"
        raise UserError(f"post-processing is for two classes, but {info.name} has {has}; take data with two.")


# --- runs -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Postprocessed:
    """What became of a run's predictions for its test set.

    Attributes:
        constraint, rule: as asked for.
        names: of the attribute values, in the order of the rates.
        before: rates of the predictions as they were.
        after: expected rates under the rule.
        chance: of each test sample to be called positive ``(n,)``.
        prediction: class ids ``(n,)``, drawn with these chances.
    """

    constraint: str
    rule: str
    names: tuple[str, ...]
    before: Rates
    after: Rates
    chance: Tensor = dataclasses.field(repr=False)
    prediction: Tensor = dataclasses.field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, for JSON."""
        return {
            "constraint": self.constraint,
            "rule": self.rule,
            "attributes": list(self.names),
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "chance": self.chance.tolist(),
            "prediction": self.prediction.tolist(),
        }


def postprocess(
    run: Run | Path | str,
    constraint: str = "equalized-odds",
    *,
    rule: str = "scores",
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Postprocessed:
    """Fit a rule on the validation set of a finished run and apply it to its test set; the run stays as it is.

    Args:
        run: finished, of two classes; or its folder. Its data is loaded again, for the validation set.
        constraint: ``"equalized-odds"``, ``"equal-opportunity"`` or ``"demographic-parity"`` (not with ``hardt``).
        rule: ``"scores"`` or ``"hardt"``, see :func:`fit_rule`.
        seed: of the predictions that are drawn; rates do not depend on it.
        device: where the network is run over the validation set.

    Raises:
        UserError: when the run is not finished, its data has changed, has no validation set, no attribute, other than
            two classes or a group that cannot be judged, or fairlearn is needed and not there.

    Example::

        found = longcut.postprocess("runs/adult/erm-s0", "equalized-odds")
        found.before.equalized_odds_sum, found.after.equalized_odds_sum
    """
    from longcut.datasets import load
    from longcut.deploy import load_net
    from longcut.execute import tested
    from longcut.predict import predict
    from longcut.record import fingerprint
    from longcut.runs import Run, read

    run = run if isinstance(run, Run) else read(run)
    test, outputs = tested(run), run.predictions()["outputs"]
    _require_two_classes(test.info)
    splits = load(run.record.plan.data, run.record.plan.data_seed)
    if fingerprint(splits) != run.record.fingerprint:
        raise UserError(
            f"the data has changed since the run in {run.folder} was made; bring the old data back, or train again."
        )
    valid = splits.valid
    if valid is None:
        raise UserError(
            f"post-processing is fitted on a validation set, but {splits.info.name} has none; take data that has one."
        )
    net, _ = load_net(run)
    chance_of = fit_rule(predict(net.to(device), valid, device), valid, constraint, rule=rule)
    _require_attribute(test, "test")
    attribute, names = cast(Tensor, test.attribute), test.info.attribute_names
    known = torch.isin(attribute, cast(Tensor, valid.attribute))
    if not known.all():
        new = names[int(attribute[~known][0])]
        raise UserError(
            f"the test set of {test.info.name} has the attribute '{new}', which its validation set has not, so no rule "
            "is known for it; add such samples to the validation set."
        )
    chance = chance_of(outputs, attribute)
    drawn = torch.rand(len(chance), generator=generator(seed), dtype=torch.float64) < chance
    before, after = rates(outputs.argmax(1), test), rates(chance, test)
    return Postprocessed(constraint, rule, names, before, after, chance, drawn.long())
