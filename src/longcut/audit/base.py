"""What a check is, what it is given and what it returns."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from longcut.data import Dataset
from longcut.processes import one_thread

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from longcut.audit.judged import Judged
    from longcut.sources import Source

__all__ = ["Check", "Finding", "Verdict", "View"]

Verdict = Literal["clear", "notice", "alarm", "unknown"]


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        name: of the check.
        question: what it answers, as a reader would ask it.
        statistic: the number it looked at.
        measure: what the number is, in a few words.
        baseline: what the number would be without a shortcut.
        interval: 95 % interval of the statistic; ``nan`` where there is none.
        p_value: of the statistic when there is no shortcut, corrected for everything the check looked at; ``nan``
            where the check is a description and no test.
        verdict: ``clear`` (nothing), ``notice`` (there is something, too weak to live on), ``alarm`` (a model could
            live on it), ``unknown`` (cannot be told; the sentence says why).
        sentence: the answer in plain words, with its numbers.
        table: the evidence, a mapping per row with the same keys; plain numbers and text.
        more: further results by name, for those who come after: arrays and plain containers.
    """

    name: str
    question: str
    statistic: float
    measure: str
    baseline: float
    interval: tuple[float, float]
    p_value: float
    verdict: Verdict
    sentence: str
    table: tuple[dict[str, Any], ...] = ()
    more: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if math.isnan(self.baseline) and self.verdict != "unknown":
            raise ValueError(f"check {self.name} gave no baseline")


@dataclass(frozen=True)
class View:
    """The audited samples, as every check sees them.

    Attributes:
        data: the samples that are audited; ``data.index`` leads to the rows of ``source``.
        source: where they come from, or None for a data set that is generated.
        level: how often a check may raise a false alarm, in (0, 1).
        seed: of everything that is drawn.
        original: of a target of numbers, the same samples with their numbers; ``data`` then has their parts as classes
            (see :func:`longcut.audit.numbers.in_parts`). None where there are classes to begin with.
    """

    data: Dataset
    source: Source | None
    level: float = 0.05
    seed: int = 0
    original: Dataset | None = None

    @cached_property
    def label(self) -> NDArray[np.int64]:
        """Class ids ``(n,)``."""
        return self.data.label.numpy()

    @cached_property
    def attribute(self) -> NDArray[np.int64] | None:
        """Attribute ids ``(n,)``, -1 where it is not known; None where it is known of nobody."""
        known = self.data.attribute is not None and bool(self.data.known.any())
        return self.data.attribute.numpy() if known and self.data.attribute is not None else None

    @cached_property
    def target(self) -> NDArray[np.float64]:
        """The numbers ``(n,)`` of a target of numbers."""
        assert self.original is not None
        return self.original.label[:, 0].double().numpy()

    @property
    def called(self) -> str:
        """What the label is called."""
        return f"'{self.source.label}'" if self.source and self.source.label else "the target"

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.data.info.class_names

    def threads(self) -> AbstractContextManager[None]:
        """For the time of a ``with``, torch computes with one thread: its nets are small, except those of images."""
        return nullcontext() if len(self.data.info.shape) == 3 else one_thread()

    def name_of(self, row: int) -> str:
        """What sample ``row`` is called: the path of an image, else the number of its row in storage."""
        where, source = int(self.data.index[row]), self.source
        if source is None or source.image is None:
            return f"row {where}"
        # file names may be bytes that are no text
        return str(source.rows[source.image].iloc[where]).encode("utf-8", "backslashreplace").decode()

    def random(self, purpose: int) -> np.random.Generator:
        """A generator of this audit's seed, with a stream of its own for each purpose; ours are below 100."""
        return np.random.default_rng([self.seed, purpose])


@dataclass(frozen=True)
class Check:
    """A row of the table of checks.

    Attributes:
        function: the check. It is given the audited samples, what models that did not see a sample say about it, and
            what the checks that look for a shortcut found, by name; those themselves are given nothing of each other.
            It returns None when there is nothing to look at.
        share: of a check that looks for a shortcut, the share of the level that it may use, above 0 and at most 1; None
            for one that only describes. Those that look for a shortcut run first. Where the shares of all checks sum to
            more than 1, each is divided by their sum, so that the whole audit keeps its level.
        cue: what the headline says gives the label away, filled in from the first row of the finding's table, such as
            ``"the column '{column}'"``.
        early: whether it asks no model where labels are classes; then it runs before they are trained, and is given
            None of them.
        clause: what the headline says in place of that, in a clause of its own, from what the models say.

    Raises:
        ValueError: for a share out of range.
    """

    function: Callable[[View, Judged, Mapping[str, Finding]], Finding | None]
    share: float | None = None
    cue: str = ""
    clause: Callable[[Judged], str] | None = None
    early: bool = False

    def __post_init__(self) -> None:
        if self.share is not None and not 0 < self.share <= 1:
            raise ValueError(f"share={self.share} of the level; give one above 0 and at most 1, or None")
