"""One run: train as planned, judge, and write the run folder; judge a finished run on other data."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longcut import backbone, identify, runs
from longcut.analyses import bias_accuracy
from longcut.context import Epoch, Observer, calling
from longcut.data import Dataset, Splits
from longcut.datasets import load
from longcut.door import Door
from longcut.errors import UserError
from longcut.evaluate import METRICS, Scores, sample_values, scores
from longcut.fit import Fitted, StateError, fit
from longcut.gallery import gallery
from longcut.identify import Identification
from longcut.methods import Method, build
from longcut.predict import predict
from longcut.record import Best, Inputs, Judged, Plan, Record, fingerprint, source_print
from longcut.registry import require_files

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["execute", "require_unchanged", "rescore", "tested", "with_added"]


def execute(
    plan: Plan,
    folder: Path | str | None = None,
    progress: Callable[[Epoch], None] | None = None,
    device: torch.device | str = "cpu",
    on_helper: Callable[[int, int], None] | None = None,
    watch: Callable[[Plan, Path], AbstractContextManager[Observer]] | None = None,
    processes: int = 1,
) -> Record:
    """Train as planned and judge; resume what was begun in ``folder``, and do nothing where it is already done.

    Args:
        plan: what to do.
        folder: run folder to write; None leaves no files.
        progress: called after every epoch.
        device: where to compute.
        on_helper: called after every epoch of a helper, with the epochs done and to do.
        watch: called with plan and run folder for a further observer, which is entered before the folder is opened and
            left when it is closed, such as :func:`longcut.trackers.tracked`.
        processes: how many share the training (see :func:`longcut.fit.fit`); this one alone writes the folder.

    Returns:
        The record, as :func:`longcut.runs.read` finds it in the folder.

    Raises:
        UserError: when the folder holds something else, or data, method and settings do not fit together.
    """
    if folder is None:
        with tempfile.TemporaryDirectory() as temporary:
            return execute(plan, Path(temporary, "run"), progress, device, on_helper, watch, processes)
    watcher = nullcontext() if watch is None else watch(plan, Path(folder))
    with watcher as observer, runs.Writer(folder, plan, processes) as run:
        splits = load(plan.data, plan.data_seed)
        if run.done and run.record is not None:
            require_unchanged(runs.read(run.folder), splits)
            return run.record

        def on_epoch(epoch: Epoch) -> None:
            run.on_epoch(epoch)
            if progress:
                progress(epoch)

        def built() -> Method:
            options = plan.options_of_seed
            return build(plan.method, splits.info, net=plan.net, options=options, seed=plan.seed, start=start)

        def trained(method: Method, state: dict[str, Any] | None) -> Fitted:
            own = calling(on_epoch=on_epoch, **({"on_helper": on_helper} if on_helper else {}))
            return fit(
                method,
                splits,
                plan.training,
                seed=plan.seed,
                device=device,
                select=plan.select,
                observers=[own] if observer is None else [observer, own],
                state=state,
                examined=True,
                shelf=run,
                processes=processes,
            )

        found = backbone.pretrained(plan, Inputs.of(splits.train))
        start = None if found is None else partial(backbone.begin, state=found, whence=plan.source)
        method = built()
        state = run.start(fingerprint(splits), source_print(splits))
        if state is not None and splits.info.task == "regression" and _begun_unstandardized(run.folder, state):
            assert run.record is not None
            run.record = replace(run.record, plan=run.record.plan.unstandardized())
        try:
            fitted = trained(method, state)
        except StateError:
            warnings.warn(f"{run.folder / runs.RESUME} is of another training; the run begins anew.", stacklevel=2)
            run.restart()
            fitted = trained(built(), None)
        return _finish(run, fitted, splits, device)


def require_unchanged(run: runs.Run, splits: Splits) -> None:
    """Refuse to take a finished run for done that is damaged, or whose data is other data now, or called otherwise.

    Raises:
        UserError: in these cases.
    """
    run.door.verify()
    runs.require_same_data(run.folder, run.record, fingerprint(splits))
    known, now = run.inputs(), splits.info
    if known is not None:
        for name in ("class_names", "attribute_names", "membership_names"):
            then, here = getattr(known.info, name), getattr(now, name)
            if then and here and then != here:
                raise UserError(
                    f"the run in {run.folder} was trained when the {name.replace('_', ' ')} were "
                    f"{', '.join(then[:5])}, and now they are {', '.join(here[:5])}; bring the old data back, choose "
                    "another folder, or delete that one."
                )


def _begun_unstandardized(folder: Path, state: Mapping[str, Any]) -> bool:
    """Whether a run from before targets were standardised goes on as it was, rather than anew.

    Its plan does not know of it, and its head learns the numbers as they are.
    """
    training = Door(folder, runs.REMEDY).record(runs.RECORD, "run", runs.SCHEMA)[0]["plan"]["training"]
    weights = state["method"]
    known = "net.shift" in weights  # as what was saved since, 0 and 1
    plain = not known or (not weights["net.shift"].any() and bool((weights["net.scale"] == 1).all()))
    return "standardize" not in training and plain


def _finish(run: runs.Writer, fitted: Fitted, splits: Splits, device: torch.device | str) -> Record:
    method, info, test = fitted.method, splits.info, splits.test
    outputs = predict(method, test, device)
    valid = None
    if splits.valid is not None:
        valid = _scores(predict(method, splits.valid, device), splits.valid, splits.train)
    judged = _scores(outputs, test, splits.train)
    found = method.identification()
    columns = {name: getattr(test, name) for name in ("label", "attribute", "memberships", "index")}
    return run.finish(
        {
            "epoch": fitted.epoch,
            "seconds": sum(row["seconds"] for row in fitted.history),
            "parameters": sum(parameter.numel() for parameter in method.net.parameters()),
            "task": info.task,
            "scores": Judged(judged, valid),
            "best": _best(fitted, judged, info.task),
            **_about_attribute(method, splits, run.plan.seed, device),
            **_about_minority(found, splits.train),
            "remarks": (
                *info.notes,
                *_how_many_known(splits),
                *method.remarks(),
                *([fitted.verdict.sentence] if fitted.verdict else []),
            ),
        },
        inputs=Inputs.of(splits.train),
        weights=method.net.state_dict(),
        predictions={"outputs": outputs, **{name: column for name, column in columns.items() if column is not None}},
        gallery=gallery(method, splits.train, device),
        about={
            "dataset": info.name,
            "kind": info.kind,
            "class_names": info.class_names,
            "attribute": (splits.train.source and splits.train.source.attribute) or "",
            "attribute_names": info.attribute_names,
            "membership_names": info.membership_names if test.memberships is not None else (),
            "aligned": info.aligned,
        },
        identification=None if found is None else identify.columns(found, splits.train),
    )


def _best(fitted: Fitted, judged: Scores, task: str) -> Best:
    """The best epoch; the one that was taken, where none was judged on its own."""
    every = [Best(row["epoch"], row["test"]["average"]) for row in fitted.history if "test" in row]
    if not every:
        return Best(fitted.epoch, judged.values["average"])
    return (max if task == "classification" else min)(every, key=lambda best: best.average)


def _how_many_known(splits: Splits) -> list[str]:
    """A sentence where the attribute is known of some alone."""
    parts = {"training": splits.train, "validation": splits.valid, "test": splits.test}
    known = {name: (int(part.unguessed().known.sum()), len(part)) for name, part in parts.items() if part is not None}
    if all(some in (0, every) for some, every in known.values()):
        return []
    said = ", ".join(f"{some:,} of {every:,} {name}" for name, (some, every) in known.items())
    return [f"the attribute is known for {said} samples, and groups are of these alone."]


def _about_minority(found: Identification | None, train: Dataset) -> dict[str, Any]:
    """Where a method took somebody for the minority and the attribute is known: how well it chose among those."""
    train = train.unguessed()
    if found is None or found.chosen is None or not train.known.any() or not train.info.aligned:
        return {}
    chosen = found.chosen.cpu()[train.index]
    return {"identification": identify.quality(chosen[train.known], train.conflicting[train.known])}


def _about_attribute(method: Method, splits: Splits, seed: int, device: torch.device | str) -> dict[str, Any]:
    """Where the attribute is known: how many training samples contradict, and what a biased model knows of it."""
    train, test, found = splits.train.unguessed(), splits.test, {}
    if not train.known.any():
        return {}
    if train.info.aligned and train.info.task == "classification":
        found["conflicting_share"] = float(train.conflicting[train.known].double().mean())
    if test.known.any():
        bias = bias_accuracy(method, train, test, seed=seed, device=device)
        found |= {"bias": bias} if any(value is not None for value in bias.values()) else {}
    return found


def rescore(run: runs.Run, data: Path | str, device: torch.device | str = "cpu", **form: Any) -> Scores:
    """The scores of a finished run's network on other data.

    Args:
        run: finished.
        data: files with labels, read as those the network was trained on; or the spec of a data set, whose test set is
            taken, made with the data seed of the run. Samples without a label that the network knows are left out.
        device: where to compute.
        **form: how to read files, of :func:`longcut.datasets.reread.reread`.

    Raises:
        UserError: when the run is not finished, the data has no labels, or it is unlike what the network was trained
            on.
    """
    from longcut.datasets.reread import inputs_of, reread

    samples, train, labelled = reread(run, data, attribute=True, **form)
    if not labelled.any():
        raise UserError(f"{data} has no labels to judge by; add them, or see what it says: longcut predict.")
    if not labelled.all():
        warnings.warn(
            f"{data}: {int((~labelled).sum())} samples have no known label, and are not judged.", stacklevel=2
        )
        samples = samples.take(labelled)
    plan, info = run.record.plan, inputs_of(run).info
    require_files(plan.files, f"the run in {run.folder}")
    weights = run.weights()
    with run.door.trusting(runs.WEIGHTS):
        method = build(plan.method, info, net=plan.net, options=plan.options, seed=plan.seed).to(device)
        method.net.load_state_dict(weights)
    return _scores(predict(method, samples, device), samples, train)


def _scores(outputs: Tensor, data: Dataset, train: Dataset | None) -> Scores:
    return scores(sample_values(outputs, data), data, train, outputs=outputs)


def tested(run: runs.Run) -> Dataset:
    """The test set of a run without its inputs, from what the run keeps."""
    import torch

    from longcut.datasets.reread import inputs_of

    kept = run.predictions()
    label, attribute, memberships = (kept.get(name) for name in ("label", "attribute", "memberships"))
    assert label is not None
    order = torch.arange(len(label))
    return Dataset(torch.empty(0, 0), order, label, attribute, inputs_of(run).info, memberships=memberships)


def with_added(run: runs.Run) -> Scores:
    """The stored scores of a finished run, and those by metrics that were added since, from the predictions it kept.

    Raises:
        UserError: when the run is not finished, or a metric fails.
    """
    stored = run.scores()
    added = [name for name in METRICS if name not in stored.values]
    if not added:
        return stored
    found = _scores(run.predictions()["outputs"], tested(run), None)
    values, intervals = ({name: of[name] for name in added} for of in (found.values, found.intervals))
    return replace(stored, values=stored.values | values, intervals=stored.intervals | intervals)
