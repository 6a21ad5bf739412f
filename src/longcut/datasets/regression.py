"""Regression: the public tables and series of C-Mixup's benchmark (Yao et al., NeurIPS 2022).

Each has two protocols. ``legacy`` is what the released programs do: inputs are scaled by the whole table, test rows
included. ``clean`` scales by the training part alone. The parts are the same in both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from longcut.data import Dataset, Splits, generator
from longcut.datasets.subpopulation import find, name_of, read_csv
from longcut.errors import UserError
from longcut.sources import Source

__all__ = ["airfoil", "crime", "exchange_rate", "no2", "parts_of", "skillcraft", "standardized"]

Protocol = Annotated[
    Literal["clean", "legacy"],
    Field(description="inputs scaled by the training part alone; or, as released, by the whole table"),
]
Folder = Annotated[str | None, Field(description="where its file lies; by default below LONGCUT_DATA")]
UCI = "the UCI Machine Learning Repository"
Rows = NDArray[np.float64]

AIRFOIL = ("frequency", "angle", "chord", "velocity", "thickness")
ROAD = ("log cars", "temperature", "wind speed", "temperature difference", "wind direction", "hour", "day")
PLAYERS = (
    "Age HoursPerWeek TotalHours APM SelectByHotkeys AssignToHotkeys UniqueHotkeys MinimapAttacks "
    "MinimapRightClicks NumberOfPACs GapBetweenPACs ActionsInPAC TotalMapExplored WorkersMade UniqueUnitsMade "
    "ComplexUnitsMade ComplexAbilitiesUsed"
)
PLACES = (
    "population householdsize racepctblack racePctWhite racePctAsian racePctHisp agePct12t21 agePct12t29 agePct16t24 "
    "agePct65up numbUrban pctUrban medIncome pctWWage pctWFarmSelf pctWInvInc pctWSocSec pctWPubAsst pctWRetire "
    "medFamInc perCapInc whitePerCap blackPerCap indianPerCap AsianPerCap OtherPerCap HispPerCap NumUnderPov "
    "PctPopUnderPov PctLess9thGrade PctNotHSGrad PctBSorMore PctUnemployed PctEmploy PctEmplManu PctEmplProfServ "
    "PctOccupManu PctOccupMgmtProf MalePctDivorce MalePctNevMarr FemalePctDiv TotalPctDiv PersPerFam PctFam2Par "
    "PctKids2Par PctYoungKids2Par PctTeen2Par PctWorkMomYoungKids PctWorkMom NumIlleg PctIlleg NumImmig "
    "PctImmigRecent PctImmigRec5 PctImmigRec8 PctImmigRec10 PctRecentImmig PctRecImmig5 PctRecImmig8 PctRecImmig10 "
    "PctSpeakEnglOnly PctNotSpeakEnglWell PctLargHouseFam PctLargHouseOccup PersPerOccupHous PersPerOwnOccHous "
    "PersPerRentOccHous PctPersOwnOccup PctPersDenseHous PctHousLess3BR MedNumBR HousVacant PctHousOccup "
    "PctHousOwnOcc PctVacantBoarded PctVacMore6Mos MedYrHousBuilt PctHousNoPhone PctWOFullPlumb OwnOccLowQuart "
    "OwnOccMedVal OwnOccHiQuart RentLowQ RentMedian RentHighQ MedRent MedRentPctHousInc MedOwnCostPctInc "
    "MedOwnCostPctIncNoMtg NumInShelters NumStreet PctForeignBorn PctBornSameState PctSameHouse85 PctSameCity85 "
    "PctSameState85 LemasSwornFT LemasSwFTPerPop LemasSwFTFieldOps LemasSwFTFieldPerPop LemasTotalReq "
    "LemasTotReqPerPop PolicReqPerOffic PolicPerPop RacialMatchCommPol PctPolicWhite PctPolicBlack PctPolicHisp "
    "PctPolicAsian PctPolicMinor OfficAssgnDrugUnits NumKindsDrugsSeiz PolicAveOTWorked LandArea PopDens "
    "PctUsePubTrans PolicCars PolicOperBudg LemasPctPolicOnPatr LemasGangUnitDeploy LemasPctOfficDrugUn "
    "PolicBudgPerPop"
)


class Measured(NamedTuple):
    """A table of numbers.

    Attributes:
        x: ``(n, d)``, nan where one is missing.
        columns: what these are called.
        y: the target ``(n,)``.
        target: what it is called.
    """

    x: Rows
    columns: Sequence[str]
    y: Rows
    target: str


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
    return _at_random(name, protocol, Measured(table[:, :-1], AIRFOIL, table[:, -1], "pressure"), (1003, 300), seed)


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
    return _at_random(name, protocol, Measured(table[:, 1:], ROAD, table[:, 0], "log NO2"), (200, 200), seed)


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
    found = Measured(table[:, 5:-1], PLACES.split(), table[:, -1], "ViolentCrimesPerPop")
    return _of_domains(name, protocol, found, part, domain, [f"state {s}" for s in states], "state")


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
    found = Measured(np.delete(table, [0, 1, latency], axis=1), PLAYERS.split(), table[:, latency], "ActionLatency")
    return _of_domains(name, protocol, found, part, league, [f"league {i}" for i in range(1, 9)], "league")


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


def _at_random(name: str, protocol: str, found: Measured, sizes: tuple[int, int], seed: int) -> Splits:
    """Parts by a permutation: so many to train, so many to validate, the rest to test."""
    train, valid = sizes
    order = torch.randperm(len(found.x), generator=generator(seed)).numpy()
    part = np.full(len(found.x), 2)
    part[order[:train]], part[order[train : train + valid]] = 0, 1
    data = Dataset.of(_scaled(found.x, np.flatnonzero(part == 0), protocol), found.y, name=name)
    return parts_of(dataclasses.replace(data, source=_source(name, found, part)), part)


def _of_domains(
    name: str,
    protocol: str,
    found: Measured,
    part: NDArray[np.int64],
    domain: NDArray[np.int64],
    names: list[str],
    called: str,
) -> Splits:
    """Parts that are given, with a domain for each sample as its attribute, which is called so."""
    scaled, known = _scaled(found.x, np.flatnonzero(part == 0), protocol), tuple(names)
    data = Dataset.of(scaled, found.y, domain, name=name, n_attributes=len(known), attribute_names=known)
    source = _source(name, found, part, {called: np.array(names, dtype=object)[domain]})
    return parts_of(dataclasses.replace(data, source=source), part)


def _source(
    name: str, found: Measured, part: NDArray[np.int64], domain: Mapping[str, NDArray[np.object_]] | None = None
) -> Source:
    """The inputs by the names of their columns, before they were scaled."""
    import pandas as pd

    rows = pd.DataFrame(found.x, columns=list(found.columns)).assign(**(domain or {}), **{found.target: found.y})
    return Source(
        name=name,
        rows=rows,
        part=part,
        official=False,
        label=found.target,
        attribute=next(iter(domain or ()), None),
        features=tuple(found.columns),
    )


def parts_of(data: Dataset, part: NDArray[np.int64]) -> Splits:
    """The training, validation and test part by the number of each sample's part: 0, 1 or 2."""
    rows: list[Tensor] = [torch.from_numpy(np.flatnonzero(part == number)) for number in range(3)]
    return Splits(*(data.take(some) for some in rows))
