"""Our numbers of a paper's table, beside the published ones."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longcut import datasets, runs
from longcut.compare import compare
from longcut.errors import UserError, unknown
from longcut.numbers import spread
from longcut.papers.cells import PRETRAINED, Cell, cells
from longcut.papers.known import bias_of
from longcut.places import slug
from longcut.plans import folder_name
from longcut.recipes import declared
from longcut.recipes.rows import CONTRASTS, kept
from longcut.record import Plan, Record
from longcut.spec import validate
from longcut.training import Training

if TYPE_CHECKING:
    import torch

    from longcut.clusters import Cluster

__all__ = ["folder_of", "require_data", "require_weights", "run"]

COUNTS = ("identification conflicting", "identification aligned")
NUMBERS = {
    "bias": "accuracy for the attribute",
    "identification": "count of the samples that were taken for the minority",
    "group": "such group of label and attribute",
}


def run(
    recipe: str,
    only: Sequence[str] = (),
    seeds: int | None = None,
    out: Path | str = "runs/reproduce",
    jobs: int | Cluster = 1,
    progress: Callable[[float, int], None] | None = None,
    settings: Mapping[str, Any] | None = None,
    device: torch.device | str = "cpu",
    finished: bool = False,
) -> list[dict[str, Any]]:
    """Run the cells of a table and put ours beside the paper's.

    Args:
        recipe, only, seeds, settings: see :func:`longcut.papers.cells`.
        out: folder of the runs; what is finished there is not done again.
        jobs: processes, or a cluster, as for :func:`longcut.compare.compare`.
        progress: see :func:`longcut.compare.compare`.
        device: where to compute.
        finished: train nothing, and take the runs that are finished.

    Returns:
        One object per cell, accuracies in %: ``row, data, column, note``; ``changed``, what was set in place of an
        option that the row fixes, so that it is compared with nothing; ``spec, method, options`` of its runs;
        ``published, published_sd``, None where nothing is, and its ``origin``; ``reads``, the metric; ``against``, the
        label of the runs it is relative to; ``protocol, annotation, selection``; ``last, last_sd`` and
        ``best, best_sd``, mean and sample deviation over seeds at the selected epoch and at the best on the test set
        (None where a rule selects, and for what is measured after training alone); the single values ``lasts, bests,
        best_epochs``; ``spans``, whether the published mean lies from ``last - last_sd`` to ``best + best_sd``, and
        ``near``, whether best, or else last, is within two deviations of it: published ones, or where none is, ours;
        ``epochs, seeds, seconds``, the ``folders`` of the runs, and ``lacking``, how many are not finished. Of a number
        that we cannot make, all of ours is None or empty.

        For traces of similarity, one object per loss and kind of pairs: ``row, data, column``, the cosines ``first,
        first_sd, last, last_sd``, their means epoch by epoch as ``trace``, ``epochs, seeds``.

    Raises:
        UserError: for an unknown recipe or name, when data or weights are missing (before any run), or when runs fail.
    """
    content, about, _ = declared(recipe)
    if about.get("draws") == "similarity":
        return _traces(recipe, only, seeds or content["seeds"], progress, settings, device)
    wanted = cells(recipe, only, seeds, settings)
    if not wanted:
        raise UserError(f"nothing of {recipe} is left by --only {', '.join(only)}; leave one of the names out.")
    out = Path(out)
    if finished:
        return [_result(cell, _there(cell.plans, out), out, _there(cell.against, out)) for cell in wanted]
    require_data(wanted, out)
    plans = [one for cell in wanted for one in (*cell.plans, *cell.against)]
    records = iter(compare(plans, out, jobs, progress, device, by_data=True))
    return [
        _result(cell, [next(records) for _ in cell.plans], out, [next(records) for _ in cell.against])
        for cell in wanted
    ]


def _there(plans: Sequence[Plan], out: Path) -> list[Record]:
    """The records of those that are finished."""
    found = []
    for one in plans:
        with suppress(UserError):  # another run is there
            record = runs.check(folder_of(out, one), one)
            if record is not None and record.done:
                found.append(record)
    return found


def folder_of(out: Path, one: Plan) -> Path:
    """Where the run of a table lies."""
    return out / slug(one.data) / folder_name(one)


def require_weights(plans: Iterable[Plan]) -> None:
    """Refuse runs that start from pretrained weights while nobody said where these are.

    Raises:
        UserError: saying how.
    """
    for one in plans:
        if PRETRAINED in one.net:
            raise UserError(
                f"{one.label} on {one.data} starts from pretrained weights; say where they are, --set weights=FILE, "
                "or take random ones, which is another setting: --set weights=none."
            )


def require_data(wanted: Sequence[Cell], out: Path, load: Callable[[str, int], object] | None = None) -> None:
    """Refuse data and weights that are not there before any run begins; runs that are done are not asked for theirs.

    Args:
        wanted: what is to be run.
        out: folder of the runs.
        load: how a data set is made from its spec and seed; the command line shows a bar.

    Raises:
        UserError: naming what can be run without it.
    """
    firsts: dict[str, Plan] = {}
    require_weights(one for cell in wanted for one in cell.plans)
    for cell in wanted:
        for one in cell.plans:
            record = runs.check(folder_of(out, one), one)
            if record is None or not record.done:
                firsts.setdefault(cell.data, one)
    for data, one in firsts.items():
        try:
            (load or datasets.load)(one.data, one.data_seed)
        except UserError as error:
            raise UserError(_without(str(error), data, [cell.data for cell in wanted])) from error


def _without(why: str, data: str, every: Iterable[str]) -> str:
    """What is wrong with a data set, and how to go on with the others."""
    others = [f"--only {other}" for other in dict.fromkeys(every) if other != data]
    return f"{why.rstrip('.')}{'; or go on without it: ' + ' '.join(others) if others else ''}."


def _result(cell: Cell, records: Sequence[Record], out: Path, against: Sequence[Record] = ()) -> dict[str, Any]:
    one = cell.plans[0] if cell.plans else None
    lasts, bests, epochs = [_read(record, cell) for record in records], [], []
    if len(against) != len(records):  # what a number is relative to is not there
        against = ()
        lasts = [] if cell.against else lasts
    if against:
        others = [_read(record, cell) for record in against]
        lasts = [100 * (own / other - 1) if other else math.nan for own, other in zip(lasts, others, strict=True)]
    elif cell.reads == "average" and one and one.select == "last":
        bests = [100 * record.best.average for record in records]
        epochs = [record.best.epoch for record in records]
    last, last_sd = spread(lasts)
    top, top_sd = spread(bests or lasts)
    mean, deviation = cell.published or (None, None)
    spans = near = None
    if mean is not None and last is not None and top is not None and not cell.changed:
        spans = last - (last_sd or 0) <= mean <= top + (top_sd or 0)
        if (known := top_sd if deviation is None else deviation) is not None:
            near = abs(top - mean) <= 2 * known
    return {
        "row": cell.row,
        "data": cell.data,
        "column": cell.column,
        "note": cell.note,
        "changed": cell.changed,
        "reads": cell.reads,
        "protocol": cell.protocol,
        "annotation": cell.annotation,
        "selection": one and one.select,
        "against": cell.against[0].label if cell.against else None,
        "spec": one and one.data,
        "method": one and one.method,
        "options": dict(one.options) if one else {},
        "published": mean,
        "published_sd": deviation,
        "origin": cell.origin,
        "last": last,
        "last_sd": last_sd,
        "best": top if bests else None,
        "best_sd": top_sd if bests else None,
        "lasts": lasts,
        "bests": bests,
        "best_epochs": epochs,
        "spans": spans,
        "near": near,
        "epochs": one and one.training.epochs,
        "seeds": len(records),
        "seconds": sum(record.seconds for record in records),
        "folders": [str(folder_of(out, record.plan)) for record in records],
        "lacking": len(cell.plans) - len(records),
    }


def _read(record: Record, cell: Cell) -> float:
    """The number of a cell in a run: a share in %, or how many."""
    kind, _, name = cell.reads.rpartition(" ")
    if cell.reads == "bias":
        value = bias_of(record.bias)
    elif kind == "identification":
        value = (record.identification or {}).get(name)
    elif kind == "group":
        value = {f"{one.label},{one.attribute}": one.value for one in record.scores.test.groups}.get(name)
    else:
        scores = record.scores.valid if kind == "valid" else record.scores.test
        value = scores.values.get(name) if scores else None
    if value is None or math.isnan(value):
        raise UserError(
            f"a run of {cell.row} on {cell.data} {cell.column} holds no {NUMBERS.get(kind or name, name)}; "
            "if it is older than that, delete its folder and run again."
        )
    return value if cell.reads in COUNTS else 100 * value


def _traces(
    recipe: str,
    only: Sequence[str],
    seeds: int,
    progress: Callable[[float, int], None] | None,
    settings: Mapping[str, Any] | None,
    device: torch.device | str,
) -> list[dict[str, Any]]:
    """Cosines of the kinds of pairs while a contrastive model learns, by its two losses."""
    from longcut.analyses import similarity_traces

    content, about, _ = declared(recipe)
    at = about["at"]
    sets, _, rows = kept(recipe, only)
    known = {key for data in sets for key in about["settings"][data]}
    for key in settings or {}:
        if key not in known:
            raise unknown(f"setting of {recipe}", key, known)
    specs = {data: content["data"][data][column] for data, column in at.items() if data in sets}
    for data, spec in specs.items():  # before anything is trained
        try:
            datasets.load(spec, 0)
        except UserError as error:
            raise UserError(_without(str(error), data, specs)) from error
    wanted = [(data, row, seed) for data in specs for row in CONTRASTS if row in rows for seed in range(seeds)]
    frames: dict[tuple[str, str], list[Any]] = {(data, row): [] for data, row, _ in wanted}
    for number, (data, row, seed) in enumerate(wanted):
        chosen = {**about["settings"][data], **(settings or {})}
        own = {key: chosen[key] for key in ("epochs", "batch", "lr") if key in chosen}
        chosen |= validate("training", Training, own)

        def on_epoch(done: int, epochs: int, number: int = number) -> None:
            if progress:
                progress(number + done / epochs, len(wanted))

        train = datasets.load(specs[data], seed).train
        how: Any = {**chosen, "contrast": row.lower(), "seed": seed, "device": device}
        frames[data, row].append(similarity_traces(train, **how, progress=on_epoch))
    results = []
    for (data, row), found in frames.items():
        for kind in found[0].columns.drop("epoch"):
            traces = [frame[kind].tolist() for frame in found]
            (first, first_sd), (last, last_sd) = (spread([trace[end] for trace in traces]) for end in (0, -1))
            results.append(
                {
                    "row": row,
                    "data": data,
                    "column": kind.replace("_", " "),
                    "first": first,
                    "first_sd": first_sd,
                    "last": last,
                    "last_sd": last_sd,
                    "trace": [statistics.fmean(values) for values in zip(*traces, strict=True)],
                    "epochs": len(traces[0]) - 1,
                    "seeds": len(traces),
                }
            )
    return results
