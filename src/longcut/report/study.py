"""From run folders to what can be said about them: who competes, with what numbers, and the sentence on top."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, NamedTuple

from scipy.special import stdtrit

from longcut.compare import difference
from longcut.errors import UserError
from longcut.methods import METHODS
from longcut.report.figures import named_color
from longcut.runs import require_one_data
from longcut.scales import SCALES, Scale, scale_of

if TYPE_CHECKING:
    from longcut.evaluate import Difference
    from longcut.record import Plan
    from longcut.runs import Run

__all__ = ["Contender", "Paired", "Study", "differences", "name_of", "studies"]


DRAWS = 1000  # of the bootstrap
NOT_KNOWN = "not known"  # an attribute of -1
BLIND = (  # to the attribute
    *("average", "worst_class", "balanced", "class_difference", "ece", "top5", "auroc"),
    *("rmse", "mae", "mape", "r2", "worst_fifth_rmse"),
)


@dataclass(frozen=True)
class Contender:
    """One method with one setting: the runs that differ in their seeds alone.

    Attributes:
        name: unlike that of any other contender of its study.
        runs: finished, in the order of their seeds.
    """

    name: str
    runs: tuple[Run, ...]

    @property
    def plan(self) -> Plan:
        return self.runs[0].record.plan

    @property
    def scale(self) -> Scale:
        return scale_of(self.runs[0].record.task)

    @property
    def is_baseline(self) -> bool:
        return self.plan.method == "erm"

    @property
    def knows_shortcut(self) -> bool:
        """Whether the attribute may have been used: by the method, by one of its variants, or to select."""
        method = METHODS.get(self.plan.method)
        variant = any(word in f"{option}" for option in self.plan.options.items() for word in ("attribute", "group"))
        seen = self.plan.select not in ("last", *(f"best:{metric}" for metric in BLIND))
        return method is None or bool(method.needs) or variant or seen

    def values(self, metric: str) -> list[float]:
        """The metric on the test set at the selected epoch, one value for each seed; ``nan`` where undefined."""
        return [self.scale.score(run.scores(), metric) for run in self.runs]

    def mean(self, metric: str) -> float:
        return fmean(self.values(metric))

    def interval(self, metric: str) -> tuple[float, float]:
        """95 % bootstrap interval of the first run, over test samples."""
        return self.scale.interval(self.runs[0].scores(), metric)

    def margin(self, metric: str) -> tuple[float, int]:
        """Standard error of the mean and its degrees of freedom: over seeds, or for one run over test samples."""
        values = self.values(metric)
        if len(values) > 1:
            return stdev(values) / math.sqrt(len(values)), len(values) - 1
        low, high = self.interval(metric)
        return (high - low) / 3.92, 1000

    def interval_of_mean(self, metric: str) -> tuple[float, float]:
        """95 % interval of :meth:`mean`: Student's t over seeds, or for one run the bootstrap over test samples."""
        if len(self.runs) == 1:
            return self.interval(metric)
        if not math.isfinite(self.mean(metric)):
            return math.nan, math.nan
        error, freedom = self.margin(metric)
        reach = float(stdtrit(freedom, 0.975)) * error
        return self.mean(metric) - reach, self.mean(metric) + reach

    def curve(self, metric: str) -> tuple[list[int], list[list[float]]]:
        """Epochs at which every run has the metric on the test set, and its values by seed and epoch."""
        scale = self.scale
        rows = [{row["epoch"]: scale.of(row.get("test", {}), metric) for row in run.history()} for run in self.runs]
        common = sorted(set.intersection(*(set(row) for row in rows)))
        epochs = [epoch for epoch in common if all(math.isfinite(row[epoch]) for row in rows)]
        epochs = epochs[:: max(1, len(epochs) // 150)]
        return epochs, [[row[epoch] for epoch in epochs] for row in rows]


class Paired(NamedTuple):
    """The runs of two contenders on the data that both kept, and the difference between them."""

    runs: list[Run]
    others: list[Run]
    difference: Difference


@dataclass(frozen=True)
class Study:
    """All contenders on one data set.

    Attributes:
        data: spec of the data set.
        contenders: the baseline first, then the best first.
        scale: what its scores are.
        cue: what the shortcut is, such as ``"colour"``; empty when it has no name.
        notes: what a reader must know about the choice of runs.
    """

    data: str
    contenders: tuple[Contender, ...]
    scale: Scale = SCALES["classification"]
    cue: str = ""
    notes: tuple[str, ...] = ()
    _known: dict[tuple[str, str], Paired | None] = field(default_factory=dict, repr=False, compare=False)

    @property
    def runs(self) -> list[Run]:
        return [run for contender in self.contenders for run in contender.runs]

    @property
    def shortcut(self) -> str:
        """What the shortcut is called."""
        return self.cue or "shortcut"

    @property
    def several(self) -> bool:
        """Whether some contender has several seeds."""
        return any(len(contender.runs) > 1 for contender in self.contenders)

    @property
    def single(self) -> bool:
        """Whether some contender has a single seed."""
        return any(len(contender.runs) == 1 for contender in self.contenders)

    @property
    def judged(self) -> str:
        """The metric by which one method is better than another; empty where the first has none."""
        return _judged_by(self.contenders[0])

    def beside(self, other: Contender, metric: str) -> Paired | None:
        """What sets another apart from the first on the test sets that both kept; None where there is nothing."""
        key = other.name, metric
        if key not in self._known:
            self._known[key] = _paired(other, self.contenders[0], metric)
        return self._known[key]

    def metrics(self, names: Iterable[str]) -> list[str]:
        """Those that at least one run has."""
        return [m for m in names if any(math.isfinite(v) for c in self.contenders for v in c.values(m))]

    def sentence(self) -> str:
        """What was found, in one sentence that claims no more than the numbers do."""
        first, *others = self.contenders
        metric = self.judged
        if not metric:
            return f"{first.name} on {self.data}: nothing could be measured."
        if not self.scale.percent:
            text = f"{first.name} has a root mean squared error of {self.scale.write(first.mean('rmse'))}"
            if metric != "rmse":
                text += f", and of {self.scale.write(first.mean(metric))} in its worst group"
        elif metric == "conflicting":
            text = _shortcut(first, self.cue)
        else:
            text = f"{first.name} is right on {_percent(first.mean('average'))} of the test samples"
            if metric == "worst_group":
                groups = first.runs[0].scores().groups
                unit = "class" if all(group.attribute is None for group in groups) else "group"
                text += f" and on {_percent(first.mean(metric))} of its worst {unit}"
        return f"{text}{self._rival(first, others, metric)}."

    def _rival(self, first: Contender, others: Sequence[Contender], metric: str) -> str:
        """The best of the others beside the first."""
        others = [other for other in others if math.isfinite(other.mean(metric))]
        if not others:
            return ""
        best, traits = others[0], []
        if len(others) > 1:
            traits.append(f"the best of the other {len(others)}")
        if metric == "conflicting" and not best.knows_shortcut:
            traits.append(f"never told the {self.shortcut}")
        value = (_percent if self.scale.percent else self.scale.write)(best.mean(metric))
        where = "" if metric == self.scale.mean else " there"
        clear = _clear(best.mean(metric) - first.mean(metric), best.margin(metric), first.margin(metric))
        who = f"{best.name}, {' and '.join(traits)}," if traits else best.name
        return f"; {who} gets {value}{where}{'' if clear else ', no clear difference'}"


def _paired(one: Contender, other: Contender, metric: str) -> Paired | None:
    prints = [{run.record.fingerprint for run in side.runs if run.inputs()} for side in (one, other)]
    both = prints[0] & prints[1]
    sides = [[run for run in side.runs if run.record.fingerprint in both] for side in (one, other)]
    if not both:
        return None
    try:
        return Paired(sides[0], sides[1], difference(sides[0], sides[1], metric, draws=DRAWS))
    except (FileNotFoundError, UserError):  # somebody removed the predictions; the metric is not defined
        return None


def studies(runs: Iterable[Run]) -> list[Study]:
    """The finished runs, sorted by data set, method and setting; a run that is there twice counts once.

    Raises:
        UserError: when the data of runs on one data set was changed between them.
    """
    runs = list(runs)
    require_one_data(run for run in runs if run.done)
    by_data: dict[str, list[Run]] = {}
    for run in runs:
        by_data.setdefault(run.record.plan.data, []).append(run)
    return [_study(data, members) for data, members in by_data.items() if any(run.done for run in members)]


def name_of(names: Sequence[str], i: int) -> str:
    """What class or attribute value ``i`` is called; its number where it has no name, and -1 is not known."""
    if i < 0:
        return NOT_KNOWN
    return names[i] if i < len(names) else str(i)


def _study(data: str, members: Sequence[Run]) -> Study:
    done = [run for run in members if run.done]
    settings: dict[str, dict[tuple[int, int], Run]] = {}
    for run in done:
        plan = run.record.plan
        settings.setdefault(plan.setting, {}).setdefault((plan.seed, plan.data_seed), run)
    groups = [tuple(seeds[key] for key in sorted(seeds)) for seeds in settings.values()]
    contenders = [Contender(name, group) for name, group in zip(_names(groups), groups, strict=True)]
    scale = scale_of(done[0].record.task)
    first = next((c for c in contenders if c.is_baseline), contenders[0])
    metric = _judged_by(first) or scale.mean

    def place(contender: Contender) -> tuple[bool, bool, float]:
        value = contender.mean(metric)
        return not contender.is_baseline, math.isnan(value), -value if scale.percent else value

    counted = sum(map(len, groups))
    notes = []
    if len(members) > len(done):
        notes.append(f"{_runs(len(members) - len(done))} not finished and left out.")
    if len(done) > counted:
        notes.append(f"{_runs(len(done) - counted)} there more than once and counted once.")
    return Study(data, tuple(sorted(contenders, key=place)), scale, _cue(done[0]), tuple(notes))


def _names(groups: Sequence[Sequence[Run]]) -> list[str]:
    """Each setting's label, followed by what sets it apart from others of that label."""
    plans = [group[0].record.plan for group in groups]
    labels = [_label(plan) for plan in plans]
    names = []
    for label, plan in zip(labels, plans, strict=True):
        rivals = [other for other, name in zip(plans, labels, strict=True) if name == label]
        own = differences(rivals)[1][rivals.index(plan)]
        what = ", ".join(f"{key}={value}" for key, value in own.items()) or "defaults"
        names.append(f"{label} ({what})" if len(rivals) > 1 else label)
    return names


def _label(plan: Plan) -> str:
    """The plan's label, its method written as its authors do.

    >>> from longcut.plans import plan
    >>> _label(plan("colored-digits", "selecmix@paper"))
    'SelecMix@paper'
    """
    name, label = plan.method, plan.label
    plain = name in METHODS and re.split("[@:]", label)[0] == name
    return METHODS[name].__name__ + label[len(name) :] if plain else label


def differences(plans: Sequence[Plan]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Settings that all plans share, and those of each plan that not all share; without labels and seeds.

    >>> from longcut.plans import plan
    >>> differences([plan("colored-digits", settings={"net": net}) for net in ("mlp", "conv")])[1]
    [{'net': 'mlp'}, {'net': 'conv'}]
    """
    flat = [
        {"method": one.method, "net": one.net, "select": one.select, **one.options, **one.files}
        | one.start
        | asdict(one.training)
        | dict(one.unknown)
        for one in plans
    ]
    absent = object()
    shared = {
        key: value for key, value in flat[0].items() if all(settings.get(key, absent) == value for settings in flat)
    }
    return shared, [{key: value for key, value in own.items() if key not in shared} for own in flat]


def _runs(count: int) -> str:
    return f"{count} run{' is' if count == 1 else 's are'}"


# --- words ------------------------------------------------------------------------------------------------------------


def _cue(run: Run) -> str:
    """What the attribute is, by its values, or by the column that it is in where that has a name of its own."""
    about = run.gallery()[1]
    if (names := about.get("attribute_names", ())) and all(named_color(name) for name in names):
        return "colour"
    return "" if (column := about.get("attribute", "")) == "attribute" else column


def _judged_by(contender: Contender) -> str:
    """The hardest metric it has."""
    hardest = contender.scale.judged
    if all(math.isfinite(contender.mean(metric)) for metric in ("aligned", "conflicting")):
        hardest = ("conflicting",)
    return next((metric for metric in hardest if math.isfinite(contender.mean(metric))), "")


def _shortcut(contender: Contender, cue: str) -> str:
    """How much better it is where the shortcut agrees with the label."""
    agree, against = contender.mean("aligned"), contender.mean("conflicting")
    gap, margins = agree - against, (contender.margin("aligned"), contender.margin("conflicting"))
    numbers = f"{_percent(agree)} right where {{}} agrees with the label, {_percent(against)} where it contradicts it"
    if gap >= 0.1 and _clear(gap, *margins):
        return f"{contender.name} {f'follows the {cue}' if cue else 'takes the shortcut'}: {numbers.format('it')}"
    what = f"the {cue or 'shortcut'}"
    if abs(gap) < 0.03 and _clear(0.1, *margins):
        return f"{contender.name} does not follow {what}: {numbers.format('it')}"
    return f"{contender.name} is {numbers.format(what)}"


def _clear(difference: float, *margins: tuple[float, int]) -> bool:
    """Whether a difference of two means lies beyond its 95 % interval (Welch's t), given their standard errors."""
    variances = [error**2 for error, _ in margins]
    total = sum(variances)
    if total == 0:
        return difference != 0
    freedom = total**2 / sum(variance**2 / own for variance, (_, own) in zip(variances, margins, strict=True))
    return abs(difference) > float(stdtrit(freedom, 0.975)) * math.sqrt(total)


def _percent(share: float) -> str:
    """Whole percent, with a decimal where it would otherwise say all or nothing.

    >>> _percent(0.214), _percent(0.9996), _percent(1)
    ('21\u202f%', '99.9\u202f%', '100\u202f%')
    """
    extreme = f"{100 * share:.0f}" in ("0", "100") and 0 < share < 1
    return f"{min(max(100 * share, 0.1), 99.9):.1f}\u202f%" if extreme else f"{100 * share:.0f}\u202f%"
