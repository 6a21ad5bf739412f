"""Equal odds for a finished classifier: what it says is changed at random, by group, as held-out samples ask.

Nothing is trained. A rule says with which chance a sample is called positive (class 1) from what the network says of it
and from its group, so the attribute must be known wherever the rule is used; a single threshold for everybody asks for
it in the validation set alone. The rates after are expectations over these chances, exact for the given samples;
predictions are one draw.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from longcut.data import generator
from longcut.errors import UserError
from longcut.postprocess.rates import BY_GROUP, GAPS, Rates, rates
from longcut.postprocess.rules import (
    CONSTRAINTS,
    RULES,
    Rule,
    fit_rule,
    hardt,
    require_attribute,
    require_two_classes,
)

if TYPE_CHECKING:
    from longcut.runs import Run

__all__ = [
    "BY_GROUP",
    "CONSTRAINTS",
    "GAPS",
    "RULES",
    "Postprocessed",
    "Rates",
    "Rule",
    "fit_rule",
    "hardt",
    "postprocess",
    "rates",
]


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
    loss: float = 0.02,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Postprocessed:
    """Fit a rule on the validation set of a finished run and apply it to its test set; the run stays as it is.

    Args:
        run: finished, of two classes; or its folder. Its data is loaded again, for the validation set.
        constraint: ``"equalized-odds"``, ``"equal-opportunity"`` or ``"demographic-parity"`` (not with ``hardt``).
        rule: ``"scores"``, ``"hardt"`` or ``"threshold"``, see :func:`fit_rule`.
        loss: accuracy that the single threshold may cost on the validation set.
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
    require_two_classes(test.info)
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
    chance_of = fit_rule(predict(net.to(device), valid, device), valid, constraint, rule=rule, loss=loss)
    require_attribute(test, "test")
    attribute, names = cast(Tensor, test.attribute), test.info.attribute_names
    known = torch.isin(attribute, cast(Tensor, valid.attribute))
    if not known.all() and rule != "threshold":
        new = names[int(attribute[~known][0])]
        raise UserError(
            f"the test set of {test.info.name} has the attribute '{new}', which its validation set has not, so no rule "
            "is known for it; add such samples to the validation set."
        )
    chance = chance_of(outputs, attribute)
    drawn = torch.rand(len(chance), generator=generator(seed), dtype=torch.float64) < chance
    before, after = rates(outputs.argmax(1), test), rates(chance, test)
    return Postprocessed(constraint, rule, names, before, after, chance, drawn.long())
