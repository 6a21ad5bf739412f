"""What a run is and what came of it, as ``run.json`` holds it."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import torch

import longcut
from longcut.data import Dataset, Info, Splits
from longcut.evaluate import Group, Scores
from longcut.files import to_json
from longcut.training import Training

__all__ = [
    "RENAMED",
    "Best",
    "Inputs",
    "Judged",
    "Plan",
    "Record",
    "environment",
    "fingerprint",
    "renamed_metrics",
    "renamed_options",
    "source_print",
]

# Options of runs of the first schema: by method, an old name and the new one, or what each of its values is now.
RENAMED: dict[str, dict[str, str | dict[str, dict[str, Any]]]] = {
    "selecmix": {"raw": "unmixed", "raw_forward": "unmixed_forward"},
    "umix": {"mix": {"input": {}, "cut": {"blend": "cut"}, "output": {"level": "output"}}},
}
# By the schema since which they are others: what options were where nobody said.
DEFAULTS: dict[int, dict[str, dict[str, Any]]] = {
    2: {"afr": {"sharpness": 10.0}},
    3: {"selecmix": {"pairs": "learned", "unmixed": 8.0}},
}

SEED = "{seed}"  # in Plan.init, and in options that name folders


@dataclass(frozen=True)
class Plan:
    """Everything that decides the numbers of a run; make one with :func:`longcut.plans.plan`.

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
        files: name of each loaded file that the plan needs, to the first 16 digits of its SHA-256 (see
            :mod:`longcut.registry`).
        unknown: settings of the loop that another longcut had and this one does not.
        init: folder of the run whose stages the main network starts from, in which ``{seed}`` stands for the seed;
            empty where it starts from random ones.
        init_weights: the first 16 digits of the SHA-256 of that run's weights.
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
    files: Mapping[str, str] = field(default_factory=dict)
    unknown: Mapping[str, Any] = field(default_factory=dict)
    init: str = ""
    init_weights: str = ""

    @property
    def source(self) -> str:
        """The folder that ``init`` means."""
        return self.init.replace(SEED, str(self.seed))

    @property
    def options_of_seed(self) -> dict[str, Any]:
        """The method's options, in which ``{seed}`` stands for the seed, as in the folder of a record."""
        return {
            name: value.replace(SEED, str(self.seed)) if isinstance(value, str) else value
            for name, value in self.options.items()
        }

    @property
    def setting(self) -> str:
        """What runs that differ in their seeds alone have in common, as text to compare."""
        seeded = ("seed", "data_seed", "init", "init_weights")
        plain = {key: value for key, value in self.to_dict().items() if key not in seeded}
        return to_json(plain | self.start, sort_keys=True)

    @property
    def start(self) -> dict[str, str]:
        """``init`` and, unless each seed has its own, ``init_weights``; empty without them."""
        own = {} if SEED in self.init else {"init_weights": self.init_weights}
        return {"init": self.init, **own} if self.init else {}

    def unstandardized(self) -> Self:
        """As a regression was computed before its targets were standardised."""
        return dataclasses.replace(self, training=dataclasses.replace(self.training, standardize=False))

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, as the run folder stores them."""
        plain = dataclasses.asdict(self)
        plain["training"] |= plain.pop("unknown")
        return {key: plain[key] for key in plain if plain[key] or key not in ("files", "init", "init_weights")}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`, also for a plan whose method, options or settings are not known any more.

        A setting that is newer than the run has its default.
        """
        known = {one.name for one in dataclasses.fields(Training)}
        training = {key: value for key, value in stored["training"].items() if key in known}
        return cls(
            data=stored["data"],
            data_seed=stored["data_seed"],
            method=stored["method"],
            label=stored["label"],
            options=dict(stored["options"]),
            net=stored["net"],
            training=Training(**training),
            seed=stored["seed"],
            select=stored["select"],
            files=dict(stored.get("files", {})),
            unknown={key: value for key, value in stored["training"].items() if key not in known},
            init=stored.get("init", ""),
            init_weights=stored.get("init_weights", ""),
        )


