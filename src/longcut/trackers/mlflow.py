"""MLflow: a local database or a server."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from longcut.trackers.base import EXTRA, Start, State, Tracker, needed

__all__ = ["mlflow"]

STATES: dict[State, str] = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
TAG = "longcut.id"


def mlflow(
    *,
    uri: Annotated[
        str,
        Field(
            description="of the server or database; without it MLFLOW_TRACKING_URI, or mlflow.db where it is started",
            examples=["http://127.0.0.1:5000 or sqlite:////home/me/mlflow.db"],
        ),
    ] = "",
    experiment: Annotated[str, Field(description="that the runs are put in", min_length=1)] = "longcut",
) -> Callable[[Start], Tracker]:
    """MLflow (extra ``trackers``): settings, curves and scores, the report as artifact and how the run ended.

    Raises:
        UserError: without the package.
    """
    module = needed("mlflow", "mlflow", "MlflowClient", EXTRA)

    def begin(start: Start) -> Tracker:
        from filelock import FileLock

        # processes that begin at once would each make the tables of a new database, and the experiment
        with FileLock(Path(tempfile.gettempdir(), f"longcut-mlflow-{getattr(os, 'getuid', int)()}.lock")):
            return opened(start)

    def opened(start: Start) -> Tracker:
        client = module.MlflowClient(tracking_uri=uri or None)  # a client of its own: nothing of the caller's is active
        found = client.get_experiment_by_name(experiment)
        place = client.create_experiment(experiment) if found is None else found.experiment_id
        known = client.search_runs([place], f"tags.`{TAG}` = '{start.id}'")
        if known:
            run = known[0].info.run_id
            client.update_run(run, status="RUNNING")
        else:
            tags = {TAG: start.id, "longcut.folder": str(start.folder), "longcut.data": start.data}
            run = client.create_run(place, run_name=start.name, tags=tags).info.run_id
            params = [module.entities.Param(name, str(value)) for name, value in start.plan.items()]
            client.log_batch(run, params=params)
        return _Run(module, client, run)

    return begin


class _Run:
    def __init__(self, module: Any, client: Any, run: str) -> None:
        self.module, self.client, self.run = module, client, run

    def log(self, values: Mapping[str, float], step: int) -> None:
        now = int(1000 * time.time())
        metrics = [self.module.entities.Metric(name, value, now, step) for name, value in values.items()]
        for first in range(0, len(metrics), 1000):  # the most that it takes at once
            self.client.log_batch(self.run, metrics=metrics[first : first + 1000])

    def finish(self, state: State, page: Path | None) -> None:
        if page is not None:
            self.client.log_artifact(self.run, str(page))
        self.client.set_terminated(self.run, STATES[state])
