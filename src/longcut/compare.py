"""Plans, their execution, and tables: methods x options x seeds to run folders.

A method is written ``name``, ``name@recipe`` or ``name:key=value,key=value``, as data sets and nets are; the keys are
options of the method, settings of the training loop, or ``net``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import statistics
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longcut import identify, runs
from longcut.analyses import bias_accuracy
from longcut.context import Epoch, calling
from longcut.data import Dataset, Splits
from longcut.datasets import DATASETS, load, parse, spec_of
from longcut.errors import UserError, unknown
from longcut.evaluate import Difference, Scores, paired_sets, sample_values, scores
from longcut.fit import Fitted, Training, fit, parse_selection
from longcut.identify import Identification
from longcut.methods import METHODS, Method, build, get
from longcut.predict import predict
from longcut.spec import options_of, validate

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = [
    "COLUMNS",
    "Plan",
    "compare",
    "difference",
    "execute",
    "folder_name",
    "parse_method",
    "plan",
    "rescore",
    "seeds_of",
    "slug",
    "split_methods",
    "summary",
    "table",
]

COLUMNS = {
    "average": "accuracy on the test set, of the selected epoch",
    "best_average": "accuracy on the test set, of the epoch where it is highest; an oracle picks it",
    "aligned": "accuracy where the sample agrees with the shortcut",
    "conflicting": "accuracy where the sample contradicts the shortcut",
    "worst_group": "accuracy of the worst group, a (label, attribute) cell, or a class without an attribute",
    "train_weighted": "mean of the groups' accuracies, weighted by their share of the training set (adjusted average)",
}
LONGEST = 120  # bytes of a folder's name, which file systems limit to 255


@dataclass(frozen=True)
class Plan:
    """Everything that decides the numbers of a run; make one with :func:`plan`.

    Attributes:
        data: canonical spec of the data set.
        data_seed: of what is drawn when the data is made.
        method: its name.
        label: its name in tables, such as ``"selecmix@paper"``.
        options: the method's options that are not at their default.
        net: spec of the main network.
        training: settings of the loop.
        seed: of initial weights, order and mixing.
        select: which epoch counts (see :func:`longcut.fit.fit`).
    """

    data: str
    data_seed: int
    method: str
    label: str
    options: Mapping[str, Any]
    net: str
    training: Training
    seed: int
    select: str

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, as the run folder stores them."""
        return dataclasses.asdict(self)


def plan(
    data: str,
    method: str = "erm",
    *,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    data_seed: int | None = None,
    select: str = "last",
    label: str | None = None,
) -> Plan:
    """A checked plan, with everything that was not said filled in.

    Each source overrides those before it: the general defaults, what suits the data set, what belongs to the method,
    the recipe, ``settings``, and the options within ``method``. A recipe is whole: with one, the options that suit the
    method on the data set are left out.

    Args:
        data: spec of the data set, such as ``"colored-digits:ratio=0.02"``.
        method: such as ``"selecmix"``, ``"selecmix@paper"`` or ``"selecmix:mode=positive,epochs=5"``.
        settings: options of the method, settings of the training loop, or ``net``, by name; text is converted.
        seed: of the run.
        data_seed: of the data; by default that of the run, so that runs with several seeds also differ in what was
            drawn when the data was made (split, colours), and their spread speaks of both.
        select: which epoch counts: ``"last"``, ``"best:METRIC"``, ``"oracle"`` or ``"oracle:METRIC"``.
        label: name in tables; by default ``method`` as given.

    Raises:
        UserError: for any name that is unknown, or value that is not allowed.

    >>> plan("colored-digits", "erm", settings={"epochs": "3"}).training.epochs
    3
    """
    data_name, data_options = parse(data)
    name, recipe, own = parse_method(method)
    cls = get(name)
    parse_selection(select)
    options, training = {option.name for option in options_of(cls.__init__)}, _training_fields()
    given = {**(settings or {}), **own}
    for key in given:
        if key not in {*options, *training, "net"}:
            raise unknown(f"setting of {name}", key, {*options, *training, "net"})
    published = _recipe(name, recipe)
    suited = {} if recipe else dict(DATASETS[data_name].options.get(name, {}))
    loop = {"net": "mlp", **DATASETS[data_name].training, **cls.training_defaults, **published.pop("training")}
    loop |= published.pop("net") | {key: value for key, value in given.items() if key not in options}
    chosen = suited | published.pop("options") | {key: value for key, value in given.items() if key in options}
    checked = validate(f"method '{name}'", cls.__init__, chosen)
    return Plan(
        data=spec_of(data_name, data_options),
        data_seed=seed if data_seed is None else data_seed,
        method=name,
        label=label or method.strip(),
        options={
            o.name: checked[o.name] for o in options_of(cls.__init__) if checked.get(o.name, o.default) != o.default
        },
        net=loop.pop("net"),
        training=Training(**validate("training", Training, loop)),
        seed=seed,
        select=select,
    )


