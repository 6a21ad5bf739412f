"""The templates: ``page.html.j2`` is the page, the others hold a macro for each panel."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from typing import Any

import jinja2
from markupsafe import Markup

import longcut
from longcut.evaluate import METRICS
from longcut.report.figures import metric_title

__all__ = ["fragment", "render", "whole"]


@cache
def _environment() -> jinja2.Environment:
    """The templates, with the only script that may run on a page and the hash by which the browser knows that."""
    loader = jinja2.PackageLoader("longcut", "report")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    script = loader.get_source(environment, "script.js")[0]
    environment.globals.update(
        metric_title=metric_title,
        definitions=METRICS,
        version=longcut.__version__,
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
    )
    return environment


def fragment(file: str, macro: str, *values: Any) -> Markup:
    """A part of a page: what a macro of ``file.html.j2`` makes of these values."""
    return getattr(_environment().get_template(f"{file}.html.j2").module, macro)(*values)


def render(**values: Any) -> str:
    """The page."""
    return _environment().get_template("page.html.j2").render(**values)


def whole(file: str, script: str, **values: Any) -> str:
    """Another page: the template ``file``, the only script that may run on it, and the script's hash."""
    environment = _environment()
    assert environment.loader is not None
    source = environment.loader.get_source(environment, script)[0]
    digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode("ascii")
    return environment.get_template(file).render(**values, script=Markup(source), hash=digest)