@dataclass(frozen=True)
class Judged:
    """The scores of a finished run on its test set and, where there is one, on its validation set."""

    test: Scores
    valid: Scores | None = None


@dataclass(frozen=True)
class Best:
    """The epoch at which the average on the test set was best, which only an oracle can pick, and that average.

    A method that is judged once, when training is over, has the last epoch and its final average.
    """

    epoch: int
    average: float


@dataclass(frozen=True)
class Record:
    """What ``run.json`` holds; a number that is not defined is ``nan`` here and ``null`` there.

    Attributes:
        schema: version of the layout.
        status: ``"running"`` or ``"done"``; what follows ``environment`` says nothing before it is done.
        plan: what was to be done.
        fingerprint: of the data, see :func:`fingerprint`.
        environment: versions that the numbers may depend on.
        epoch: the weights are of this one.
        seconds: of training.
        parameters: how many the network that is used has.
        task: of the data.
        scores: at that epoch.
        best: the best epoch on the test set.
        conflicting_share: of the training samples, where that is known.
        bias: accuracy for the attribute by ``probe`` and ``head`` of a biased model, where there is one.
        identification: how well a method found the minority, see :func:`longcut.identify.quality`, where it looked.
        remarks: what the method says of the run, see :meth:`longcut.methods.Method.remarks`; none of old runs.
        source: of the files that the data was read from, whichever parts the seed drew, see :func:`source_print`;
            empty where it was read from none, and of old runs.
    """

    schema: int
    status: str
    plan: Plan
    fingerprint: str
    environment: Mapping[str, str]
    epoch: int = 0
    seconds: float = math.nan
    parameters: int = 0
    task: str = ""
    scores: Judged = Judged(Scores({}, {}, [], 0))
    best: Best = Best(0, math.nan)
    conflicting_share: float | None = None
    bias: Mapping[str, float] | None = None
    identification: Mapping[str, float] | None = None
    remarks: tuple[str, ...] = ()
    source: str = ""

    @property
    def done(self) -> bool:
        """Whether the run is finished."""
        return self.status == "done"

    @property
    def label(self) -> str:
        """The run's name in tables."""
        return self.plan.label

    @property
    def setting(self) -> str:
        """See :attr:`Plan.setting`."""
        return self.plan.setting

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, as the run folder stores them."""
        plain = dataclasses.asdict(self) | {"plan": self.plan.to_dict()}
        begun = ("schema", "status", "plan", "fingerprint", "environment", *(["source"] if self.source else ()))
        empty = (None, (), "")
        return {key: value for key, value in plain.items() if key in begun or (self.done and value not in empty)}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`, with ``None`` for ``nan``; of an older schema, with the options of today.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: when something is missing or not what it should be.
        """
        plan = Plan.from_dict(stored["plan"])
        options = renamed_options(plan.method, plan.options) if stored["schema"] == 1 else plan.options
        for since, defaults in DEFAULTS.items():
            if stored["schema"] < since:
                options = {**defaults.get(plan.method, {}), **options}
        plan = dataclasses.replace(plan, options=options)
        if stored.get("task") == "regression" and "standardize" not in stored["plan"]["training"]:
            plan = plan.unstandardized()
        parts: dict[str, Any] = {"plan": plan}
        if stored["status"] == "done":
            test, valid = stored["scores"]["test"], stored["scores"]["valid"]
            parts["scores"] = Judged(_scores(test), None if valid is None else _scores(valid))
            parts["best"] = Best(**_defined(stored["best"]))
        parts |= {name: _defined(stored[name]) for name in ("bias", "identification") if name in stored}
        parts["remarks"] = tuple(stored.get("remarks", ()))
        return cls(**(dict(stored) | parts))


def _scores(stored: Mapping[str, Any]) -> Scores:
    intervals = renamed_metrics(stored["intervals"])
    return Scores(
        values=_defined(renamed_metrics(stored["values"])),
        intervals={name: (_number(low), _number(high)) for name, (low, high) in intervals.items()},
        groups=[
            Group(**group | _defined({k: group[k] for k in ("value", "low", "high")})) for group in stored["groups"]
        ],
        n=stored["n"],
    )


