"""What papers claim, and whether it holds here: paired runs, with intervals, corrected for how many claims are judged.

A claim says that one row of a table is better than another by so many points, on each column in which both stand. Runs
of one seed are a pair. The difference is judged over seeds by Student's t, and where the runs kept their predictions
also over test samples by the paired bootstrap of :func:`longcut.compare.difference`; both have to agree.

All comparisons of a paper are corrected together by the method of Benjamini and Hochberg: of what is told, at most one
in twenty is wrong on average. They share runs, and so lean the same way, for which the method is made, too.
"""

from __future__ import annotations

import math
import statistics
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from longcut import runs
from longcut.compare import difference
from longcut.errors import UserError, unknown
from longcut.evaluate import METRICS, Difference
from longcut.papers.cells import Cell, cells
from longcut.papers.known import Known

__all__ = [
    "HOLDS",
    "LEVEL",
    "NOT",
    "OPEN",
    "Claim",
    "Comparison",
    "Verdict",
    "adjust",
    "claimants",
    "claims",
    "judged",
    "sampled",
    "weigh",
]

HOLDS, NOT, OPEN = "holds here", "does not", "cannot be told"
FEWEST = 3  # pairs: of two, a small deviation comes by chance too often
LEVEL = 0.05  # share of what is told that may be wrong

Sampled = Callable[[Sequence[Known], Sequence[Known], str], Difference | None]


@dataclass(frozen=True)
class Claim:
    """What a paper says of its rows.

    Attributes:
        says: in words.
        stands: where.
        on: recipes, and the column of each in which it is judged; of an empty one, every column that has both rows.
        better, than: rows; of several, what is compared is how far apart they lie.
        by: so many points better, at least; negative where it is only not much worse.
        data: in place of recipes, specs of data sets by the names they have in the table; rows are labels of runs then.
        reads: the metric, where no recipe says it.
        falls: two columns: what is compared is how far each row falls from the first to the second, and less is better.
    """

    says: str
    stands: str
    better: tuple[str, ...]
    than: tuple[str, ...]
    on: Mapping[str, str] = field(default_factory=dict)
    by: float = 0.0
    data: Mapping[str, str] = field(default_factory=dict)
    reads: str = ""
    falls: tuple[str, ...] = ()


class Comparison(NamedTuple):
    """A claim on one column.

    Attributes:
        where: the column, or the data set.
        value: difference in points (of shares; else in the unit of the metric), positive where the claim's better row
            is better; None where there are no pairs.
        low, high: 95 % interval, of the mean over seeds and over test samples together; not corrected. None where there
            are too few pairs.
        p: two-sided, of a difference of exactly what the claim says; None where it cannot be told.
        adjusted: the same after the correction.
        seeds: pairs.
        epochs: of the runs, and what the paper says, where they are fewer.
        verdict: one of ``HOLDS``, ``NOT`` and ``OPEN``.
        why: it cannot be told.
    """

    where: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    adjusted: float | None = None
    seeds: int = 0
    epochs: str = ""
    verdict: str = OPEN
    why: str = ""


class Verdict(NamedTuple):
    """What became of a claim: ``HOLDS`` where it holds in all columns that can be told, and in one at least."""

    claim: Claim
    comparisons: tuple[Comparison, ...]

    @property
    def verdict(self) -> str:
        found = {one.verdict for one in self.comparisons}
        return NOT if NOT in found else HOLDS if HOLDS in found else OPEN


# --- what is declared -------------------------------------------------------------------------------------------------


@cache
def _files() -> dict[str, dict[str, Any]]:
    folder = files("longcut") / "recipes" / "claims"
    return {f.name[:-5]: tomllib.loads(f.read_text("utf-8")) for f in folder.iterdir() if f.name.endswith(".toml")}


def claimants() -> dict[str, str]:
    """The papers whose claims are judged, with their source.

    >>> "selecmix" in claimants()
    True
    """
    return {name: content["source"] for name, content in sorted(_files().items())}