def _training_fields() -> set[str]:
    return {field.name for field in dataclasses.fields(Training)}


def _recipe(method: str, recipe: str | None) -> dict[str, dict[str, Any]]:
    if recipe is None:
        return {"options": {}, "training": {}, "net": {}}
    recipes = METHODS[method].recipes
    if recipe not in recipes:
        raise unknown(f"recipe of {method}", recipe, recipes)
    found = recipes[recipe]
    return {
        "options": dict(found.options),
        "training": dict(found.training),
        "net": {"net": found.net} if found.net else {},
    }


def parse_method(spec: str) -> tuple[str, str | None, dict[str, str]]:
    """Name, recipe and settings of a method spec, not yet checked against the method.

    Raises:
        UserError: when it is not written ``name@recipe:key=value,key=value``.

    >>> parse_method("selecmix@paper:mode=positive,net=mlp:hidden=8")
    ('selecmix', 'paper', {'mode': 'positive', 'net': 'mlp:hidden=8'})
    """
    head, _, text = spec.partition(":")
    name, _, recipe = head.strip().partition("@")
    given: dict[str, str] = {}
    for piece in text.split(",") if text else ():
        key, equals, value = (part.strip() for part in piece.partition("="))
        if not equals or key in given:
            what = "is given twice" if equals else "is not key=value"
            raise UserError(f"'{piece}' in method '{spec}' {what}; write {head}:key=value,key=value.")
        given[key] = value
    return name, recipe or None, given


def split_methods(text: str) -> list[str]:
    """The method specs in a list joined by commas, each once.

    A piece with a ``=`` and no ``:`` before it goes on with the options of the method before it.

    >>> split_methods("erm,selecmix:mode=positive,blend=keep-both,lff")
    ['erm', 'selecmix:mode=positive,blend=keep-both', 'lff']
    """
    specs: list[str] = []
    for piece in map(str.strip, text.split(",")):
        key, equals, _ = piece.partition("=")
        if specs and equals and ":" not in key:
            specs[-1] += f",{piece}"
        else:
            specs.append(piece)
    return list(dict.fromkeys(specs))


# --- one run ----------------------------------------------------------------------------------------------------------


