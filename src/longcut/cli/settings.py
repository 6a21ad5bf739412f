"""What was typed as settings, as the library takes it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Literal

from longcut.errors import UserError

if TYPE_CHECKING:
    from longcut.clusters import Cluster

__all__ = [
    "cores",
    "device_of",
    "require_cluster",
    "require_kind",
    "settings_of",
    "watched",
    "with_recipe",
    "workers",
]

DEVICES = (
    *("cpu", "cuda", "ipu", "xpu", "mkldnn", "opengl", "opencl", "ideep", "hip", "ve", "fpga", "maia", "xla", "lazy"),
    *("vulkan", "mps", "meta", "hpu", "mtia", "privateuseone"),
)  # the kinds that torch knows


def settings_of(given: Iterable[str] | None, net: str | None, epochs: int | None) -> dict[str, Any]:
    """``--set``, ``--net`` and ``--epochs`` together."""
    from longcut.spec import pairs

    settings: dict[str, Any] = pairs(given or (), "of --set ", "--set lr=0.01")
    for key, value in (("net", net), ("epochs", epochs)):
        if value is not None:
            if key in settings:
                raise UserError(f"{key} is given by --{key} and by --set; leave out one of them.")
            settings[key] = value
    return settings


def with_recipe(method: str, recipe: str | None) -> str:
    """The method with its recipe, ``name@recipe``."""
    if recipe is None:
        return method
    name, colon, own = method.partition(":")
    if "@" in name:
        raise UserError(f"the recipe is given by --recipe {recipe} and by --method {method}; leave out one of them.")
    return f"{name}@{recipe}{colon}{own}"


def device_of(name: str) -> str:
    """The device of that name, or for ``auto`` a GPU where there is one."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise _no_device(name) from None
    return name


def require_kind(device: str) -> None:
    """Refuse what is no kind of device, or one with a number; whether it is there, torch says."""
    kind = re.fullmatch(r"([a-z]+)(:\d+)?", device)
    known = device == "auto" or (kind is not None and kind[1] in DEVICES)
    if not known and not entry_points(group="torch.backends"):  # which bring kinds of their own
        raise _no_device(device)


def _no_device(name: str) -> UserError:
    return UserError(f"device '{name}' is not there; use cpu, or auto to take a GPU where there is one.")


def watched(track: str | None) -> Callable[..., Any] | None:
    """What ``--track`` asks for, as ``execute`` takes it; a missing package is said before anything is trained."""
    if track is None:
        return None
    from functools import partial

    from longcut.spec import split
    from longcut.trackers import openers, tracked

    specs = split(track)
    openers(specs)
    return partial(tracked, specs)


def cores(jobs: int) -> int:
    """How many runs at a time; 0 is one per core."""
    from joblib import cpu_count

    return jobs or cpu_count()


def workers(jobs: int, backend: Literal["processes", "dask", "ray"], scheduler: str) -> int | Cluster:
    """Who trains runs: so many processes, or a cluster."""
    from longcut.clusters import Cluster

    require_cluster(backend, scheduler)
    return cores(jobs) if backend == "processes" else Cluster(backend, scheduler, cores(jobs))


def require_cluster(backend: str, scheduler: str) -> None:
    """Refuse the address of a cluster where none is asked for."""
    if backend == "processes" and scheduler:
        raise UserError(f"--scheduler {scheduler} belongs to a cluster; say which: --backend dask, or ray.")