def claims(paper: str) -> list[Claim]:
    """What a paper claims.

    Raises:
        UserError: for a paper that is not known.
    """
    if paper not in claimants():
        raise unknown("paper with claims", paper, claimants())
    return [Claim(**{key: _tuple(key, value) for key, value in one.items()}) for one in _files()[paper]["claim"]]


def _tuple(key: str, value: Any) -> Any:
    if key in ("better", "than", "falls"):
        return (value,) if isinstance(value, str) else tuple(value)
    return value


# --- how it is judged -------------------------------------------------------------------------------------------------


def judged(paper: str, known: Iterable[Known], over_samples: Sampled | None = None) -> list[Verdict]:
    """Every claim of a paper, from the runs that are there.

    Args:
        paper: one of :func:`claimants`.
        known: runs, with the numbers that the claims read.
        over_samples: such as :func:`sampled`: of runs of two rows and a metric, their difference over test samples, or
            None where that cannot be had.

    Raises:
        UserError: for a paper that is not known.
    """
    table: dict[tuple[str, str], list[Known]] = {}
    for one in known:
        table.setdefault((one.label, one.data), []).append(one)
    found = [Verdict(claim, tuple(_compared(claim, table, over_samples))) for claim in claims(paper)]
    adjusted = iter(adjust([one.p for verdict in found for one in verdict.comparisons if one.p is not None]))
    return [
        verdict._replace(
            comparisons=tuple(
                one if one.p is None else _decided(one, verdict.claim.by, next(adjusted)) for one in verdict.comparisons
            )
        )
        for verdict in found
    ]


def weigh(pairs: Sequence[tuple[float, float]], by: float = 0.0, over_samples: Difference | None = None) -> Comparison:
    """A difference of paired values, against what it should be at least.

    Args:
        pairs: of each seed, the value that should be higher and the other.
        by: how much higher.
        over_samples: the same difference over test samples, in the unit of the pairs.

    >>> weigh([(0.9, 0.5), (0.8, 0.5), (0.7, 0.2)]).p < 0.05
    True
    """
    apart = [one - other for one, other in pairs]
    if not apart:
        return Comparison("", why="no pair of runs")
    mean = statistics.fmean(apart)
    if len(apart) < FEWEST:
        return Comparison("", mean, seeds=len(apart), why=f"too few seeds ({len(apart)} of {FEWEST})")
    from scipy.stats import t

    error = statistics.stdev(apart) / math.sqrt(len(apart))
    margin = float(t.ppf(0.975, len(apart) - 1)) * error
    p = 2 * float(t.sf(abs(mean - by) / error, len(apart) - 1)) if error else float(mean == by)
    low, high = mean - margin, mean + margin
    if over_samples is not None:
        shift = mean - over_samples.value  # a difference over samples averages test sets, the mean here seeds
        low, high = min(low, over_samples.low + shift), max(high, over_samples.high + shift)
        p = max(p, _beyond(over_samples, by))
    return Comparison("", mean, low, high, p, seeds=len(apart))


def _beyond(found: Difference, by: float) -> float:
    """The p-value of a difference of ``by`` over test samples; of others than none, from a normal of that interval."""
    if by == 0:
        return found.p
    error = (found.high - found.low) / (2 * 1.96)
    return math.erfc(abs(found.value - by) / error / math.sqrt(2)) if error else float(found.value == by)


def adjust(values: Sequence[float]) -> list[float]:
    """P-values adjusted by Benjamini and Hochberg (1995), in the order they came.

    >>> [round(p, 3) for p in adjust([0.01, 0.04, 0.03])]
    [0.03, 0.04, 0.04]
    """
    order = sorted(range(len(values)), key=lambda i: -values[i])
    adjusted, lowest = [0.0] * len(values), 1.0
    for rank, i in enumerate(order):
        lowest = min(lowest, values[i] * len(values) / (len(values) - rank))
        adjusted[i] = lowest
    return adjusted


