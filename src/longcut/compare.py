"""Many runs, on joblib's processes or the workers of a cluster, and the difference between two methods."""

from __future__ import annotations

import os
import platform
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import longcut
from longcut import runs
from longcut.clusters import Cluster
from longcut.context import Epoch, Observer
from longcut.datasets import load
from longcut.errors import UserError
from longcut.evaluate import Difference, paired_sets, sample_values
from longcut.execute import execute, require_unchanged, tested
from longcut.files import replacing, to_json, written
from longcut.folders import of_one_method
from longcut.places import slug
from longcut.plans import folder_name
from longcut.processes import end_with, keep_freed_memory, no_worker_lost, one_thread
from longcut.record import Plan, Record
from longcut.registry import load_file, loaded_files
from longcut.tables import Records, summary

if TYPE_CHECKING:
    import torch

    from longcut.data import Dataset

Watch = Callable[[Plan, Path], AbstractContextManager[Observer]]
WAIT_SECONDS = 1.0  # between looks at runs that another process trains

__all__ = ["compare", "difference", "folders", "seeds_of"]


def compare(
    plans: Sequence[Plan],
    out: Path | str,
    jobs: int | Cluster = 1,
    progress: Callable[[float, int], None] | None = None,
    device: torch.device | str = "cpu",
    by_data: bool = False,
    watch: Watch | None = None,
) -> Records:
    """Execute all plans, each in a folder of its own below ``out``, and write ``out/summary.json``.

    What is done is not done again, what was begun is resumed, and what another process trains is waited for. When a run
    fails, the others go on, and the failure is raised at the end.

    Args:
        plans: what to do.
        out: new or empty, or from an earlier comparison.
        jobs: processes, or a cluster whose workers train. Each run computes with one thread, so that its bits do not
            depend on how many there are. Workers that do not see ``out`` send their runs back.
        progress: called with the number of runs done (a fraction, within one process) and their total.
        device: where to compute.
        by_data: give each data set a folder of its own below ``out``, also when there is only one.
        watch: as for :func:`longcut.execute.execute`; with several ``jobs`` it goes to other processes.

    Returns:
        The record of each plan, a list that shows itself as a table in a notebook.

    Raises:
        UserError: before anything runs, when ``out`` or a folder below it holds something else, or a run that is
            damaged or on other data; at the end, when a run failed, or the data was changed meanwhile.
    """
    out = Path(out)
    places = folders(plans, out, by_data)
    tasks = dict(zip(places, plans, strict=True))
    runs.check_parent(out)
    results: dict[Path, Record | UserError] = dict(_done(tasks))
    left = {folder: one for folder, one in tasks.items() if folder not in results}
    if progress and results:
        progress(len(results), len(tasks))
    for folder, result in _results(left, jobs, progress and _after(progress, len(results)), device, watch):
        results[folder] = result
        if progress:
            progress(len(results), len(tasks))
    while busy := {folder: tasks[folder] for folder in tasks if isinstance(results[folder], runs.Busy)}:
        if progress:
            progress(len(results) - len(busy), len(tasks))
        time.sleep(WAIT_SECONDS)  # another comparison trains these; what it leaves undone is done here
        results |= _results(busy, 1, None, device, watch)
    records = Records(result for folder in places if isinstance(result := results[folder], Record))
    failures = [result for folder in tasks if isinstance(result := results[folder], UserError)]
    runs.require_one_data(runs.read(folder) for folder in tasks if isinstance(results[folder], Record))
    if records:
        with written(out / "summary.json") as temporary:
            lines = [summary(result) for folder in tasks if isinstance(result := results[folder], Record)]
            temporary.write_text(to_json(lines, indent=1) + "\n", "utf-8")
    if failures:
        raise UserError(f"{len(failures)} of {len(tasks)} runs failed: {failures[0]}") from failures[0]
    return records


