"""The page: every panel of the table that has something to say, in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
    return render(
        title=here.title,
        audits=[_panels("audit", audit, here) for audit in audits],
        between=_panels("studies", found, here) if found else [],
        studies=[_panels("study", study, here) for study in found],
    )


def _panels(about: str, subject: Any, page: Page) -> list[dict[str, Any]]:
    """Title and HTML of each panel that has something to say about the subject."""
    rows = sorted((panel for panel in PANELS.values() if panel.about == about), key=lambda panel: panel.order)
    shown = [{"title": panel.title, "html": panel.function(subject, page)} for panel in rows]
    return [panel for panel in shown if panel["html"] is not None]
