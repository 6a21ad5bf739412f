"""Regression: the public tables and series of C-Mixup's benchmark (Yao et al., NeurIPS 2022).

Each has two protocols. ``legacy`` is what the released programs do: inputs are scaled by the whole table, test rows
included. ``clean`` scales by the training part alone. The parts are the same in both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from longcut.data import Dataset, Splits, generator
from longcut.datasets.subpopulation import find, name_of, read_csv
from longcut.errors import UserError

__all__ = ["airfoil", "crime", "exchange_rate", "no2", "parts_of", "skillcraft", "standardized"]

Protocol = Annotated[
    Literal["clean", "legacy"],
    Field(description="inputs scaled by the training part alone; or, as released, by the whole table"),
]
Folder = Annotated[str | None, Field(description="where its file lies; by default below LONGCUT_DATA")]
UCI = "the UCI Machine Learning Repository"
Rows = NDArray[np.float64]


def airfoil(*, protocol: Protocol = "clean", folder: Folder = None, seed: int = 0) -> Splits:
    """Airfoil self-noise: sound pressure in dB from five numbers about a wing in a wind tunnel.

    1,003 rows train, 300 validate, 200 test, by one random permutation for each seed.

    Args:
        protocol: see the module.
        folder: with ``airfoil_self_noise.dat``.
        seed: of the permutation.

    Raises:
        UserError: when the file is missing or is another one.
    """
    name = name_of("airfoil", protocol=protocol)
    table = _read(name, folder, "airfoil", ["airfoil_self_noise.dat"], f"{UCI} (data set 291)", (1503, 6), sep=r"\s+")
    return _at_random(name, protocol, table[:, :-1], table[:, -1], (1003, 300), seed)


def no2(*, protocol: Protocol = "clean", folder: Folder = None, seed: int = 0) -> Splits:
    """NO2 beside a road in Oslo: the logarithm of its concentration from seven numbers on traffic and weather.

    200 rows train, 200 validate, 100 test. The split that was published with C-Mixup is not public, so these are drawn
    by seed.

    Args:
        protocol: see the module.
        folder: with ``NO2.csv``, or ``NO2.dat`` as StatLib has it.
        seed: of the permutation.

    Raises:
        UserError: when the file is missing or is another one.
    """
    name = name_of("no2", protocol=protocol)
    table = _read(name, folder, "no2", ["NO2.csv", "NO2.dat"], "StatLib (NO2.dat)", (500, 8), sep=r"[,\s]+")
    return _at_random(name, protocol, table[:, 1:], table[:, 0], (200, 200), seed)


def exchange_rate(*, protocol: Protocol = "clean", folder: Folder = None) -> Splits:
    """Daily rates of exchange of eight currencies, 1990 to 2016: from 168 days to the rates 12 days after the last.

    4,373 windows train, the next 1,518 validate and the last 1,518 test. Targets are the rates over the largest of
    their series, in both protocols, as they are published. Inputs are the same in ``legacy``; in ``clean`` each
    series is standardised by its training targets.

    Args:
        protocol: see the module.
        folder: with ``exchange_rate.txt``, or ``exchange_rate.txt.gz``.

    Returns:
        Windows ``(n, 168, 8)``, targets ``(n, 8)``.

    Raises:
        UserError: when the file is missing or is another one.
    """
    name = name_of("exchange-rate", protocol=protocol)
    files = ["exchange_rate.txt", "exchange_rate.txt.gz"]
    origin = "github.com/laiguokun/multivariate-time-series-data"
    rates = _read(name, folder, "exchange_rate", files, origin, (7588, 8))
    rates = rates / np.abs(rates).max(0)
    n, length, ahead = len(rates), 168, 12
    first, valid, test = length + ahead - 1, int(0.6 * n), int(0.8 * n)
    seen = rates if protocol == "legacy" else standardized(rates, np.arange(first, valid))
    windows = np.lib.stride_tricks.sliding_window_view(seen, length, axis=0)  # (start, series, step)
    x = torch.from_numpy(windows[: n - first].transpose(0, 2, 1).astype(np.float32, order="C"))
    data = Dataset.of(x, rates[first:], name=name)
    return parts_of(data, np.repeat([0, 1, 2], [valid - first, test - valid, n - test]))


def crime(*, protocol: Protocol = "clean", folder: Folder = None) -> Splits:
    """Communities and crime: violent crimes per head, from 0 to 1, in places of 46 states of the USA.

    The attribute is the state, and no state is in two parts: in the order of their numbers, the first 31 (1,390 places)
    train, 6 (231) validate, and 9 (373) test. The 122 inputs are scaled to 0…1 in ``legacy``; missing values are the
    mean of their column, of the whole table in ``legacy`` and of the training part in ``clean``.

    Args:
        protocol: see the module.
        folder: with ``communities.data``.

    Raises:
        UserError: when the file is missing or is another one.
    """
    name = name_of("crime", protocol=protocol)
    table = _read(
        name, folder, "communities_crime", ["communities.data"], f"{UCI} (data set 183)", (1994, 128), words=[3]
    )
    states, domain = np.unique(table[:, 0].astype(int), return_inverse=True)
    part = np.digitize(domain, [31, 37])
    return _of_domains(name, protocol, table[:, 5:-1], table[:, -1], part, domain, [f"state {s}" for s in states])


def skillcraft(*, protocol: Protocol = "clean", folder: Folder = None) -> Splits:
    """SkillCraft: how many milliseconds pass before a StarCraft player acts, from 17 other numbers.

    The attribute is the league, from bronze to professional, and no league is in two parts: leagues 1 to 4 (1,878
    players) train, 5 (806) validates, 6 to 8 (711) test. Missing values are as in :func:`crime`.

    Args:
        protocol: see the module.
        folder: with ``SkillCraft1_Dataset.csv``.

    Raises:
        UserError: when the file is missing or is another one.
    """
    name = name_of("skillcraft", protocol=protocol)
    file = ["SkillCraft1_Dataset.csv"]
    table = _read(name, folder, "skillcraft", file, f"{UCI} (data set 272)", (3395, 20), skiprows=1)
    league, latency = table[:, 1].astype(int) - 1, 13
    part = np.digitize(league, [4, 5])
    x = np.delete(table, [0, 1, latency], axis=1)
    return _of_domains(name, protocol, x, table[:, latency], part, league, [f"league {i}" for i in range(1, 9)])


# --- what they share --------------------------------------------------------------------------------------------------


def _read(
    name: str,
    folder: str | None,
    usual: str,
    files: list[str],
    origin: str,
    shape: tuple[int, int],
    *,
    words: list[int] | None = None,
    **how: Any,
) -> Rows:
    """The numbers of a file, nan where one is missing; columns of words are all nan.

    Raises:
        UserError: when it is not there, has other rows or columns, or holds anything but numbers.
    """
    place, file = find(name, folder, [usual], files, origin)
    path: Path = place / file
    engine: Any = {"engine": "python"} if "sep" in how else {}
    frame = read_csv(path, origin, header=None, na_values="?", **engine, **how)
    if frame.shape != shape:
        raise UserError(
            f"{name}: {path} has {len(frame):,} rows of {frame.shape[1]} columns, published are {shape[0]:,} of "
            f"{shape[1]}; get it again from {origin}."
        )
    if words:
        frame[frame.columns[words]] = np.nan
    try:
        return frame.to_numpy(np.float64)
    except ValueError as error:
        raise UserError(f"{name}: {path} must hold numbers alone ({error}); get it again from {origin}.") from None


def standardized(x: Rows, train: NDArray[np.int64]) -> Rows:
    """Mean 0 and deviation 1 in the training rows; a column that is the same in all of them becomes 0 there."""
    deviation = x[train].std(0)
    return (x - x[train].mean(0)) / np.where(deviation > 0, deviation, 1)


def _scaled(x: Rows, train: NDArray[np.int64], protocol: str) -> NDArray[np.float32]:
    """Inputs as a protocol has them; a missing value is the mean of those that its scale is taken from."""
    known = x if protocol == "legacy" else x[train]
    x = np.where(np.isnan(x), np.nanmean(known, axis=0), x)
    if protocol == "clean":
        return standardized(x, train).astype(np.float32)
    extent = np.ptp(x, axis=0)
    return ((x - x.min(0)) / np.where(extent > 0, extent, 1)).astype(np.float32)


def _at_random(name: str, protocol: str, x: Rows, y: Rows, sizes: tuple[int, int], seed: int) -> Splits:
    """Parts by a permutation: so many to train, so many to validate, the rest to test."""
    train, valid = sizes
    order = torch.randperm(len(x), generator=generator(seed)).numpy()
    part = np.full(len(x), 2)
    part[order[:train]], part[order[train : train + valid]] = 0, 1
    return parts_of(Dataset.of(_scaled(x, np.flatnonzero(part == 0), protocol), y, name=name), part)


def _of_domains(
    name: str, protocol: str, x: Rows, y: Rows, part: NDArray[np.int64], domain: NDArray[np.int64], names: list[str]
) -> Splits:
    """Parts that are given, with a domain for each sample as its attribute."""
    scaled, known = _scaled(x, np.flatnonzero(part == 0), protocol), tuple(names)
    return parts_of(Dataset.of(scaled, y, domain, name=name, n_attributes=len(known), attribute_names=known), part)


def parts_of(data: Dataset, part: NDArray[np.int64]) -> Splits:
    """The training, validation and test part by the number of each sample's part: 0, 1 or 2."""
    rows: list[Tensor] = [torch.from_numpy(np.flatnonzero(part == number)) for number in range(3)]
    return Splits(*(data.take(some) for some in rows))
