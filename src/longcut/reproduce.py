"""Recipes: a paper's table or figure as plans, and our numbers beside the published ones."""

from __future__ import annotations

import statistics
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from longcut import datasets, runs
from longcut.compare import Plan, compare, folder_name, parse_method, plan, slug
from longcut.errors import UserError, unknown
from longcut.options import validate
from longcut.training import Training

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure

__all__ = ["Cell", "cells", "draw", "markdown", "notes", "recipes", "require_data", "run", "table"]

Pair = tuple[float, float]
UNPUBLISHED = "unpublished"
SPREAD = (
    "Mean ± sample standard deviation over seeds. Ours is of the last epoch, and of the epoch that is best on the test "
    "set, which an oracle picks."
)


@dataclass(frozen=True)
class Cell:
    """One number of a table, and how we make ours.

    Attributes:
        row, data, column: names in the table: a method, a data set, and a variant of it.
        published: mean and deviation in %, as printed; None for what is ours alone.
        plans: one per seed.
        note: what to know before comparing.
    """

    row: str
    data: str
    column: str
    published: Pair | None
    plans: tuple[Plan, ...]
    note: str = ""


# --- what is declared -------------------------------------------------------------------------------------------------


class _Row(NamedTuple):
    """A row of a table, with what is published by data set and column."""

    name: str
    method: str | Mapping[str, str]
    published: Mapping[str, Mapping[str, Pair | None]]
    own_settings: bool
    note: str

    def method_of(self, data: str, column: str) -> str:
        """The method of a cell; what is said for the column goes before what is said for the data set."""
        if isinstance(self.method, str):
            return self.method
        return self.method.get(f"{data} {column}") or self.method[data]


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


def _rows(content: Mapping[str, Any], name: str) -> Iterator[_Row]:
    """The rows of a table; one with a released program's reading or a control stands for two or three."""
    for row in content["row"]:
        if name not in row["tables"]:
            continue
        published = {
            data: _published(row[data], list(columns)) for data, columns in content["data"].items() if data in row
        }
        one = _Row(row["name"], row["method"], published, row.get("own_settings", False), row.get("note", ""))
        yield one
        if "released" in row:
            yield one._replace(name=f"{one.name} (released)", method=row["released"])
        if "control" in row:
            nothing = {data: dict.fromkeys(columns) for data, columns in published.items()}
            note = "ours: the same pairs, one of the two shown whole"
            yield one._replace(name=f"{one.name} (control)", method=row["control"], published=nothing, note=note)


def _published(given: Any, columns: Sequence[str]) -> dict[str, Pair | None]:
    """One value for each column in their order, or a value by column, or the word for nothing."""
    if given == UNPUBLISHED:
        return dict.fromkeys(columns)
    by_column = given if isinstance(given, Mapping) else dict(zip(columns, given, strict=True))
    return {column: None if value == UNPUBLISHED else tuple(value) for column, value in by_column.items()}


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
    content, _, name = _declared(recipe)
    rows = list(_rows(content, name))
    if not rows:
        return []
    kept = _kept(
        recipe,
        only,
        [data for data in content["data"] if any(data in row.published for row in rows)],
        [column for row in rows for columns in row.published.values() for column in columns],
        [row.name for row in rows],
    )
    found = []
    for row in rows:
        for data, columns in row.published.items():
            for column, published in columns.items():
                if data in kept[0] and column in kept[1] and row.name in kept[2]:
                    spec, method = content["data"][data][column], row.method_of(data, column)
                    chosen = _settings(content, row, data, column) | dict(settings or {})
                    one = plan(spec, method, settings=chosen, label=row.name)
                    numbers = range(seeds or content["seeds"])
                    plans = tuple(replace(one, seed=seed, data_seed=seed) for seed in numbers)
                    found.append(Cell(row.name, data, column, published, plans, row.note))
    return found


def _kept(recipe: str, only: Sequence[str], *kinds: Sequence[str]) -> list[set[str]]:
    """Of each kind of names, those that are named; all where none is."""
    for name in only:
        if not any(name in kind for kind in kinds):
            every = dict.fromkeys(name for kind in kinds for name in kind)
            raise unknown(f"data set, column or row of {recipe}", name, every)
    return [{*kind} & {*only} or {*kind} for kind in kinds]


