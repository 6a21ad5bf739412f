"""What a check is given and what it returns."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from longcut.data import Dataset

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from longcut.sources import Source

__all__ = ["Finding", "Verdict", "View"]

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
    """

    data: Dataset
    source: Source | None
    level: float = 0.05
    seed: int = 0

    @cached_property
    def label(self) -> NDArray[np.int64]:
        """Class ids ``(n,)``."""
        return self.data.label.numpy()

    @cached_property
    def attribute(self) -> NDArray[np.int64] | None:
        """Attribute ids ``(n,)``, or None."""
        return None if self.data.attribute is None else self.data.attribute.numpy()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.data.info.class_names

    def random(self, purpose: int) -> np.random.Generator:
        """A generator of this audit's seed, a different stream for each purpose."""
        return np.random.default_rng([self.seed, purpose])