def execute(
    plan: Plan,
    folder: Path | str | None = None,
    progress: Callable[[Epoch], None] | None = None,
    device: torch.device | str = "cpu",
    on_helper: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Train as planned and judge; resume what was begun in ``folder``, and do nothing where it is already done.

    Args:
        plan: what to do.
        folder: run folder to write; None leaves no files.
        progress: called after every epoch.
        device: where to compute.
        on_helper: called after every epoch of a helper, with the epochs done and to do.

    Returns:
        The record, as :func:`longcut.runs.read` finds it in the folder.

    Raises:
        UserError: when the folder holds something else, or data, method and settings do not fit together.
    """
    if folder is None:
        with tempfile.TemporaryDirectory() as temporary:
            return execute(plan, Path(temporary, "run"), progress, device, on_helper)
    with runs.Writer(folder, plan.to_dict()) as run:
        if run.done and run.record is not None:
            return run.record

        def on_epoch(epoch: Epoch) -> None:
            run.on_epoch(epoch)
            if progress:
                progress(epoch)

        splits = load(plan.data, plan.data_seed)
        method = build(plan.method, splits.info, net=plan.net, options=plan.options, seed=plan.seed)
        state = run.start(runs.fingerprint(splits))
        fitted = fit(
            method,
            splits,
            plan.training,
            seed=plan.seed,
            device=device,
            select=plan.select,
            observers=[calling(on_epoch=on_epoch, **({"on_helper": on_helper} if on_helper else {}))],
            state=state,
        )
        return _finish(run, fitted, splits, device)


def _finish(run: runs.Writer, fitted: Fitted, splits: Splits, device: torch.device | str) -> dict[str, Any]:
    method, info, test = fitted.method, splits.info, splits.test
    outputs = predict(method, test, device)
    judged = {"test": _scores(outputs, test, splits.train).to_dict(), "valid": None}
    if splits.valid is not None:
        judged["valid"] = _scores(predict(method, splits.valid, device), splits.valid, splits.train).to_dict()
    pick = max if info.task == "classification" else min
    best = pick((row for row in fitted.history if "test" in row), key=lambda row: row["test"]["average"])
    found = method.identification()
    columns = {name: getattr(test, name) for name in ("label", "attribute", "memberships", "index")}
    return run.finish(
        {
            "epoch": fitted.epoch,
            "seconds": sum(row["seconds"] for row in fitted.history),
            "parameters": sum(parameter.numel() for parameter in method.net.parameters()),
            "task": info.task,
            "scores": judged,
            "best": {"epoch": best["epoch"], "average": best["test"]["average"]},
            **_about_attribute(method, splits, run.plan["seed"], device),
            **_about_minority(found, splits.train),
        },
        inputs=runs.Inputs.of(splits.train),
        weights=method.net.state_dict(),
        predictions={"outputs": outputs, **{name: column for name, column in columns.items() if column is not None}},
        gallery=runs.gallery(method, splits.train, device),
        about={
            "dataset": info.name,
            "kind": info.kind,
            "class_names": info.class_names,
            "attribute_names": info.attribute_names,
            "membership_names": info.membership_names if test.memberships is not None else (),
            "aligned": info.aligned,
        },
        identification=None if found is None else identify.columns(found, splits.train),
    )


def _about_minority(found: Identification | None, train: Dataset) -> dict[str, Any]:
    """Where a method took somebody for the minority and the attribute is known: how well it chose."""
    if found is None or found.chosen is None or train.attribute is None or not train.info.aligned:
        return {}
    return {"identification": identify.quality(found.chosen.cpu()[train.index], train.conflicting)}


def _about_attribute(method: Method, splits: Splits, seed: int, device: torch.device | str) -> dict[str, Any]:
    """Where the attribute is known: how many training samples contradict, and what a biased model knows of it."""
    train, test, found = splits.train, splits.test, {}
    if train.attribute is None:
        return {}
    if train.info.aligned and train.info.task == "classification":
        found["conflicting_share"] = float(train.conflicting.double().mean())
    if test.attribute is not None:
        bias = bias_accuracy(method, train, test, seed=seed, device=device)
        found |= {"bias": bias} if any(value is not None for value in bias.values()) else {}
    return found


def rescore(run: runs.Run, data: Path | str, device: torch.device | str = "cpu") -> Scores:
    """The scores of a finished run's network on other data.

    Args:
        run: finished.
        data: files with labels, read as those the network was trained on; or the spec of a data set, whose test set is
            taken, made with the data seed of the run.
        device: where to compute.

    Raises:
        UserError: when the run is not finished, the data has no labels, or it is unlike what the network was trained
            on.
    """
    from longcut.datasets.own import inputs_of, reread

    samples, train, labelled = reread(run, data, attribute=True)
    if not labelled:
        raise UserError(f"{data} has no labels to judge by; add them, or see what it says: longcut predict.")
    stored, info = run.record["plan"], inputs_of(run).info
    method = build(stored["method"], info, net=stored["net"], options=stored["options"], seed=stored["seed"]).to(device)
    method.net.load_state_dict(run.weights())
    return _scores(predict(method, samples, device), samples, train)


def _scores(outputs: Tensor, data: Dataset, train: Dataset | None) -> Scores:
    return scores(sample_values(outputs, data), data, train, outputs=outputs)


# --- many runs --------------------------------------------------------------------------------------------------------


def compare(
    plans: Sequence[Plan],
    out: Path | str,
    jobs: int = 1,
    progress: Callable[[float, int], None] | None = None,
    device: torch.device | str = "cpu",
    by_data: bool = False,
) -> list[dict[str, Any]]:
    """Execute all plans, each in a folder of its own below ``out``, and write ``out/summary.json``.

    What is already done is not done again, what was begun is resumed. When a run fails, the others go on, and the
    failure is raised at the end.

    Args:
        plans: what to do.
        out: new or empty, or from an earlier comparison.
        jobs: processes; with several, each computes with one thread.
        progress: called with the number of runs done (a fraction, within one process) and their total.
        device: where to compute.
        by_data: give each data set a folder of its own below ``out``, also when there is only one.

    Returns:
        The record of each plan.

    Raises:
        UserError: before anything runs, when ``out`` or a folder below it holds something else; at the end, when a run
            failed.
    """
    out = Path(out)
    folders = _folders(plans, out, by_data)
    tasks = dict(zip(folders, plans, strict=True))
    runs.check_parent(out)
    for folder, one in tasks.items():
        runs.check(folder, one.to_dict())
    results: dict[Path, dict[str, Any] | UserError] = {}
    for folder, result in _results(tasks, jobs, progress, device):
        results[folder] = result
        if progress:
            progress(len(results), len(tasks))
    records = [result for folder in folders if isinstance(result := results[folder], dict)]
    failures = [result for folder in tasks if isinstance(result := results[folder], UserError)]
    if records:
        with runs.replacing(out / "summary.json") as temporary:
            lines = [summary(result) for folder in tasks if isinstance(result := results[folder], dict)]
            temporary.write_text(runs.to_json(lines, indent=1) + "\n", "utf-8")
    if failures:
        raise UserError(f"{len(failures)} of {len(tasks)} runs failed: {failures[0]}") from failures[0]
    return records


def _results(
    tasks: Mapping[Path, Plan],
    jobs: int,
    progress: Callable[[float, int], None] | None,
    device: torch.device | str,
) -> Iterator[tuple[Path, dict[str, Any] | UserError]]:
    if jobs == 1:
        for number, (folder, one) in enumerate(tasks.items()):

            def on_epoch(epoch: Epoch, number: int = number) -> None:
                if progress:
                    progress(number + epoch.epoch / epoch.epochs, len(tasks))

            yield _attempt(folder, one, on_epoch, device)
        return
    from joblib import Parallel, delayed

    work = (delayed(_attempt_alone)(folder, one, device) for folder, one in tasks.items())
    yield from Parallel(jobs, return_as="generator_unordered")(work)  # type: ignore[misc]


def _attempt(
    folder: Path, one: Plan, on_epoch: Callable[[Epoch], None] | None, device: torch.device | str
) -> tuple[Path, dict[str, Any] | UserError]:
    try:
        return folder, execute(one, folder, on_epoch, device)
    except UserError as error:
        return folder, error


def _attempt_alone(folder: Path, one: Plan, device: torch.device | str) -> tuple[Path, dict[str, Any] | UserError]:
    """In a process of its own, which shares the cores with its siblings."""
    import torch

    torch.set_num_threads(1)
    return _attempt(folder, one, None, device)


def folder_name(plan: Plan) -> str:
    """Label and seed; a label that says more than method and recipe is replaced by the method and a short hash.

    >>> folder_name(plan("colored-digits", "lff@paper", seed=1))
    'lff@paper-s1'
    """
    plain = re.fullmatch(r"[\w@.-]+", plan.label)
    tag = "" if plain else "-" + hashlib.sha256(plan.label.encode()).hexdigest()[:6]
    return f"{plan.label if plain else plan.method}{tag}-s{plan.seed}"


def slug(data: str) -> str:
    """A data set's spec as the name of a folder; of a long one, the end and a short hash.

    >>> slug("colored-digits:ratio=0.02")
    'colored-digits-ratio=0.02'
    """
    name = re.sub(r"[^\w.=,-]+", "-", data).encode()
    if len(name) <= LONGEST:
        return name.decode()
    end = name[-LONGEST:].decode(errors="ignore").lstrip("-.")
    return f"{end}-{hashlib.sha256(data.encode()).hexdigest()[:8]}"


def _folders(plans: Sequence[Plan], out: Path, by_data: bool) -> list[Path]:
    nested = by_data or len({one.data for one in plans}) > 1
    folders = [(out / slug(one.data) if nested else out) / folder_name(one) for one in plans]
    owner: dict[Path, Plan] = {}
    for folder, one in zip(folders, plans, strict=True):
        if owner.setdefault(folder, one) != one:
            raise UserError(f"two different runs would be called {folder.name}; give them different labels.")
    return folders


# --- two methods ------------------------------------------------------------------------------------------------------


def seeds_of(path: Path | str) -> list[runs.Run]:
    """The runs of one setting: a run, all runs below a folder, or, of a name without ``-sSEED``, those of every seed.

    Raises:
        UserError: when there are none, they are of several settings, or one is not finished.
    """
    path = Path(path)
    seeds = [one for one in path.parent.glob("*") if re.fullmatch(re.escape(path.name) + r"-s\d+", one.name)]
    found = [runs.read(folder) for folder in runs.find(sorted(seeds) if seeds and not path.exists() else [path])]
    settings = {runs.to_json(_setting(one), sort_keys=True): one.record["plan"]["label"] for one in found}
    if len(settings) > 1:
        raise UserError(
            f"{path} holds runs of {len(settings)} settings ({', '.join(dict.fromkeys(settings.values()))}); "
            "name one run, or the runs of one method without their -sSEED, such as runs/digits/erm."
        )
    for one in found:
        one.scores()  # refuses one that is not finished
    return found


def _setting(run: runs.Run) -> dict[str, Any]:
    return {key: value for key, value in run.record["plan"].items() if key not in ("seed", "data_seed")}


def difference(
    a: Sequence[runs.Run], b: Sequence[runs.Run], metric: str = "worst_group", *, draws: int = 2000
) -> Difference:
    """How much higher a metric is for the runs ``a`` than for ``b``, from the predictions they kept.

    Runs with the same data are resampled together (see :func:`longcut.evaluate.paired`); where the seeds also drew the
    data, the difference is averaged over the test sets.

    Args:
        a: finished runs of one setting.
        b: finished runs of another, on the same data.
        metric: see there.
        draws: bootstrap resamples.

    Raises:
        UserError: when they were not judged on the same test sets, or the metric does not do.
    """
    sides = [_by_data(a), _by_data(b)]
    if sides[0].keys() != sides[1].keys():
        raise UserError(
            f"{a[0].record['plan']['label']} and {b[0].record['plan']['label']} were not judged on the same test sets "
            "(the data fingerprints of their runs differ); give runs on the same data with the same data seeds."
        )
    sets = []
    for print_, first in sides[0].items():
        test, plan = _tested(first[0]), first[0].record["plan"]
        train = load(plan["data"], plan["data_seed"]).train if metric == "train_weighted" else None
        rows = [[sample_values(run.predictions()["outputs"], test) for run in side[print_]] for side in sides]
        sets.append((*rows, test, train))
    return paired_sets(sets, metric, draws=draws)


def _by_data(members: Sequence[runs.Run]) -> dict[str, list[runs.Run]]:
    by_data: dict[str, list[runs.Run]] = {}
    for run in members:
        by_data.setdefault(run.record["fingerprint"], []).append(run)
    return by_data


def _tested(run: runs.Run) -> Dataset:
    """The test set of a run without its inputs, from what the run keeps."""
    import torch

    from longcut.datasets.own import inputs_of

    kept = run.predictions()
    label, attribute, memberships = (kept.get(name) for name in ("label", "attribute", "memberships"))
    assert label is not None
    order = torch.arange(len(label))
    return Dataset(torch.empty(0, 0), order, label, attribute, inputs_of(run).info, memberships=memberships)


# --- tables -----------------------------------------------------------------------------------------------------------


def summary(record: Mapping[str, Any]) -> dict[str, Any]:
    """One line of ``summary.json``; accuracies are fractions, and None where they are not defined."""
    plan, values = record["plan"], record["scores"]["test"]["values"]
    return {
        "method": plan["method"],
        "options": plan["options"],
        "dataset": plan["data"],
        "seed": plan["seed"],
        "epochs": plan["training"]["epochs"],
        "seconds": record["seconds"],
        "selection": plan["select"],
        **{name: values[name] for name in ("average", "aligned", "conflicting", "worst_group", "train_weighted")},
        "best_average": record["best"]["average"],
    }


def table(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean and standard deviation over seeds, for each data set, label and selection rule.

    Returns:
        Rows with ``data``, ``label``, ``selection``, ``task``, ``runs`` (how many) and, for each of ``COLUMNS``, a
        pair (mean, sample standard deviation): both None where the metric is not defined, the latter also for a single
        run.
    """
    groups: dict[tuple[str, str, str, str], list[dict[str, Any]]] = {}
    for record in records:
        plan = record["plan"]
        key = (plan["data"], plan["label"], plan["select"], record["task"])
        groups.setdefault(key, []).append(summary(record))
    return [
        dict(zip(("data", "label", "selection", "task"), key, strict=True))
        | {"runs": len(rows)}
        | {column: _spread([row[column] for row in rows]) for column in COLUMNS}
        for key, rows in groups.items()
    ]


def _spread(values: list[float | None]) -> tuple[float | None, float | None]:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None, None
    return statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None
