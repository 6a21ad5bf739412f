"""Mistakes that what was typed tells by itself, refused before anything slow is imported.

The sentences are those of the library, which checks all of this again; in doubt, it decides.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from longcut import folders, outline
from longcut.cli.settings import require_cluster, require_kind, settings_of, with_recipe
from longcut.errors import unknown
from longcut.registry import extended
from longcut.spec import Option, chain, check, options_of, parse_method, read, split

__all__ = [
    "audits",
    "cues",
    "encoder",
    "given",
    "metric",
    "names",
    "net",
    "one_of",
    "run",
    "selection",
    "trackers",
]

OFF = ("init", "net")  # settings beside those of the method and of the loop


def _known(what: str, name: str, known: Collection[str] | None) -> bool:
    """Whether a name is one of ours; refuses it where nobody else can have added it."""
    if known is None or name in known:
        return known is not None
    if not extended():
        raise unknown(what, name, known)
    return False


def _allowed(owner: str, options: Iterable[Option] | None, given: Mapping[str, str]) -> None:
    """Refuse an option that is unknown, or a value of one; where others may add to what is allowed, nothing."""
    if options is not None and not extended():
        check(owner, options, given)


def names(specs: str, settings: Mapping[str, Any] | None = None) -> None:
    """Refuse unknown methods and recipes, and wrong options and nets, in specs joined by commas and settings."""
    from longcut.training import Training

    ours, loop = outline.methods(), {option.name: option for option in options_of(Training)}
    for spec in split(specs):
        name, recipe, given = parse_method(spec)
        if not _known("method", name, ours):
            continue
        options = outline.options(*ours[name])
        allowed = None if options is None else {*options, *loop, *OFF}
        chosen = {**(settings or {}), **given}
        for key in chosen:
            _known(f"setting of {name}", key, allowed)
        if recipe is not None:
            _known(f"recipe of {name}", recipe, outline.recipes(*ours[name]))
        one = {key: value for key, value in chosen.items() if "|" not in str(value)}  # several to choose from
        its = {key: value for key, value in one.items() if key in (options or ())}
        _allowed(f"method '{name}'", (options or {}).values(), its)
        _allowed("training", loop.values(), {key: one[key] for key in one if key in loop and key not in its})
        net(one.get("net"))
        _of_table("loss", one.get("loss"), "regression_losses", "LOSSES")
        for change in chain(one["augment"]) if "augment" in one and "augment" not in its else ():
            _of_table("augmentation", change, "augment", "AUGMENTS")


def net(spec: str | None) -> None:
    """Refuse an unknown net, or a wrong option of one."""
    _of_table("net", spec, "nets", "NETS")


def encoder(spec: str | None) -> None:
    """Refuse an unknown encoder, or a wrong option of one; ``none`` is no features."""
    _of_table("encoder", None if spec == "none" else spec, "encoders", "ENCODERS")


def trackers(specs: str | None) -> None:
    """Refuse an unknown tracker, or a wrong option of one."""
    for spec in split(specs) if specs else ():
        _of_table("tracker", spec, "trackers", "TRACKERS")


def cues(specs: str | None) -> None:
    """Refuse an unknown cue."""
    for spec in split(specs) if specs else ():
        for one in spec.split("+"):
            if (name := read(one.strip(), "cue")[0]) != "none":
                _known("cue", name, outline.keys("cues.table", "CUES"))


def one_of(what: str, given: str, module: str, table: str) -> None:
    """Refuse what is not in a table, or tuple, that a module writes out."""
    _known(what, given, outline.keys(module, table))


def _of_table(what: str, spec: str | None, module: str, table: str) -> None:
    if spec is None:
        return
    name, given = read(spec, what)
    if _known(what, name, outline.keys(module, table)):
        place = outline.entry(module, table, name)
        options = None if place is None else outline.options(*place)
        _allowed(f"{what} '{name}'", None if options is None else options.values(), given)


def metric(name: str | None) -> None:
    """Refuse an unknown metric."""
    if name is not None:
        _known("metric", name, outline.keys("evaluate.table", "METRICS"))


def selection(rule: str) -> None:
    """Refuse an unknown rule of selection, or metric of one."""
    from longcut.selection import parse_selection

    best, _, name = rule.partition(":")
    if best in ("best", "oracle") and name:
        return metric(name)
    parse_selection(rule)


def run(folder: Path | None) -> None:
    """Refuse a folder without a run."""
    if folder is not None:
        folders.require_run(folder)


def audits(folder: Path | None, require: Callable[[Path], None] = folders.require_audit) -> None:
    """Refuse a folder without an audit, unless one was written there that has yet to take its place."""
    if folder is not None and not (folder / folders.STAGED).exists():
        require(folder)


def given(params: Mapping[str, Any]) -> None:
    """Refuse what the parameters of a command that has data tell by themselves."""
    if "methods" in params or "method" in params:
        methods = params.get("methods") or with_recipe(params["method"], params.get("recipe"))
        names(methods, settings_of(params.get("set_"), params["net"], params["epochs"]))
    if params.get("helper"):
        names(params["helper"])
    net(params.get("net"))
    encoder(params.get("features"))
    encoder(params.get("with_"))
    cues(params.get("cues"))
    for strength in split(params["strengths"]) if "strengths" in params else ():
        one_of("strength", strength, "cues.base", "STRENGTHS")
    if "select" in params:
        selection(params["select"])
    trackers(params.get("track"))
    require_kind(params.get("device", "auto"))
    require_cluster(params.get("backend", ""), params.get("scheduler", ""))
    run(params.get("model"))
    audits(params.get("baseline"))
