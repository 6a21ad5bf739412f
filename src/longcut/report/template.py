"""The templates: ``page.html.j2`` is the page, the others hold a macro for each panel."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from typing import Any

import jinja2
from markupsafe import Markup

import longcut
from longcut.evaluate import METRICS
from longcut.report.figures import metric_title

__all__ = ["fragment", "plain", "render", "whole"]

SCRIPTS = ("csv.js", "script.js", "map.js", "explore.js")


@cache
def _environment() -> jinja2.Environment:
    """The templates, with the only script that may run on a page and the hash by which the browser knows that."""
    loader = jinja2.PackageLoader("longcut", "report")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    script = _script(loader, environment, *SCRIPTS)
    environment.globals.update(
        metric_title=metric_title,
        definitions=METRICS,
        version=longcut.__version__,
        script=script,
        script_hash=_hash(script),
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
    code = _script(environment.loader, environment, "csv.js", script)
    return environment.get_template(file).render(**values, script=code, hash=_hash(code))


def plain(data: Any) -> str:
    r"""JSON in which no tag can end the script that holds it, and no comment begin.

    >>> plain(["</script>"])
    '["\\u003c/script\\u003e"]'
    """
    return json.dumps(data).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _script(loader: jinja2.BaseLoader, environment: jinja2.Environment, *files: str) -> Markup:
    return Markup("\n".join(loader.get_source(environment, file)[0] for file in files))


def _hash(script: str) -> str:
    """By which the browser knows the one script that may run."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