def _defined(numbers: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _number(value) for name, value in numbers.items()}


def _number(value: Any) -> Any:
    return math.nan if value is None else value


def renamed_metrics(metrics: Any) -> Any:
    """``balanced`` of a run that was made when it still meant the mean of the group means, under its name now."""
    if not isinstance(metrics, dict) or "balanced" not in metrics or "group_mean" in metrics:
        return metrics
    return {"group_mean" if name == "balanced" else name: value for name, value in metrics.items()}


def renamed_options(method: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """A method's options under the names they have now.

    >>> renamed_options("umix", {"mix": "cut", "eta": 3.0})
    {'blend': 'cut', 'eta': 3.0}
    """
    found: dict[str, Any] = {}
    for name, value in options.items():
        new = RENAMED.get(method, {}).get(name, name)
        found |= {new: value} if isinstance(new, str) else new[value]
    return found


@dataclass(frozen=True)
class Inputs:
    """What a network takes and what its outputs mean: with it, a network is built without its data.

    Attributes:
        info: of the data it was trained on.
        dtype: of the samples before :func:`longcut.data.as_input`, such as ``"uint8"``.
        encoding: how rows of files became numbers (see :class:`longcut.sources.Source`); None where there were none.

    >>> Inputs.of(Dataset.of(torch.rand(4, 2), [0, 1, 1, 0])).dtype
    'float32'
    """

    info: Info
    dtype: str
    encoding: dict[str, Any] | None = None

    @classmethod
    def of(cls, data: Dataset) -> Self:
        """Those of a network that is trained on ``data``."""
        encoding = None if data.source is None else dict(data.source.encoding) or None
        return cls(data.info, str(data.x.dtype).removeprefix("torch."), encoding)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_json`, of what the JSON says.

        Raises:
            KeyError, TypeError, AttributeError: when something is missing or not what it should be.
        """
        info: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in stored["info"].items()
        }
        return cls(Info(**info), stored["dtype"], stored["encoding"])

    def to_json(self) -> str:
        """As a run folder stores it."""
        return to_json(dataclasses.asdict(self))


# --- what numbers depend on besides the plan -------------------------------------------------------------------------


def environment(processes: int = 1) -> dict[str, str]:
    """The versions, and the number of threads and of processes if several, that a number's last bits may depend on."""
    several = {"processes": str(processes)} if processes > 1 else {}
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "longcut": longcut.__version__,
        "platform": f"{sys.platform}-{platform.machine()}",
        "threads": str(torch.get_num_threads()),
        **several,
    }


def fingerprint(splits: Splits) -> str:
    """SHA-256 over the columns and storage of all three sets; storage that sets share is read once."""
    sets = [data for data in (splits.train, splits.valid, splits.test) if data is not None]
    every = [column for data in sets for column in (data.index, data.label, data.attribute, data.memberships)]
    columns = [column for column in every if column is not None]
    storage = {data.x.data_ptr(): data.x for data in sets}
    digest = hashlib.sha256()
    for column in (*columns, *storage.values()):
        digest.update(f"{tuple(column.shape)} {column.dtype}".encode())
        for block in column.split(4096):  # memory-mapped storage may be larger than memory
            digest.update(block.contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def source_print(splits: Splits) -> str:
    """SHA-256 of what was read from somebody's files, the same for every seed; empty for data that is registered.

    With it, runs of several seeds, whose fingerprints differ by the parts that were drawn, are known to be of one data.
    """
    from pandas import util

    hashed: Any = util.hash_pandas_object

    data = splits.train
    if data.source is None or not data.source.encoding:
        return ""
    rows, found = data.source.rows, hashlib.sha256()
    for name in rows.columns:
        column = rows[name]
        plain = column if column.dtype.kind in "biuf" else column.map(repr)
        found.update(repr(name).encode())
        found.update(hashed(plain, index=False).to_numpy().tobytes())
    if not data.source.features and not data.source.text:  # else x depends on the training rows
        for block in data.x.split(4096):
            found.update(block.contiguous().view(torch.uint8).numpy().data)
    return found.hexdigest()
