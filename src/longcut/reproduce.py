"""Recipes: a paper's table or figure as plans, and our numbers beside the published ones."""

from __future__ import annotations

import math
import statistics
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from longcut import datasets, runs
from longcut.compare import Plan, compare, folder_name, parse_method, plan, slug
from longcut.errors import UserError, unknown
from longcut.evaluate import METRICS
from longcut.spec import validate
from longcut.training import Training

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure

__all__ = [
    "Cell",
    "cells",
    "draw",
    "markdown",
    "notes",
    "recipes",
    "require_data",
    "require_weights",
    "run",
    "table",
]

Pair = tuple[float, float | None]
UNPUBLISHED = "unpublished"
COUNTS = ("identification conflicting", "identification aligned")
NUMBERS = {
    "bias": "accuracy for the attribute",
    "identification": "count of the samples that were taken for the minority",
    "group": "such group of label and attribute",
}
PRETRAINED = "weights=FILE"  # in the net of a recipe, where somebody's own path has to go
SPREAD = (
    "Mean ± sample standard deviation over seeds. Ours is of the last epoch, and of the epoch that is best on the test "
    "set, which an oracle picks."
)


JUDGED = (
    "Spanned: the published mean lies from our last epoch minus its deviation to our best epoch plus its. "
    "Near: our best epoch is within two published deviations of it."
)
SELECTED = "Mean ± sample standard deviation over seeds. Ours is of the epoch that {} selects."
JUDGED_SELECTED = "Near: ours is within two deviations of the published mean, published ones or else ours."
WORDS = {True: "yes", False: "no", None: "–"}
READS = {
    "group": "accuracy of the test samples of this label and attribute, by number",
    "identification": "of the samples taken for the minority, conflicting and aligned are how many contradict the "
    "shortcut and do not, and precision and recall are against all that contradict it",
}
PROTOCOLS = {
    "paper": "settings, augmentation, average and selection as in the paper that printed the row",
    "subpopbench": "that of SubpopBench: ImageNet and BERT weights, no augmentation, batch normalisation frozen, the "
    "best of 16 random settings; the printed deviation is a standard error over three runs",
    "ours": "one setting for all methods, from random weights",
    "wilds": "that of WILDS: its data, splits and default optimisers, and the worst of its groups",
}
ANNOTATIONS = {
    "none": "no attribute is used, not even to select",
    "val-sel": "attributes of validation samples select epoch and settings",
    "val-fit": "attributes of validation samples are trained on",
    "train": "attributes of training samples are used",
}
ORIGINS = {
    "paper": ("", ""),
    "second hand": (" †", "second hand: read where others quote it"),
    "memory": (" ‡", "second hand, and from memory: not checked against anything printed"),
}


@dataclass(frozen=True)
class Cell:
    """One number of a table, and how we make ours.

    Attributes:
        row, data, column: names in the table: a method, a data set, and a variant of it or a metric.
        published: mean and deviation in %, as printed; None for what is ours alone.
        plans: one per seed; none where we have no such method or data set, so that the number stands alone.
        note: what to know before comparing.
        reads: which number of a run it is: a metric of the test set (``"worst_group"``) or of another one
            (``"valid average"``), the accuracy of a group (``"group 1,0"``: label, attribute), what is known of the
            samples that were taken for the minority (``"identification recall"``), or ``"bias"``.
        against: the runs of another row that the number is relative to, in per cent.
        protocol: whose settings and definitions: one of ``PROTOCOLS``, or empty.
        annotation: where attributes are used: one of ``ANNOTATIONS``, or empty.
        origin: how far the published number can be trusted: one of ``ORIGINS``.
    """

    row: str
    data: str
    column: str
    published: Pair | None
    plans: tuple[Plan, ...]
    note: str = ""
    reads: str = "average"
    against: tuple[Plan, ...] = ()
    protocol: str = ""
    annotation: str = ""
    origin: str = "paper"


# --- what is declared -------------------------------------------------------------------------------------------------


class _Column(NamedTuple):
    """A column: a data set, none where we have no such, and which number of a run stands there."""

    spec: str | None
    reads: str
    relative: bool

    @classmethod
    def of(cls, given: str | Mapping[str, Any]) -> _Column:
        one: Mapping[str, Any] = {"spec": given} if isinstance(given, str) else given
        return cls(one.get("spec"), one.get("reads", "average"), one.get("relative", False))