def _decided(one: Comparison, by: float, adjusted: float) -> Comparison:
    assert one.value is not None
    if adjusted < LEVEL:
        return one._replace(adjusted=adjusted, verdict=HOLDS if one.value > by else NOT)
    assert one.p is not None
    why = "the interval includes both" if one.p >= LEVEL else "not sure enough beside so many claims"
    return one._replace(adjusted=adjusted, why=why)


# --- which runs -------------------------------------------------------------------------------------------------------


class _Place(NamedTuple):
    """A column: its name, and of each row there its runs' label, data set and epochs, and the metric."""

    where: str
    rows: dict[str, tuple[str, str, int]]
    reads: str


def _places(claim: Claim) -> Iterator[_Place]:
    rows = {*claim.better, *claim.than}
    for name, spec in claim.data.items():
        yield _Place(name, {row: (row, spec, 0) for row in rows}, claim.reads)
    for recipe, column in claim.on.items():
        found: dict[tuple[str, str], dict[str, Cell]] = {}
        for cell in _cells(recipe):
            if cell.row in rows and column in ("", cell.column):
                found.setdefault((cell.data, cell.column), {})[cell.row] = cell
        for (data, name), beside in found.items():
            if beside.keys() == rows and all(cell.plans for cell in beside.values()):
                plans = {row: cell.plans[0] for row, cell in beside.items()}
                labels = {row: (plan.label, plan.data, plan.training.epochs) for row, plan in plans.items()}
                yield _Place(f"{data} {name}", labels, next(iter(beside.values())).reads)


@cache
def _cells(recipe: str) -> tuple[Cell, ...]:
    return tuple(cells(recipe, seeds=1))


def _compared(
    claim: Claim, table: Mapping[tuple[str, str], Sequence[Known]], over_samples: Sampled | None
) -> Iterator[Comparison]:
    """The comparisons of a claim, not yet decided."""
    places = list(_places(claim))
    if claim.falls:
        pairs = {place.where.partition(" ")[2]: place for place in places}
        first, last = (pairs.get(name) for name in claim.falls)
        if first and last:
            yield _fallen(claim, first, last, table)
        return
    for place in places:
        yield _at(claim, place, table, over_samples)


def _at(
    claim: Claim, place: _Place, table: Mapping[tuple[str, str], Sequence[Known]], over_samples: Sampled | None
) -> Comparison:
    found = _runs(place, table)
    if isinstance(found, str):
        return Comparison(place.where, why=found)
    values = [_spread_of([found[row] for row in rows], place.reads) for rows in (claim.better, claim.than)]
    scale, lower = _scale(place.reads)
    seeds = sorted(values[0].keys() & values[1].keys())
    sign = -1 if lower and len(claim.better) == 1 else 1
    pairs = [(sign * scale * values[0][seed], sign * scale * values[1][seed]) for seed in seeds]
    over = None
    if over_samples is not None and len(claim.better) == len(claim.than) == 1:
        one, other = ([run for run in found[row] if run.seed in seeds] for row in (claim.better[0], claim.than[0]))
        over = over_samples(one, other, place.reads)
        if over is not None:
            ends = sorted((sign * scale * over.low, sign * scale * over.high))
            over = replace(over, value=sign * scale * over.value, low=ends[0], high=ends[1])
    return weigh(pairs, claim.by, over)._replace(where=place.where, epochs=_epochs(place, found))


