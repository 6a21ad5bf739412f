"""Mistakes that names alone tell, refused before anything slow is imported; in doubt, whoever imports it decides.

The sentences are those of the library, which checks all of this again, and values too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from longcut import folders, outline
from longcut.errors import unknown
from longcut.registry import extended
from longcut.spec import pairs, parse_method, read, split

__all__ = ["audits", "encoder", "given", "metric", "names", "net", "run", "selection"]


def _known(what: str, name: str, known: Collection[str] | None) -> bool:
    """Whether a name is one of ours; refuses it where nobody else can have added it."""
    if known is None or name in known:
        return known is not None
    if not extended():
        raise unknown(what, name, known)
    return False


def names(specs: str, settings: Iterable[str] | None = None, recipe: str | None = None) -> None:
    """Refuse unknown methods, recipes, options and nets in specs joined by commas, and in ``--set`` for them all."""
    from longcut.training import Training

    ours, loop = outline.methods(), {field.name for field in fields(Training)}
    said = pairs(settings or (), "of --set ", "--set lr=0.01")
    for spec in split(specs):
        name, own, given = parse_method(spec)
        if not _known("method", name, ours):
            continue
        options = outline.options(*ours[name])
        allowed = None if options is None else {*options, *loop, "net", "init"}
        for key in {**said, **given}:
            _known(f"setting of {name}", key, allowed)
        if (recipe or own) is not None:
            _known(f"recipe of {name}", str(recipe or own), outline.recipes(*ours[name]))
        net(given.get("net", said.get("net")))


def net(spec: str | None) -> None:
    """Refuse an unknown net, or option of one."""
    _of_table("net", spec, "nets", "NETS")


def encoder(spec: str | None) -> None:
    """Refuse an unknown encoder, or option of one; ``none`` is no features."""
    _of_table("encoder", None if spec == "none" else spec, "encoders", "ENCODERS")


def _of_table(what: str, spec: str | None, module: str, table: str) -> None:
    if spec is None:
        return
    name, given = read(spec, what)
    if _known(what, name, outline.keys(module, table)):
        place = outline.entry(module, table, name)
        options = None if place is None else outline.options(*place)
        for key in given:
            _known(f"option of {what} '{name}'", key, options)


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
    """Refuse what names alone tell of the parameters of a command that has data."""
    if "methods" in params or "method" in params:
        names(params.get("methods") or params["method"], params.get("set_"), params.get("recipe"))
    if params.get("helper"):
        names(params["helper"])
    net(params.get("net"))
    encoder(params.get("features"))
    encoder(params.get("with_"))
    if "select" in params:
        selection(params["select"])
    run(params.get("model"))
    audits(params.get("baseline"))