class _Row(NamedTuple):
    """A row of a table, with what is published by data set and column."""

    name: str
    label: str
    method: str | Mapping[str, str] | None
    published: Mapping[str, Mapping[str, Sequence[Any] | None]]
    own_settings: bool
    note: str
    select: str | None
    against: str
    protocol: str
    annotation: str

    def method_of(self, data: str, column: str) -> str | None:
        """The method of a cell; what is said for the column goes before what is said for the data set."""
        if self.method is None or isinstance(self.method, str):
            return self.method
        return self.method.get(f"{data} {column}") or self.method.get(data)


@cache
def _files() -> dict[str, dict[str, Any]]:
    folder = files("longcut") / "recipes"
    return {f.name[:-5]: tomllib.loads(f.read_text("utf-8")) for f in folder.iterdir() if f.name.endswith(".toml")}


def _declared(recipe: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    """The paper's file, what it says of this table alone, and the table's name."""
    if recipe not in recipes():
        raise unknown("recipe", recipe, recipes())
    paper, name = recipe.split("/")
    content = _files()[paper]
    return content, content.get("recipe", {}).get(name, {}), name


def recipes() -> dict[str, str]:
    """Every recipe, such as ``"selecmix/table1"``, with its source.

    >>> "selecmix/table1" in recipes()
    True
    """
    return {
        f"{paper}/{name}": content["source"]
        for paper, content in sorted(_files().items())
        for name in sorted({name for row in content["row"] for name in row["tables"]} | {*content.get("recipe", ())})
    }


def _rows(content: Mapping[str, Any], about: Mapping[str, Any], name: str) -> Iterator[_Row]:
    """The rows of a table; one with a released program's reading or a control stands for two or three."""
    shown = {data: content["data"][data] for data in about.get("only", content["data"])}
    for row in content["row"]:
        if name not in row["tables"]:
            continue
        published = {data: _published(row[data], list(columns)) for data, columns in shown.items() if data in row}
        one = _Row(
            row["name"],
            content.get("prefix", "") + row.get("label", row["name"]),
            row.get("method"),
            published,
            row.get("own_settings", False),
            row.get("note", ""),
            row.get("select"),
            row.get("against", ""),
            row.get("protocol", content.get("protocol", "")),
            row.get("annotation", ""),
        )
        yield one
        if "released" in row:
            yield _renamed(one, "released")._replace(method=row["released"])
        if "control" in row:
            nothing = {data: dict.fromkeys(columns) for data, columns in published.items()}
            note = "ours: the same pairs, one of the two shown whole"
            yield _renamed(one, "control")._replace(method=row["control"], published=nothing, note=note)


def _renamed(row: _Row, what: str) -> _Row:
    return row._replace(name=f"{row.name} ({what})", label=f"{row.label} ({what})")


def _published(given: Any, columns: Sequence[str]) -> dict[str, Sequence[Any] | None]:
    """One value for each column in their order, or a value by column, or the word for nothing."""
    if given == UNPUBLISHED:
        return dict.fromkeys(columns)
    by_column = given if isinstance(given, Mapping) else dict(zip(columns, given, strict=True))
    return {column: None if value == UNPUBLISHED else value for column, value in by_column.items()}


def _printed(value: Sequence[Any] | None, origin: str) -> tuple[Pair | None, str]:
    """A mean, perhaps a deviation, and perhaps where the number is from; without, it is from ``origin``."""
    if value is None:
        return None, "paper"
    mean, *more = value
    if more and isinstance(more[-1], str):
        origin = more.pop()
    return (mean, more[0] if more else None), origin


def cells(
    recipe: str, only: Sequence[str] = (), seeds: int | None = None, settings: Mapping[str, Any] | None = None
) -> list[Cell]:
    """The cells of a table; a figure that is not made of runs has none.

    Args:
        recipe: ``"paper/table"``.
        only: names of data sets, columns or rows; of each kind that is named, the rest is left out.
        seeds: number of runs per cell; by default the paper's.
        settings: overrides, such as ``{"epochs": 30}``.

    Raises:
        UserError: for an unknown recipe or name.
    """
    content, about, name = _declared(recipe)
    rows = list(_rows(content, about, name))
    if not rows:
        return []
    kept = _kept(
        recipe,
        only,
        [data for data in content["data"] if any(data in row.published for row in rows)],
        [column for row in rows for columns in row.published.values() for column in columns],
        [row.name for row in rows],
    )
    by_name = {row.name: row for row in rows}
    made: dict[tuple[str | None, ...], tuple[Plan, ...]] = {}  # several columns may read the same runs

    def plans(row: _Row, data: str, column: str, spec: str | None) -> tuple[Plan, ...]:
        key = row.label, data, spec, row.method_of(data, column)
        if key not in made:
            made[key] = _plans(content, row, data, spec, key[-1], seeds, settings or {})
        return made[key]

    found = []
    for row in rows:
        for data, columns in row.published.items():
            for column, value in columns.items():
                if data in kept[0] and column in kept[1] and row.name in kept[2]:
                    what = _Column.of(content["data"][data][column])
                    published, origin = _printed(value, content.get("origin", "paper"))
                    place = data, column, what.spec
                    found.append(
                        Cell(
                            row.name,
                            data,
                            column,
                            published,
                            plans(row, *place),
                            row.note,
                            about.get("reads", what.reads),
                            plans(by_name[row.against], *place) if what.relative else (),
                            row.protocol,
                            row.annotation,
                            origin,
                        )
                    )
    return found


def _plans(
    content: Mapping[str, Any],
    row: _Row,
    data: str,
    spec: str | None,
    method: str | None,
    seeds: int | None,
    settings: Mapping[str, Any],
) -> tuple[Plan, ...]:
    """The runs of a cell, one per seed; none where the method or the data set is not here."""
    if method is None or spec is None:
        return ()
    chosen = _settings(content, row, method, spec) | dict(settings)
    select, weights = chosen.pop("select"), chosen.pop("weights", None)
    if weights is not None and "net" in chosen:
        chosen["net"] = chosen["net"].replace(PRETRAINED, f"weights={weights}")
    one = plan(spec, method, settings=chosen, label=row.label, select=select)
    return tuple(replace(one, seed=seed, data_seed=seed) for seed in range(seeds or _seeds(content, data)))


def _seeds(content: Mapping[str, Any], data: str) -> int:
    """The paper's number of runs, which may differ by data set."""
    return content["seeds"] if isinstance(content["seeds"], int) else content["seeds"][data]


def _kept(recipe: str, only: Sequence[str], *kinds: Sequence[str]) -> list[set[str]]:
    """Of each kind of names, those that are named; all where none is."""
    for name in only:
        if not any(name in kind for kind in kinds):
            every = dict.fromkeys(name for kind in kinds for name in kind)
            raise unknown(f"data set, column or row of {recipe}", name, every)
    return [{*kind} & {*only} or {*kind} for kind in kinds]


def _settings(content: Mapping[str, Any], row: _Row, method: str, spec: str) -> dict[str, Any]:
    """What the file sets on this data for every method, and for this one; and which epoch counts."""
    found = {"select": content.get("select", "last")}
    if not row.own_settings:
        declared = content["settings"][spec.partition(":")[0]]
        found |= {key: value for key, value in declared.items() if not isinstance(value, Mapping)}
        found |= declared.get(parse_method(method)[0], {})
    return found | ({"select": row.select} if row.select else {})


# --- ours -------------------------------------------------------------------------------------------------------------


def run(
    recipe: str,
    only: Sequence[str] = (),
    seeds: int | None = None,
    out: Path | str = "runs/reproduce",
    jobs: int = 1,
    progress: Callable[[float, int], None] | None = None,
    settings: Mapping[str, Any] | None = None,
    device: torch.device | str = "cpu",
) -> list[dict[str, Any]]:
    """Run the cells of a table and put ours beside the paper's.

    Args:
        recipe, only, seeds, settings: see :func:`cells`.
        out: folder of the runs; what is finished there is not done again.
        jobs: processes.
        progress: see :func:`longcut.compare.compare`.
        device: where to compute.

    Returns:
        One object per cell, accuracies in %: ``row, data, column, note``; ``spec, method, options`` of its runs;
        ``published, published_sd``, None where nothing is, and its ``origin``; ``reads``, the metric; ``against``, the
        label of the runs it is relative to; ``protocol, annotation, selection``; ``last, last_sd`` and
        ``best, best_sd``, mean and sample deviation over seeds at the selected epoch and at the best on the test set
        (None where a rule selects, and for what is measured after training alone); the single values ``lasts, bests,
        best_epochs``; ``spans``, whether the published mean lies from ``last - last_sd`` to ``best + best_sd``, and
        ``near``, whether best, or else last, is within two deviations of it: published ones, or where none is, ours;
        ``epochs, seeds, seconds``, and the ``folders`` of the runs. Of a number that we cannot make, all of ours is
        None or empty.

        For traces of similarity, one object per loss and kind of pairs: ``row, data, column``, the cosines ``first,
        first_sd, last, last_sd``, their means epoch by epoch as ``trace``, ``epochs, seeds``.

    Raises:
        UserError: for an unknown recipe or name, when data or weights are missing (before any run), or when runs fail.
    """
    content, about, _ = _declared(recipe)
    if about.get("draws") == "similarity":
        return _traces(recipe, only, seeds or content["seeds"], progress, settings, device)
    wanted = cells(recipe, only, seeds, settings)
    if not wanted:
        raise UserError(f"nothing of {recipe} is left by --only {', '.join(only)}; leave one of the names out.")
    out = Path(out)
    require_data(wanted, out)
    plans = [one for cell in wanted for one in (*cell.plans, *cell.against)]
    records = iter(compare(plans, out, jobs, progress, device, by_data=True))
    return [
        _result(cell, [next(records) for _ in cell.plans], out, [next(records) for _ in cell.against])
        for cell in wanted
    ]


def _folder(out: Path, one: Plan) -> Path:
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
    """Refuse data and weights that are not there before any run begins; what is all done needs none.

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
            record = runs.check(_folder(out, one), one.to_dict())
            if record is None or record["status"] != "done":
                firsts.setdefault(cell.data, one)
    for data, one in firsts.items():
        try:
            (load or datasets.load)(one.data, one.data_seed)
        except UserError as error:
            others = [f"--only {other}" for other in dict.fromkeys(cell.data for cell in wanted) if other != data]
            without = f"; or go on without it: {' '.join(others)}" if others else ""
            raise UserError(f"{str(error).rstrip('.')}{without}.") from error


def _result(
    cell: Cell, records: Sequence[Mapping[str, Any]], out: Path, against: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    one = cell.plans[0] if cell.plans else None
    lasts, bests, epochs = [_read(record, cell) for record in records], [], []
    if against:
        others = [_read(record, cell) for record in against]
        lasts = [100 * (own / other - 1) if other else math.nan for own, other in zip(lasts, others, strict=True)]
    elif cell.reads == "average" and one and one.select == "last":
        bests = [100 * record["best"]["average"] for record in records]
        epochs = [record["best"]["epoch"] for record in records]
    last, last_sd = _spread(lasts)
    top, top_sd = _spread(bests or lasts)
    mean, deviation = cell.published or (None, None)
    spans = near = None
    if mean is not None and last is not None and top is not None:
        spans = last - (last_sd or 0) <= mean <= top + (top_sd or 0)
        if (known := top_sd if deviation is None else deviation) is not None:
            near = abs(top - mean) <= 2 * known
    return {
        "row": cell.row,
        "data": cell.data,
        "column": cell.column,
        "note": cell.note,
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
        "seconds": sum(record["seconds"] for record in records),
        "folders": [str(_folder(out, p)) for p in cell.plans],
    }


def _read(record: Mapping[str, Any], cell: Cell) -> float:
    """The number of a cell in a run: a share in %, or how many."""
    kind, _, name = cell.reads.rpartition(" ")
    if cell.reads == "bias":
        value = _bias(record)
    elif kind == "identification":
        value = (record.get("identification") or {}).get(name)
    elif kind == "group":
        groups = record["scores"]["test"]["groups"]
        value = {f"{one['label']},{one['attribute']}": one["value"] for one in groups}.get(name)
    else:
        value = (record["scores"][kind or "test"] or {"values": {}})["values"].get(name)
    if value is None or math.isnan(value):
        raise UserError(
            f"a run of {cell.row} on {cell.data} {cell.column} holds no {NUMBERS.get(kind or name, name)}; "
            "if it is older than that, delete its folder and run again."
        )
    return value if cell.reads in COUNTS else 100 * value


def _bias(record: Mapping[str, Any]) -> float | None:
    """How well the biased model tells the attribute: by its head where it has one, else by a probe."""
    found = record.get("bias") or {}
    return next((found[by] for by in ("head", "probe") if found.get(by) is not None), None)


def _spread(values: Sequence[float]) -> tuple[float | None, float | None]:
    return statistics.fmean(values) if values else None, statistics.stdev(values) if len(values) > 1 else None


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

    content, about, _ = _declared(recipe)
    data, column = about["data"], about["column"]
    _, _, rows = _kept(recipe, only, [data], [column], ["GSC", "SC"])
    for key in settings or {}:
        if key not in about["settings"]:
            raise unknown(f"setting of {recipe}", key, about["settings"])
    chosen = {**about["settings"], **(settings or {})}
    chosen |= validate("training", Training, {key: chosen[key] for key in ("epochs", "batch", "lr") if key in chosen})
    wanted = [(row, seed) for row in ("GSC", "SC") if row in rows for seed in range(seeds)]
    frames: dict[str, list[Any]] = {row: [] for row, _ in wanted}
    for number, (row, seed) in enumerate(wanted):

        def on_epoch(done: int, epochs: int, number: int = number) -> None:
            if progress:
                progress(number + done / epochs, len(wanted))

        train = datasets.load(content["data"][data][column], seed).train
        how: Any = {**chosen, "contrast": row.lower(), "seed": seed, "device": device}
        frames[row].append(similarity_traces(train, **how, progress=on_epoch))
    results = []
    for row, found in frames.items():
        for kind in found[0].columns.drop("epoch"):
            traces = [frame[kind].tolist() for frame in found]
            (first, first_sd), (last, last_sd) = (_spread([trace[end] for trace in traces]) for end in (0, -1))
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


# --- what is shown ----------------------------------------------------------------------------------------------------


def table(results: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """What :func:`run` returned as a head and lines of text."""
    if results and "trace" in results[0]:
        head = ("loss", "data", "pairs", "cosine, untrained", "cosine, last epoch", "epochs", "seeds")
        shown = [[_number(r["first"], r["first_sd"]), _number(r["last"], r["last_sd"])] for r in results]
    elif results and results[0].get("protocol"):
        head = ("row", "data", "metric", "protocol", "published", "ours", "near", "epochs", "seeds")
        rules = _rules(results)
        shown = [
            [
                _metric(r, len(rules) > 1),
                ", ".join(filter(None, (r["protocol"], r["annotation"]))),
                _number(r["published"], r["published_sd"]) + ORIGINS[r["origin"]][0],
                _number(r["last"], r["last_sd"]),
                WORDS[r["near"]],
            ]
            for r in results
        ]
    else:
        head = ("row", "data", "published", "last epoch", "best epoch", "spanned", "near", "epochs", "seeds")
        shown = [
            [
                *(_number(r[key], r[f"{key}_sd"]) for key in ("published", "last", "best")),
                WORDS[r["spans"]],
                WORDS[r["near"]],
            ]
            for r in results
        ]
    return head, [
        (r["row"], *_place(r), *numbers, str(r["epochs"] or "–"), str(r["seeds"] or "–"))
        for r, numbers in zip(results, shown, strict=True)
    ]


def _metric(result: Mapping[str, Any], tell: bool) -> str:
    """What a cell reads, against which other runs, and by which rule of selection if there are several."""
    rule, against = result["selection"], result["against"]
    return result["reads"] + (f" against {against}" if against else "") + (f" ({rule})" if rule and tell else "")


def _rules(results: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(r["selection"] for r in results if r.get("selection")))


def _place(result: Mapping[str, Any]) -> tuple[str, ...]:
    return (result["data"], result["column"]) if "trace" in result else (f"{result['data']} {result['column']}",)


def _number(mean: float | None, deviation: float | None) -> str:
    return " ± ".join(f"{value:.2f}" for value in (mean, deviation) if value is not None) or "–"


def notes(recipe: str, results: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the numbers of a table are, and what to know before comparing: a sentence or more in each line."""
    content, about, _ = _declared(recipe)
    said = []
    if about.get("draws") == "similarity":
        said.append("Mean cosine of two training samples. Mean ± sample standard deviation over seeds.")
    else:
        selects = any(r.get("protocol") for r in results)
        spread = "Mean ± sample standard deviation over seeds, last epoch."
        if about.get("reads") is None:
            spread = SELECTED.format(" or ".join(_rules(results)) or "no rule") if selects else SPREAD
        verdicts = JUDGED_SELECTED if selects else JUDGED
        said.append(f"{about.get('metric', content['metric'])}, in %. {spread} {verdicts}")
        said += _definitions(results)
        if any(r.get("protocol") and not r["seeds"] for r in results):
            said.append(
                "Without a value of ours are methods and data sets that are not here, or whose setting is not known."
            )
    if "note" in about:
        said.append(about["note"])
    return said + list(dict.fromkeys(f"{r['row']}: {r['note']}." for r in results if r.get("note")))


def _kind(reads: str) -> tuple[str, str]:
    """What kind of number is read and which, the latter only where kinds have several definitions."""
    kind, _, name = reads.rpartition(" ")
    return kind, "" if kind in READS else name


def _definitions(results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line for each metric, protocol, annotation and mark that stands in a table with a protocol."""
    told = [r for r in results if r.get("protocol")]
    names = (name for r in told for name in (r["reads"], (r["selection"] or "").partition(":")[2]))
    for kind, metric in dict.fromkeys(_kind(name) for name in names):
        if kind in READS:
            yield f"{kind}: {READS[kind]}."
        elif metric in METRICS:
            where = ", of the validation set" if kind else ""
            yield f"{kind} {metric}: {METRICS[metric].definition}{where}.".lstrip()
    for key, words in (("protocol", PROTOCOLS), ("annotation", ANNOTATIONS)):
        yield from (f"{name}: {words[name]}." for name in dict.fromkeys(r[key] for r in told) if name in words)
    for origin in dict.fromkeys(r["origin"] for r in told):
        mark, what = ORIGINS[origin]
        if mark:
            yield f"{mark.strip()} {what}."


def markdown(recipe: str, results: Sequence[Mapping[str, Any]]) -> str:
    """What :func:`run` returned as a Markdown table with its notes."""
    head, lines = table(results)
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(["| " + " | ".join(row) + " |" for row in rows] + ["", *notes(recipe, results)]) + "\n"


def draw(recipe: str, results: Sequence[Mapping[str, Any]], out: Path | str = "runs/reproduce") -> Path | None:
    """Write the picture of a figure below ``out`` as SVG; None for a table.

    Args:
        recipe: ``"paper/figure"``.
        results: what :func:`run` returned.
        out: folder to write to.
    """
    _, about, _ = _declared(recipe)
    if "draws" not in about:
        return None
    how = {"similarity": _similarity, "curves": _curves, "embedding": _embedding}[about["draws"]]
    path = Path(out) / f"{recipe.replace('/', '-')}.svg"
    path.parent.mkdir(parents=True, exist_ok=True)
    with runs.replacing(path) as temporary:
        how(results, about).savefig(temporary, format="svg", metadata={"Date": None})
    return path


def _similarity(results: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> Figure:
    """A line for each loss and kind of pairs, from -1 to 1."""
    from longcut.report import figures

    lines = {f"{r['row']}, {r['column']}": (range(len(r["trace"])), [r["trace"]]) for r in results}
    figure = figures.curve(lines, figures.styles(list(lines)), "Mean cosine", percent=False)
    figure.axes[0].set_ylim(-1, 1)
    return _with_names(figure, list(lines))


def _curves(results: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> Figure:
    """Accuracy at the last epoch over an option of the data or the method, a line for each row or column."""
    from longcut.report import figures

    lines: dict[str, list[tuple[float, float, float]]] = {}
    for r in results:
        options = {**datasets.parse(r["spec"])[1], **r["options"]}
        name = r["row"] if about["lines"] == "row" else f"{r['data']} {r['column']}"
        point = options.get(about["x"], 0), r["last"] / 100, (r["last_sd"] or 0) / 100
        lines.setdefault(name, []).append(point)
    drawn: dict[str, Any] = {name: tuple(zip(*sorted(found), strict=True)) for name, found in lines.items()}
    looks = figures.styles(list(lines), "Vanilla")
    return _with_names(figures.sweep(drawn, looks, "Accuracy, last epoch", unit=about["x"]), list(lines))


def _with_names(figure: Figure, names: Sequence[str]) -> Figure:
    """With a legend, for a picture that stands alone."""
    figure.set_size_inches(6.8, 4.2)
    axes = figure.axes[0]
    axes.legend(axes.get_lines(), names, fontsize=7, framealpha=0.6)
    return figure


def _embedding(results: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> Figure:
    """The biased model's view of training samples by t-SNE, coloured by attribute; conflicting samples are ringed."""
    from longcut.analyses import tsne
    from longcut.report import figures

    tensors, said = runs.read(results[0]["folders"][0]).gallery()
    names = list(map(str, said["attribute_names"]))
    place = tsne(tensors["embedding"].numpy())
    ringed = tensors["embedding_conflicting"].numpy()
    group = tensors["embedding_attribute"].tolist()
    return figures.points(place, group, figures.looks_of(names, named=True), ringed)
