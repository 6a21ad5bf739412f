"""What a panel of the page is, and what the panels of one page share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from markupsafe import Markup

    from longcut.report.figures import Style

__all__ = ["Page", "Panel"]


@dataclass(frozen=True)
class Page:
    """What the panels of one page share.

    Attributes:
        title: of the page.
        looks: how each method looks in every figure, by the name of its contender.
        studies: on the page, among which those with pictures divide the room.
        ids: an unused prefix for the ids of a figure, each time it is asked.
    """

    title: str
    looks: Mapping[str, Style]
    studies: int
    ids: Iterator[str] = field(default_factory=lambda: (f"f{i}" for i in count()))


About = Literal["audit", "study", "studies"]


@dataclass(frozen=True)
class Panel:
    """A row of the table of panels.

    Attributes:
        about: ``study``: the panel is shown for every :class:`~longcut.report.study.Study`, all runs on one data set;
            ``audit``: for every audit, a pair of its record and its tensors (see :func:`longcut.audit.folder.read`);
            ``studies``: once, for the list of all studies.
        title: the heading above it; empty for a panel that brings its own.
        function: from what it is about, and the page, to HTML; None where it has nothing to say. Text that is no
            ``markupsafe.Markup`` is escaped.
        order: panels with smaller numbers stand higher; ours go from 0 to 1000, the settings being at 900.

    Raises:
        ValueError: when it is about something else.
    """

    about: About
    title: str
    function: Callable[[Any, Page], Markup | str | None]
    order: float = 800

    def __post_init__(self) -> None:
        if self.about not in get_args(About):
            raise ValueError(f"a panel is about {' or '.join(get_args(About))}, not about '{self.about}'")
