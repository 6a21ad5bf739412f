"""What the papers' files here declare, by the names of tables and figures."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from longcut.errors import unknown

__all__ = ["EVERY", "contents", "declared", "recipes"]

EVERY = "all"  # in place of a recipe


@cache
def contents() -> Mapping[str, Mapping[str, Any]]:
    """What is declared of each paper, by its name."""
    folder = files("longcut") / "recipes"
    return {f.name[:-5]: tomllib.loads(f.read_text("utf-8")) for f in folder.iterdir() if f.name.endswith(".toml")}


def declared(recipe: str) -> tuple[Mapping[str, Any], Mapping[str, Any], str]:
    """The paper's file, what it says of this table alone, and the table's name."""
    if recipe not in recipes():
        raise unknown("recipe", recipe, recipes())
    paper, name = recipe.split("/")
    content = contents()[paper]
    about = content.get("recipe", {}).get(name, {})
    return declared(about["same"]) if "same" in about else (content, about, name)


def recipes() -> dict[str, str]:
    """Every recipe, such as ``"selecmix/table1"``, with its source.

    >>> "selecmix/table1" in recipes()
    True
    """
    return {
        f"{paper}/{name}": content["source"]
        for paper, content in sorted(contents().items())
        for name in sorted({name for row in content["row"] for name in row["tables"]} | {*content.get("recipe", ())})
    }