def _done(tasks: Mapping[Path, Plan]) -> Iterator[tuple[Path, Record]]:
    """What is already done, on the data as it is now, which is made once for all runs on it.

    Raises:
        UserError: when a folder holds something else, or a run on other data.
    """
    finished: dict[tuple[str, int], list[runs.Run]] = {}
    for folder, one in tasks.items():
        record = runs.check(folder, one)
        if record is not None and record.done:
            finished.setdefault((one.data, one.data_seed), []).append(runs.read(folder))
    for (data, seed), found in finished.items():
        splits = load(data, seed)
        for run in found:
            require_unchanged(run, splits)
            yield run.folder, run.record


def _after(progress: Callable[[float, int], None], done: int) -> Callable[[float, int], None]:
    """The progress of what is left, as that of all."""
    return lambda some, left: progress(done + some, done + left)


def _results(
    tasks: Mapping[Path, Plan],
    jobs: int | Cluster,
    progress: Callable[[float, int], None] | None,
    device: torch.device | str,
    watch: Watch | None,
) -> Iterator[tuple[Path, Record | UserError]]:
    if jobs == 1:
        for number, (folder, one) in enumerate(tasks.items()):

            def on_epoch(epoch: Epoch, number: int = number) -> None:
                if progress:
                    progress(number + epoch.epoch / epoch.epochs, len(tasks))

            with one_thread():
                result = _attempt(folder, one, on_epoch, device, watch)
            yield result
        return
    if isinstance(jobs, Cluster):
        yield from _on_cluster(tasks, jobs, device, watch)
        return
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor

    files, parent = loaded_files(), os.getpid()
    work = (delayed(_attempt_alone)(folder, one, device, files, parent, watch) for folder, one in tasks.items())
    try:
        with no_worker_lost("begin the same again: what is done is kept, and fewer jobs take less memory."):
            yield from Parallel(jobs, return_as="generator_unordered")(work)  # type: ignore[misc]
    except BaseException:  # workers would go on with what they have
        get_reusable_executor().shutdown(wait=True, kill_workers=True)
        raise


def _attempt(
    folder: Path,
    one: Plan,
    on_epoch: Callable[[Epoch], None] | None,
    device: torch.device | str,
    watch: Watch | None,
) -> tuple[Path, Record | UserError]:
    try:
        return folder, execute(one, folder, on_epoch, device, watch=watch)
    except UserError as error:
        return folder, error


def _attempt_alone(
    folder: Path,
    one: Plan,
    device: torch.device | str,
    files: Mapping[str, str],
    parent: int,
    watch: Watch | None,
) -> tuple[Path, Record | UserError]:
    """In a process of its own, which shares the cores with its siblings and knows no loaded files yet."""
    end_with(parent)
    keep_freed_memory()
    warnings.simplefilter("ignore", UserWarning)  # what is to be known of the data was said before
    try:
        _load_again(files)
    except UserError as error:
        return folder, error
    with one_thread():
        return _attempt(folder, one, None, device, watch)


def _on_cluster(
    tasks: Mapping[Path, Plan], cluster: Cluster, device: torch.device | str, watch: Watch | None
) -> Iterator[tuple[Path, Record | UserError]]:
    if not tasks:
        return
    mark = Path(os.path.commonpath([folder.absolute().parent for folder in tasks])) / f".{uuid.uuid4().hex}.seen"
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    here = (longcut.__version__, Path.cwd(), mark)
    try:
        calls = [(folder, one, device, watch, loaded_files(), *here) for folder, one in tasks.items()]
        for folder, result, sent in cluster.map(_attempt_far, calls):
            for name in sorted(sent, key=lambda name: name == runs.RECORD):  # last, what says that all is there
                folder.mkdir(parents=True, exist_ok=True)
                with replacing(folder / name) as temporary:
                    temporary.write_bytes(sent[name])
            yield folder, result
    finally:
        mark.unlink(missing_ok=True)


