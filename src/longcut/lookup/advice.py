"""What to do with this data: nothing, methods without labels, look-ups, or other data.

The expected gain of look-ups is read from curves that were measured on data like it, with ``benchmarks/lookup.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from longcut.lookup.rounds import UNUSUAL

__all__ = ["CURVES", "Advice", "Curve", "advise", "expected"]

Kind = Literal["nothing", "unlabelled", "look-up", "change"]


@dataclass(frozen=True)
class Curve:
    """What look-ups brought on some data.

    Attributes:
        source: which.
        lot: whether they were drawn by lot, which was best there; else the suspicious were asked.
        gains: points of worst-group accuracy by the number of look-ups: the mean of five seeds, and the mean less and
            more two standard deviations.
    """

    source: str
    lot: bool
    gains: Mapping[int, tuple[float, float, float]]


CURVES = {
    "features": Curve(
        "Waterbirds with the features of a frozen net",
        False,
        {
            25: (3.9, -10.3, 18.1),
            50: (13.3, 9.7, 16.9),
            100: (17.0, 15.8, 18.1),
            200: (19.1, 18.5, 19.7),
            400: (18.3, 17.8, 18.8),
        },
    ),
    "image": Curve(
        "Colored MNIST without such features",
        False,
        {
            25: (9.6, 4.2, 15.0),
            50: (21.2, 13.0, 29.3),
            100: (22.7, 15.1, 30.3),
            200: (23.0, 15.7, 30.2),
            400: (23.1, 16.0, 30.2),
        },
    ),
    "table": Curve(
        "Adult",
        True,
        {
            25: (1.6, -5.0, 8.3),
            50: (1.9, -4.1, 8.0),
            100: (2.9, -1.6, 7.4),
            200: (5.2, 0.0, 10.4),
            400: (5.0, -1.9, 11.9),
        },
    ),
}
"""By what the data is: measured with ``benchmarks/lookup.py``, in ``results/lookup.json``."""
WIDE = 256  # columns, above which a table is taken for embeddings
CONFOUNDED = 50  # known attributes, none of which is of a counter-example


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
    unusual: float = float("nan"),
    enough: bool = False,
    budget: int = 100,
    kind: str = "table",
    wide: int = WIDE,
    compare: str = "longcut compare DATA",
) -> Advice:
    """Which of the four.

    Args:
        record: of an audit, or None.
        answered: how many attributes are known.
        counter: how many of them are of counter-examples.
        cells: pairs of class and value that are known ``(2, k)``.
        unusual: share of samples that have not the usual value of their class, where answers by lot tell.
        enough: whether the later half of the answers brought hardly anything.
        budget: how many look-ups are thought of.
        kind: of the data: ``"image"``, ``"table"`` or ``"tokens"``.
        wide: number of its columns.
        compare: the command that compares methods on this data.
    """
    if answered >= CONFOUNDED and cells is not None and len(np.unique(cells[1])) == cells.shape[1]:
        return Advice(
            "change",
            f"Change the data: in {answered:,} samples each value of the attribute goes with one class only, so no "
            "model can tell the two apart. Collect samples of a class with another class's value (at most "
            f"{3 / answered:.1%} of such as were looked at can be, with 95 % confidence).",
        )
    if enough:
        return Advice(
            "nothing", "Stop here: as many answers again would hardly bring a point, so train on those that there are."
        )
    verdicts = {finding["name"]: finding["verdict"] for finding in (record or {}).get("findings", ())}
    if record is not None and record.get("verdict") == "clear" and not counter:
        return Advice("nothing", "Nothing to do: the audit found no shortcut that a model could live on.")
    if verdicts.get("learned") == "alarm" and not answered:
        return Advice(
            "unlabelled",
            "Methods without labels help here: a model kept from the easy cue loses less on the samples that "
            f"contradict it. Compare them first: {compare} --methods erm,lff,selecmix",
        )
    by_lot = unusual > UNUSUAL
    like = "image" if kind != "table" else "features" if wide >= WIDE else "table"  # no curve is of texts
    curve = CURVES["table" if by_lot else like]
    before = expected(curve.gains, answered)[0] if answered else 0.0
    mean, low, high = (bound - before for bound in expected(curve.gains, answered + budget))
    which = "more" if answered else "of these first"
    drawn = ""
    if by_lot:
        drawn = f" The answers by lot say that {unusual:.0%} are not as usual: ask by lot, with --rule random."
    sure = record is None or bool(counter) or record.get("verdict") == "alarm"
    begin = "Look" if sure else "Where the suspected samples do contradict a shortcut, look"
    return Advice(
        "look-up",
        f"{begin} up {budget} {which}: {mean:+.0f} points of worst-group accuracy are to be expected ({low:+.0f} to "
        f"{high:+.0f}), as on {curve.source}.{drawn}",
        budget,
        (mean, low, high),
    )
