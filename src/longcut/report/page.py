"""The page: every panel of the table that has something to say, in order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from longcut.datasets import title_of
from longcut.report import figures
from longcut.report.audit import Audit, named
from longcut.report.base import Page
from longcut.report.panels import PANELS
from longcut.report.study import Study
from longcut.report.template import render

__all__ = ["page"]


def page(audits: Sequence[Audit], found: Sequence[Study], title: str = "") -> str:
    """The HTML about some audits and some studies."""
    contenders = [contender for study in found for contender in study.contenders]
    names = list(dict.fromkeys(contender.name for contender in contenders))
    looks = figures.styles(names, next((c.name for c in contenders if c.is_baseline), None))
    data = [*(named(audit) for audit in audits), *(title_of(study.data) for study in found)]
    here = Page(title or ", ".join(dict.fromkeys(data)), looks, len(found))
    about = [*(("audit", audit, named(audit)) for audit in audits)]
    about += [("studies", found, "")] if found else []
    about += [("study", study, title_of(study.data)) for study in found]
    parts = [
        {"kind": kind, "title": name, "id": f"p{i}", "panels": _panels(kind, subject, here, f"p{i}")}
        for i, (kind, subject, name) in enumerate(about)
    ]
    return render(title=here.title, parts=parts, contents=_contents(parts))


def _panels(about: str, subject: Any, page: Page, prefix: str) -> list[dict[str, Any]]:
    """Title, HTML, id and name in the contents of each panel that has something to say about the subject."""
    rows = sorted((panel for panel in PANELS.values() if panel.about == about), key=lambda panel: panel.order)
    shown = ((panel.title, panel.function(subject, page)) for panel in rows)
    level = "[23]" if about == "studies" else "3"
    return [
        {
            "title": title,
            "html": html,
            "id": f"{prefix}-{i}",
            "name": title or _heading(html, level),
        }
        for i, (title, html) in enumerate(shown)
        if html is not None
    ]


def _heading(html: Markup | str, level: str = "3") -> str:
    """What a panel that brings its own heading calls itself; empty for one without, such as the headline.

    >>> _heading(Markup("<h3>What <b>it</b> mixed</h3>"))
    'What it mixed'
    """
    found = re.search(rf"<h{level}[^>]*>(.*?)</h{level}>", html, re.DOTALL) if isinstance(html, Markup) else None
    return Markup(found[1]).striptags() if found else ""


def _contents(parts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The parts and those of their panels that have a name; nothing for a page that is short."""
    named = [part | {"panels": [panel for panel in part["panels"] if panel["name"]]} for part in parts]
    named = [part for part in named if part["panels"]]
    return named if sum(len(part["panels"]) for part in named) > 2 else []