def _attempt_far(
    folder: Path,
    one: Plan,
    device: torch.device | str,
    watch: Watch | None,
    files: Mapping[str, str],
    version: str,
    place: Path,
    mark: Path,
) -> tuple[Path, Record | UserError, dict[str, bytes]]:
    """By a worker of a cluster: in the folder where it is seen, as ``mark`` shows, else in one that is sent back."""
    if longcut.__version__ != version:
        told = f"{platform.node()} has longcut {longcut.__version__}, and here it is {version}; install the same there."
        return folder, UserError(told), {}
    warnings.simplefilter("ignore", UserWarning)
    with suppress(OSError):  # where somebody's own data is, by a relative path
        os.chdir(place)
    try:
        _load_again(files)
    except UserError as error:
        return folder, error, {}
    with one_thread():
        if mark.exists():
            return *_attempt(folder, one, None, device, watch), {}
        with TemporaryDirectory() as temporary:
            own = Path(temporary, "run")
            _, result = _attempt(own, one, None, device, watch)
            sent = {file.name: file.read_bytes() for file in own.glob("[!.]*")} if isinstance(result, Record) else {}
        return folder, result, sent


def _load_again(files: Mapping[str, str]) -> None:
    """Load files by path, as they were when they were loaded elsewhere: ``files`` has their hashes."""
    for path, digest in files.items():
        if loaded_files().get(path) != digest:
            load_file(path)
        if loaded_files()[path] != digest:
            raise UserError(f"{path} was changed while runs with it were on; start the same command again.")


def folders(plans: Sequence[Plan], out: Path, by_data: bool = False) -> list[Path]:
    """The folder of each plan's run below ``out``; ``by_data`` as for :func:`compare`.

    Raises:
        UserError: when two different runs would have the same one.
    """
    nested = by_data or len({one.data for one in plans}) > 1
    places = [(out / slug(one.data) if nested else out) / folder_name(one) for one in plans]
    owner: dict[Path, Plan] = {}
    for folder, one in zip(places, plans, strict=True):
        if owner.setdefault(folder, one) != one:
            raise UserError(f"two different runs would be called {folder.name}; give them different labels.")
    return places


# --- two methods ------------------------------------------------------------------------------------------------------


def seeds_of(path: Path | str) -> list[runs.Run]:
    """The runs of one setting: a run, all runs below a folder, or, of a name without ``-sSEED``, those of every seed.

    Raises:
        UserError: when there are none, they are of several settings, or one is not finished.
    """
    found = [runs.read(folder) for folder in of_one_method(Path(path))]
    settings = {one.record.setting: one.record.label for one in found}
    if len(settings) > 1:
        raise UserError(
            f"{path} holds runs of {len(settings)} settings ({', '.join(dict.fromkeys(settings.values()))}); "
            "name one run, or the runs of one method without their -sSEED, such as runs/digits/erm."
        )
    for one in found:
        one.scores()  # refuses one that is not finished
    runs.require_one_data(found)
    return found


def difference(
    a: Sequence[runs.Run],
    b: Sequence[runs.Run],
    metric: str = "worst_group",
    *,
    draws: int = 2000,
    judged: Callable[[runs.Run], Dataset] = tested,
) -> Difference:
    """How much higher a metric is for the runs ``a`` than for ``b``, from the predictions they kept.

    Runs with the same data are resampled together (see :func:`longcut.evaluate.paired`); where the seeds also drew the
    data, the difference is averaged over the test sets.

    Args:
        a: finished runs of one setting.
        b: finished runs of another, on the same data.
        metric: see there.
        draws: bootstrap resamples.
        judged: the test set of a run in the groups by which it is judged.

    Raises:
        UserError: when they were not judged on the same test sets, or the metric does not do.
    """
    runs.require_one_data([*a, *b])
    sides = [_by_data(a), _by_data(b)]
    if sides[0].keys() != sides[1].keys():
        raise UserError(
            f"{a[0].record.label} and {b[0].record.label} were not judged on the same test sets "
            "(the data fingerprints of their runs differ); give runs on the same data with the same data seeds."
        )
    sets = []
    for print_, first in sides[0].items():
        test, plan = judged(first[0]), first[0].record.plan
        train = load(plan.data, plan.data_seed).train if metric == "train_weighted" else None
        rows = [[sample_values(run.predictions()["outputs"], test) for run in side[print_]] for side in sides]
        sets.append((*rows, test, train))
    return paired_sets(sets, metric, draws=draws)


def _by_data(members: Sequence[runs.Run]) -> dict[str, list[runs.Run]]:
    by_data: dict[str, list[runs.Run]] = {}
    for run in members:
        by_data.setdefault(run.record.fingerprint, []).append(run)
    return by_data
