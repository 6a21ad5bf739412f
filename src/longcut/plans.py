"""Plans: what is to be run, checked, and the names of the folders it goes to.

A method is written ``name``, ``name@recipe`` or ``name:key=value,key=value``, as data sets and nets are; the keys are
options of the method, settings of the training loop, ``net``, or ``init``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from longcut import augment, backbone
from longcut.datasets import DATASETS, parse, spec_of
from longcut.errors import unknown
from longcut.methods import METHODS
from longcut.nets import blank
from longcut.record import SEED, Plan
from longcut.registry import files_adding
from longcut.regression_losses import regression_loss
from longcut.selection import parse_selection
from longcut.spec import options_of, parse_method, validate
from longcut.training import Training

__all__ = ["folder_name", "plan"]


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
        method: such as ``"selecmix"``, ``"selecmix@paper"`` or ``"selecmix:mode=A,epochs=5"``.
        settings: options of the method, settings of the training loop, ``net``, or ``init``, by name; text is
            converted. ``init`` is the folder of a finished run from whose stages the main network starts, with a head
            of its own; ``{seed}`` in it stands for ``seed``. The net is then the run's, unless it is said.
        seed: of the run.
        data_seed: of the data; by default that of the run, so that runs with several seeds also differ in what was
            drawn when the data was made (split, colours), and their spread speaks of both.
        select: which epoch counts: ``"last"``, ``"best:METRIC"``, ``"oracle"`` or ``"oracle:METRIC"``.
        label: name in tables; by default ``method`` as given.

    Raises:
        UserError: for any name that is unknown, or value that is not allowed, or an ``init`` that is no finished run
            with that net.

    >>> plan("colored-digits", "erm", settings={"epochs": "3"}).training.epochs
    3
    """
    data_name, data_options = parse(data)
    name, recipe, own = parse_method(method)
    cls = METHODS.find(name)
    options, known = {option.name for option in options_of(cls.__init__)}, _training_fields()
    given = {**(settings or {}), **own}
    allowed = {*options, *known, "net", "init"}
    for key in given:
        if key not in allowed:
            raise unknown(f"setting of {name}", key, allowed)
    init = str(given.pop("init", ""))
    published = _recipe(name, recipe)
    entry = DATASETS[_looked_at(data_name, data_options)]
    suited = {} if recipe else dict(entry.options.get(name, {}))
    loop = {"net": "mlp", **entry.training, **cls.training_defaults, **published.pop("training")}
    said = published.pop("net") | {key: value for key, value in given.items() if key not in options}
    loop |= said
    chosen = suited | published.pop("options") | {key: value for key, value in given.items() if key in options}
    checked = validate(f"method '{name}'", cls.__init__, chosen)
    net, weights = loop.pop("net"), ""
    if init:
        run = backbone.source(init.replace(SEED, str(seed)), said.get("net"))
        net, weights = said.get("net", blank(run.record.plan.net)), backbone.digest(run)
    training = Training(**validate("training", Training, loop))
    training = dataclasses.replace(training, augment=augment.written(training.augment))
    regression_loss(training.loss)
    spelled = (part.strip() for value in checked.values() for part in str(value).split("+"))  # views are several
    parts = (net, training.loss, *spelled, *augment.names(training.augment), *_within(data_name, data_options))
    named = [name, data_name, parse_selection(select)[1], *parts]
    files = files_adding(spec.partition(":")[0] for spec in named)
    return Plan(
        data=spec_of(data_name, data_options),
        data_seed=seed if data_seed is None else data_seed,
        method=name,
        label=label or method.strip(),
        options={
            o.name: checked[o.name] for o in options_of(cls.__init__) if checked.get(o.name, o.default) != o.default
        },
        net=net,
        training=training,
        seed=seed,
        select=select,
        files={Path(path).name: digest[:16] for path, digest in files.items()},
        init=init,
        init_weights=weights,
    )


def _within(data: str, options: Mapping[str, Any]) -> list[str]:
    """The specs within the spec of a data set that wraps another."""
    own = [options.get("encoder", ""), *options.get("cue", "").split("+")]
    inner = options.get("data")
    return own if inner is None else [*own, inner, *_within(*parse(inner))]


def _looked_at(name: str, options: Mapping[str, Any]) -> str:
    """The data set whose recommendations hold: of known and guessed attributes and of fewer samples, the one behind."""
    behind = name in ("answered", "spread", "thinned") and options.get("data")
    return _looked_at(*parse(behind)) if behind else name


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


def folder_name(plan: Plan) -> str:
    """Label and seed; a label that says more than method and recipe is replaced by the method and a short hash.

    >>> folder_name(plan("colored-digits", "lff@paper", seed=1))
    'lff@paper-s1'
    """
    plain = re.fullmatch(r"[\w@.-]+", plan.label)
    tag = "" if plain else "-" + hashlib.sha256(plan.label.encode()).hexdigest()[:6]
    return f"{plan.label if plain else plan.method}{tag}-s{plan.seed}"