def _fallen(claim: Claim, first: _Place, last: _Place, table: Mapping[tuple[str, str], Sequence[Known]]) -> Comparison:
    """How much less the one row falls between two columns than the other."""
    where = f"{first.where} to {' '.join(last.where.split(' ')[1:])}"
    ends = [_runs(first, table), _runs(last, table)]
    for end in ends:
        if isinstance(end, str):
            return Comparison(where, why=end)
    scale, _ = _scale(first.reads)
    falls = []
    for row in (claim.better[0], claim.than[0]):
        one, other = [_spread_of([end[row]], first.reads) for end in ends if not isinstance(end, str)]
        falls.append({seed: scale * (other[seed] - one[seed]) for seed in one.keys() & other.keys()})
    seeds = sorted(falls[0].keys() & falls[1].keys())
    pairs = [(falls[0][seed], falls[1][seed]) for seed in seeds]
    epochs = _epochs(first, {key: value for end in ends if not isinstance(end, str) for key, value in end.items()})
    return weigh(pairs, claim.by)._replace(where=where, epochs=epochs)


def _spread_of(rows: Sequence[Sequence[Known]], reads: str) -> dict[int, float]:
    """By seed, the value of one row, or how far several lie apart."""
    by_seed: list[dict[int, float]] = [
        {one.seed: value for one in row if (value := one.values.get(reads)) is not None} for row in rows
    ]
    shared = set.intersection(*(set(values) for values in by_seed))
    if len(by_seed) == 1:
        return by_seed[0]
    return {seed: max(v[seed] for v in by_seed) - min(v[seed] for v in by_seed) for seed in shared}


def _scale(reads: str) -> tuple[float, bool]:
    """What makes points of a metric, and whether less is better."""
    name = reads.rpartition(" ")[2]
    if name not in METRICS:  # a share, or a similarity
        return 100.0, False
    error = METRICS[name].definition.startswith("regression")
    return (1.0 if error else 100.0), METRICS[name].lower


def _runs(place: _Place, table: Mapping[tuple[str, str], Sequence[Known]]) -> dict[str, list[Known]] | str:
    """The runs of each row that can be compared: whole ones, or those of as many epochs; or why there are none."""
    there: dict[str, Sequence[Known]] = {}
    for row, (label, data, _) in place.rows.items():
        there[row] = [one for one in table.get((label, data), ()) if one.values.get(place.reads) is not None]
    if missing := [row for row, found in there.items() if not found]:
        more = f" and {len(missing) - 2} more" if len(missing) > 2 else ""
        return f"no runs of {' and of '.join(missing[:2])}{more}"
    whole = {
        row: [one for one in found if one.epochs >= place.rows[row][2]] if place.rows[row][2] else list(found)
        for row, found in there.items()
    }
    if all(whole.values()):
        return whole
    shared = set.intersection(*({one.epochs for one in found} for found in there.values()))
    if not shared:
        return "no runs of as many epochs"
    most = max(shared, key=lambda epochs: (_pairs(there, epochs), epochs))
    return {row: [one for one in found if one.epochs == most] for row, found in there.items()}


def _pairs(there: Mapping[str, Sequence[Known]], epochs: int) -> int:
    return len(set.intersection(*({one.seed for one in found if one.epochs == epochs} for found in there.values())))


def _epochs(place: _Place, found: Mapping[str, Sequence[Known]]) -> str:
    """How long the runs were, where that is not as long as the table says."""
    own = {row: max(one.epochs for one in some) for row, some in found.items()}
    short = {row for row, epochs in own.items() if epochs < place.rows[row][2]}
    return "" if not short else f"{min(own.values())} of {max(place.rows[row][2] for row in short)}"


def sampled(a: Sequence[Known], b: Sequence[Known], metric: str) -> Difference | None:
    """The difference over test samples of runs whose folders are there; None where one is not, or keeps no predictions.

    Args:
        a: runs of the row that should be better.
        b: runs of the other.
        metric: of the test set.
    """
    if metric not in METRICS or any(one.folder is None for one in (*a, *b)):
        return None
    one, other = ([runs.read(run.folder) for run in side if run.folder] for side in (a, b))
    try:
        return difference(one, other, metric)
    except UserError:  # the metric is no mean over samples, or the predictions are gone
        return None