def _settings(content: Mapping[str, Any], row: _Row, data: str, column: str) -> dict[str, Any]:
    """What the file sets on this data for every method, and for this one."""
    if row.own_settings:
        return {}
    declared = content["settings"][content["data"][data][column].partition(":")[0]]
    method = parse_method(row.method_of(data, column))[0]
    return {key: value for key, value in declared.items() if not isinstance(value, Mapping)} | declared.get(method, {})


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
        ``published, published_sd``, None where nothing is; ``last, last_sd`` and ``best, best_sd``, mean and sample
        deviation over seeds at the last epoch and at the best on the test set (None for what is measured after
        training alone); the single values ``lasts, bests, best_epochs``; ``spans``, whether the published mean lies
        from ``last - last_sd`` to ``best + best_sd``, and ``near``, whether best is within two published deviations of
        it; ``epochs, seeds, seconds``, and the ``folders`` of the runs.

        For traces of similarity, one object per loss and kind of pairs: ``row, data, column``, the cosines ``first,
        first_sd, last, last_sd``, their means epoch by epoch as ``trace``, ``epochs, seeds``.

    Raises:
        UserError: for an unknown recipe or name, when data is missing (before any run), or when runs fail.
    """
    content, about, _ = _declared(recipe)
    if about.get("draws") == "similarity":
        return _traces(recipe, only, seeds or content["seeds"], progress, settings, device)
    wanted = cells(recipe, only, seeds, settings)
    if not wanted:
        raise UserError(f"nothing of {recipe} is left by --only {', '.join(only)}; leave one of the names out.")
    out = Path(out)
    require_data(wanted, out)
    records = iter(compare([p for cell in wanted for p in cell.plans], out, jobs, progress, device, by_data=True))
    return [_result(cell, [next(records) for _ in cell.plans], about.get("reads"), out) for cell in wanted]


def _folder(out: Path, one: Plan) -> Path:
    return out / slug(one.data) / folder_name(one)


def require_data(wanted: Sequence[Cell], out: Path, load: Callable[[str, int], object] | None = None) -> None:
    """Refuse data that is not there before any run begins; what is all done needs none.

    Args:
        wanted: what is to be run.
        out: folder of the runs.
        load: how a data set is made from its spec and seed; the command line shows a bar.

    Raises:
        UserError: naming what can be run without it.
    """
    firsts: dict[str, Plan] = {}
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


def _result(cell: Cell, records: Sequence[Mapping[str, Any]], reads: str | None, out: Path) -> dict[str, Any]:
    one = cell.plans[0]
    lasts, bests, epochs = [], [], []
    for record in records:
        if reads == "bias":
            lasts.append(100 * _bias(record, cell))
        else:
            lasts.append(100 * record["scores"]["test"]["values"]["average"])
            bests.append(100 * record["best"]["average"])
            epochs.append(record["best"]["epoch"])
    last, last_sd = _spread(lasts)
    top, top_sd = _spread(bests or lasts)
    spans = near = None
    if cell.published:
        mean, deviation = cell.published
        spans = last - (last_sd or 0) <= mean <= top + (top_sd or 0)
        near = abs(top - mean) <= 2 * deviation
    return {
        "row": cell.row,
        "data": cell.data,
        "column": cell.column,
        "note": cell.note,
        "spec": one.data,
        "method": one.method,
        "options": dict(one.options),
        "published": cell.published[0] if cell.published else None,
        "published_sd": cell.published[1] if cell.published else None,
        "last": last,
        "last_sd": last_sd,
        "best": top if bests else None,
        "best_sd": top_sd if bests else None,
        "lasts": lasts,
        "bests": bests,
        "best_epochs": epochs,
        "spans": spans,
        "near": near,
        "epochs": one.training.epochs,
        "seeds": len(records),
        "seconds": sum(record["seconds"] for record in records),
        "folders": [str(_folder(out, p)) for p in cell.plans],
    }


def _bias(record: Mapping[str, Any], cell: Cell) -> float:
    """How well the biased model tells the attribute: by its head where it has one, else by a probe."""
    found = record.get("bias") or {}
    known = [value for value in (found.get("head"), found.get("probe")) if value is not None]
    if not known:
        raise UserError(
            f"a run of {cell.row} on {cell.data} {cell.column} holds no accuracy for the attribute; "
            "it is older than that, so delete its folder and run again."
        )
    return known[0]


def _spread(values: Sequence[float]) -> tuple[float, float | None]:
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


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
    else:
        head = ("row", "data", "published", "last epoch", "best epoch", "spanned", "near", "epochs", "seeds")
        words = {True: "yes", False: "no", None: "–"}
        shown = [
            [
                *(_number(r[key], r[f"{key}_sd"]) for key in ("published", "last", "best")),
                words[r["spans"]],
                words[r["near"]],
            ]
            for r in results
        ]
    return head, [
        (r["row"], *_place(r), *numbers, str(r["epochs"]), str(r["seeds"]))
        for r, numbers in zip(results, shown, strict=True)
    ]


def _place(result: Mapping[str, Any]) -> tuple[str, ...]:
    return (result["data"], result["column"]) if "trace" in result else (f"{result['data']} {result['column']}",)


def _number(mean: float | None, deviation: float | None) -> str:
    return " ± ".join(f"{value:.2f}" for value in (mean, deviation) if value is not None) or "–"


def notes(recipe: str, results: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the numbers of a table are, and what to know before comparing: a sentence or more in each line."""
    content, about, _ = _declared(recipe)
    if about.get("draws") == "similarity":
        metric, spread = "Mean cosine of two training samples.", "Mean ± sample standard deviation over seeds."
    else:
        metric = f"{about.get('metric', content['metric'])}, in %."
        spread = SPREAD if about.get("reads") is None else "Mean ± sample standard deviation over seeds, last epoch."
        spread += (
            " Spanned: the published mean lies from our last epoch minus its deviation to our best epoch plus its. "
            "Near: our best epoch is within two published deviations of it."
        )
    told = dict.fromkeys(f"{r['row']}: {r['note']}." for r in results if r.get("note"))
    return [f"{metric} {spread}", *([about["note"]] if "note" in about else []), *told]


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
