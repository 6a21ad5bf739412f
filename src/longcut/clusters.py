"""Runs on the workers of a cluster, by Dask or Ray: here, on a few machines, or of a scheduler such as SLURM.

A worker that is lost costs the epoch that its run was in where the run folder is on a file system that all see: the
run goes on elsewhere. Results do not depend on who trains a run; each is trained by a process of one thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from longcut.errors import UserError

__all__ = ["Cluster"]

RETRIES = 10  # times that a run may lose its worker


@dataclass(frozen=True)
class Cluster:
    """Workers that train runs.

    Attributes:
        backend: ``"dask"`` or ``"ray"``.
        address: of the scheduler, such as ``tcp://10.0.0.1:8786``; empty begins workers on this machine.
        workers: how many, where they are begun.

    Example::

        compare(plans, "runs/digits", jobs=Cluster("dask", "tcp://10.0.0.1:8786"))
    """

    backend: Literal["dask", "ray"]
    address: str = ""
    workers: int = 1

    def map(self, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        """What ``function`` returns for each of ``calls``, as each is done; a call whose worker is lost is made again.

        Raises:
            UserError: when the package is not installed, nobody answers at the address, a worker has several threads,
                or the scheduler is lost.
        """
        return {"dask": _dask, "ray": _ray}[self.backend](self, function, calls)


def _dask(cluster: Cluster, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
    try:
        from distributed import Client, as_completed
        from distributed.client import FutureCancelledError
    except ImportError as error:
        raise _missing("distributed") from error
    here = {"n_workers": cluster.workers, "threads_per_worker": 1, "dashboard_address": None}
    try:
        client = Client(cluster.address, timeout=10) if cluster.address else Client(**here)
    except (OSError, ValueError) as error:
        raise UserError(
            f"no scheduler of Dask answers at {cluster.address}; start one, or correct --scheduler."
        ) from error
    with _quiet(), client:
        _require_one_thread({name: worker["nthreads"] for name, worker in _workers(client).items()})
        futures = [client.submit(function, *call, pure=False, retries=RETRIES) for call in calls]
        try:
            for future in as_completed(futures):
                yield future.result()
        except (FutureCancelledError, OSError) as error:
            raise UserError(
                "the scheduler was lost; what is done is kept, and the same command goes on from there."
            ) from error
        finally:
            client.cancel(futures, force=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """For the time of a ``with``, a lost connection is told once, by us."""
    loggers = [logging.getLogger(name) for name in ("distributed", "tornado", "asyncio")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _workers(client: Any) -> dict[str, Any]:
    return client.scheduler_info(n_workers=-1)["workers"]


def _require_one_thread(threads: dict[str, int]) -> None:
    """Runs in threads of one process would draw from one generator, and round sums by how many threads there are."""
    if several := next((name for name, count in threads.items() if count > 1), None):
        raise UserError(
            f"worker {several} has {threads[several]} threads, and runs need a process each; start workers with "
            "--nthreads 1 and as many with --nworkers."
        )


def _ray(cluster: Cluster, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
    try:
        import ray  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise _missing("ray") from error
    where = {"address": cluster.address} if cluster.address else {"num_cpus": cluster.workers}
    try:
        ray.init(**where, log_to_driver=False, include_dashboard=False if not cluster.address else None)
    except (ConnectionError, ValueError) as error:
        raise UserError(
            f"no cluster of Ray answers at {cluster.address}; start one, or correct --scheduler."
        ) from error
    try:
        remote = ray.remote(num_cpus=1, max_retries=RETRIES)(function)
        waiting = [remote.remote(*call) for call in calls]
        while waiting:
            done, waiting = ray.wait(waiting)
            yield ray.get(done[0])
    finally:
        ray.shutdown()


def _missing(package: str) -> UserError:
    return UserError(f"{package} is not installed; install it with pip install 'longcut[scale]'.")
