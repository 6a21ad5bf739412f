"""What to do with this data: nothing, methods without labels, look-ups, or other data.

The expected gain of look-ups is read from curves that were measured on data like it, with ``benchmarks/lookup.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["CURVES", "Advice", "advise", "expected"]

Kind = Literal["nothing", "unlabelled", "look-up", "change"]

CURVES: dict[str, tuple[str, dict[int, tuple[float, float, float]]]] = {
    "features": (
        "Waterbirds with the features of a frozen net",
        {
            25: (3.9, -10.4, 18.1),
            50: (13.3, 9.6, 17.0),
            100: (17.0, 15.9, 18.2),
            200: (19.1, 18.5, 19.7),
            400: (18.3, 17.7, 18.8),
        },
    ),
}
"""Points of worst-group accuracy that look-ups brought: of whom, and by their number the mean, and the mean less and
more two standard deviations over five seeds (``results/lookup.json``)."""
WIDE = 256  # columns, above which a table is taken for embeddings
CONFOUNDED = 50  # suspected samples that were looked up, none of which was a counter-example


@dataclass(frozen=True)
class Advice:
    """One of four, and why.

    Attributes:
        kind: ``"nothing"``, ``"unlabelled"``: methods that need no attribute, ``"look-up"``, or ``"change"`` the data.
        sentence: in words.
        n: how many look-ups, of ``"look-up"``; else 0.
        gain: points of worst-group accuracy to expect of them: mean, low, high; else None.
    """

    kind: Kind
    sentence: str
    n: int = 0
    gain: tuple[float, float, float] | None = None


def expected(curve: Mapping[int, tuple[float, float, float]], n: int) -> tuple[float, float, float]:
    """Gain of n look-ups, between those that were measured in proportion to the logarithm of their number.

    Below the smallest number its gain shrinks in proportion; above the largest nothing is added.

    >>> expected({25: (4.0, 2.0, 6.0), 100: (8.0, 4.0, 12.0)}, 50)
    (6.0, 3.0, 9.0)
    """
    sizes = sorted(curve)
    if n < sizes[0]:
        low, middle, high = (n / sizes[0] * value for value in curve[sizes[0]])
        return low, middle, high
    logs = np.log2(sizes)
    mean, low, high = (float(np.interp(np.log2(n), logs, [curve[s][i] for s in sizes])) for i in range(3))
    return mean, low, high


def advise(
    record: Mapping[str, Any] | None,
    *,
    answered: int = 0,
    counter: int = 0,
    cells: NDArray[np.int64] | None = None,
    budget: int = 100,
    wide: int = 0,
) -> Advice:
    """Which of the four.

    Args:
        record: of an audit, or None.
        answered: how many attributes are known.
        counter: how many of them are of counter-examples.
        cells: pairs of class and value that were answered ``(2, k)``.
        budget: how many look-ups are thought of.
        wide: number of features.
    """
    if answered >= CONFOUNDED and cells is not None and len(np.unique(cells[1])) == cells.shape[1]:
        return Advice(
            "change",
            f"Change the data: in {answered} look-ups each value of the attribute went with one class only, so no "
            "model can tell the two apart. Collect samples of a class with another class's value (at most "
            f"{3 / answered:.1%} of such as were looked up can be, with 95 % confidence).",
        )
    verdicts = {finding["name"]: finding["verdict"] for finding in (record or {}).get("findings", ())}
    if record is not None and record.get("verdict") == "clear" and not counter:
        return Advice("nothing", "Nothing to do: the audit found no shortcut that a model could live on.")
    if verdicts.get("learned") == "alarm" and not answered:
        return Advice(
            "unlabelled",
            "Methods without labels help here: a model kept from the easy cue loses less on the samples that "
            "contradict it. Compare them first: longcut compare DATA --methods erm,lff,selecmix.",
        )
    table = record is not None and record.get("kind") == "table" and wide < WIDE
    source, curve = CURVES["table" if table else "features"]
    before = expected(curve, answered)[0] if answered else 0.0
    mean, low, high = (bound - before for bound in expected(curve, answered + budget))
    return Advice(
        "look-up",
        f"Look up {budget} {'more' if answered else 'of these first'}: {mean:+.0f} points of worst-group accuracy are "
        f"to be expected ({low:+.0f} to {high:+.0f}), as on {source}.",
        budget,
        (mean, low, high),
    )
