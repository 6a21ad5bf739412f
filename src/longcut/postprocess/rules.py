"""Rules by which what a classifier says is changed, fitted on held-out samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from longcut.data import Dataset, Info
from longcut.errors import UserError, unknown
from longcut.postprocess.rates import rates

QUANTILES = 201  # of the scores, that are tried as thresholds
OF_GAP = {  # what is made equal
    "equalized-odds": "equalized_odds_sum",
    "equal-opportunity": "equal_opportunity",
    "demographic-parity": "demographic_parity",
}
__all__ = ["CONSTRAINTS", "RULES", "Rule", "fit_rule", "hardt", "require_attribute", "require_two_classes"]

Rule = Callable[[Tensor, Tensor], Tensor]
"""From outputs ``(n, 2)`` and attributes ``(n,)`` to the chance of being called positive ``(n,)``."""

RULES = {
    "scores": "thresholds on the scores, by group and mixed at random (fairlearn)",
    "hardt": "the predicted class, changed at random by group (Hardt et al.)",
    "threshold": "one threshold for everybody, which need not know the group",
}
CONSTRAINTS = {  # ours, and as fairlearn says it
    "equalized-odds": "equalized_odds",
    "equal-opportunity": "true_positive_rate_parity",
    "demographic-parity": "demographic_parity",
}


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


def fit_rule(
    outputs: Tensor,
    data: Dataset,
    constraint: str = "equalized-odds",
    *,
    rule: str = "scores",
    loss: float = 0.02,
) -> Rule:
    """A rule that makes groups equal on these samples, with the least expected error.

    Args:
        outputs: logits ``(n, 2)`` of held-out samples.
        data: the samples, with their attribute.
        constraint: one of ``CONSTRAINTS``.
        rule: ``"scores"``: thresholds on the scores, by group and mixed at random (fairlearn's ``ThresholdOptimizer``);
            ``"hardt"``: from the predicted classes alone, see :func:`hardt`. ``"threshold"``: one threshold for
            everybody, where groups are as equal as a single one makes them; it is not told whose group is which.
        loss: accuracy that the single threshold may cost on these samples, in [0, 1].

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
    if rule not in RULES:
        raise unknown("rule", rule, RULES)
    if not 0 <= loss <= 1:
        raise UserError(f"the accuracy that a threshold may cost is {loss}; give a share from 0 to 1, such as 0.02.")
    if rule == "hardt" and constraint == "demographic-parity":
        raise UserError(
            "rule hardt makes rates among positives and negatives equal, not demographic-parity; use rule scores, or "
            "constraint equalized-odds or equal-opportunity."
        )
    present = _require_groups(data)
    if rule == "scores":
        return _thresholds(outputs, data, constraint)
    if rule == "threshold":
        return _one_threshold(outputs, data, constraint, loss)
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


def _one_threshold(outputs: Tensor, data: Dataset, constraint: str, loss: float) -> Rule:
    """Of quantiles of the scores, and where the classifier draws the line itself, the one with the smallest gap."""
    score = torch.from_numpy(_score(outputs))
    quantiles = score.quantile(torch.linspace(0, 1, QUANTILES, dtype=score.dtype))
    lines = torch.cat([score.new_zeros(1), quantiles])  # 0 comes first, and stays where none is better
    found = [rates(score > line, data) for line in lines]
    least = found[0].accuracy - loss
    gaps = [getattr(one, OF_GAP[constraint]) if one.accuracy >= least else torch.inf for one in found]
    line = float(lines[int(torch.tensor(gaps).argmin())])
    return lambda outputs, attribute: (torch.from_numpy(_score(outputs)) > line).double()


def _score(outputs: Tensor) -> Any:
    """Log-odds of class 1, as an array ``(n,)``: probabilities near 1 would be equal."""
    return (outputs[:, 1].double() - outputs[:, 0].double()).numpy()


def _require_groups(data: Dataset) -> Tensor:
    """The attribute values ``(k,)`` that are there, unless no rule can be fitted on them."""
    info = data.info
    require_two_classes(info)
    require_attribute(data, "validation")
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


def require_attribute(data: Dataset, part: str) -> None:
    """Refuse samples of which it is not known."""
    if not data.known.any():
        raise UserError(
            f"post-processing needs the attribute of each {part} sample, but {data.info.name} has none; "
            "name one when the data is read, and train again."
        )
    if not data.known.all():
        raise UserError(
            f"post-processing needs the attribute of each {part} sample, but {data.info.name} has that of "
            f"{int(data.known.sum()):,} of {len(data):,}; fill in the others, or leave them out."
        )


def require_two_classes(info: Info) -> None:
    """Refuse other data."""
    if info.task != "classification" or info.n_classes != 2:
        has = f"{info.n_classes} classes" if info.task == "classification" else "targets that are numbers"
        raise UserError(f"post-processing is for two classes, but {info.name} has {has}; take data with two.")
