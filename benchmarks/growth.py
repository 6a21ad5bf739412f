"""How cost and memory grow with rows, classes, groups and features: ``python benchmarks/growth.py [--small]``.

Each point is a process of its own on synthetic data in files, whose inputs it maps into memory. A curve is a work (an
epoch of a method on a linear net, an audit, all metrics with intervals) along one axis, while the other sizes stay.
Finished points are kept, so that a killed run goes on where it was; ``results/make.py`` writes the table.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from growth_points import WORKS, apart, measured, usual
from ledger import Ledger

from longcut.files import replacing
from longcut.report import figures

ROOT = Path(__file__).parent.parent
FILE, PICTURE = ROOT / "results" / "growth.json", ROOT / "docs" / "_static" / "growth.svg"
USUAL = {"rows": 100_000, "classes": 10, "groups": 4, "features": 16}  # groups: values of the attribute
CHUNK = 100_000  # rows written at a time
CURVES: Mapping[str, Mapping[str, Sequence[int]]] = {  # axis to work to sizes
    "rows": {
        "opened": (10**4, 10**5, 10**6, 10**7),
        "erm": (10**4, 10**5, 10**6, 10**7),
        "lff": (10**4, 10**5, 10**6, 10**7),
        "selecmix": (10**4, 10**5, 10**6),
        "scores": (10**4, 10**5, 10**6),
        "audit, default": (10**4, 10**5, 10**6),
        "audit": (10**4, 10**5),
    },
    "classes": {work: (10, 100, 1000, 10**4) for work in ("erm", "lff")}
    | {"scores": (10, 100), "selecmix": (10, 100, 1000), "audit, default": (10, 100, 1000)},
    "groups": {work: (4, 40, 400, 4000) for work in ("group-dro", "scores")},
    "features": {work: (10, 100, 1000) for work in ("erm", "selecmix", "audit, default")},
}
SMALL: Mapping[str, Mapping[str, Sequence[int]]] = {"rows": {"lff": (500, 1000)}, "classes": {"scores": (2, 4)}}
COMMON = {"rows": 2000, "classes": 4, "groups": 2, "features": 4}  # of the small run
Run = dict[str, Any]


def written(folder: Path, sizes: Mapping[str, int]) -> Run:
    """Files of data: the class shows in all features, a value that goes with it in 95 of 100 rows in the last one.

    Sizes beside the one that grows may be as large: a sample of each class has one of ``groups`` values.
    """
    rows, classes, groups, features = (sizes[axis] for axis in USUAL)
    draw = np.random.default_rng(0)
    centre = draw.standard_normal((classes, features), np.float32)
    x = np.lib.format.open_memmap(folder / "x.npy", "w+", np.float32, (rows, features))
    label, attribute = np.empty(rows, np.int64), np.empty(rows, np.int64)
    with_it = np.array(usual(classes, groups))
    for start in range(0, rows, CHUNK):
        part = slice(start, min(start + CHUNK, rows))
        n = part.stop - start
        label[part] = (np.arange(start, part.stop) * 7919) % classes  # every class equally often
        odd = draw.random(n) < 0.05
        attribute[part] = np.where(odd, draw.integers(groups, size=n), with_it[label[part]])
        x[part] = centre[label[part]] + 2 * draw.standard_normal((n, features), np.float32)
        x[part, -1] += 3 * (attribute[part] / groups)
    x.flush()
    np.save(folder / "label.npy", label)
    np.save(folder / "attribute.npy", attribute)
    (folder / "sizes.json").write_text(json.dumps([classes, groups]))
    return {"rows": rows}


def point(axis: str, work: str, size: int, sizes: Mapping[str, int]) -> Run:
    """Seconds and peaks of one point; or why there are none."""
    with tempfile.TemporaryDirectory() as temporary:
        failed = apart(written, Path(temporary), {**sizes, axis: size})
        return failed if "why" in failed else apart(measured, work, Path(temporary))


def curves(ledger: Ledger, wanted: Mapping[str, Mapping[str, Sequence[int]]], sizes: Mapping[str, int]) -> Run:
    """Axis to work to size to run."""
    return {
        axis: {work: {size: ledger.run(axis, work, size, sizes) for size in grid} for work, grid in works.items()}
        for axis, works in wanted.items()
    }


def draw(found: Mapping[str, Mapping[str, Mapping[int, Run]]], path: Path) -> None:
    """A column for each axis of growth, seconds above and peak memory below, on the same scales in all columns."""
    names = list(dict.fromkeys(work for works in found.values() for work in works))
    looks, figure = figures.styles(names), figures.blank(3.1 * len(found), 5.4)
    every = [run for works in found.values() for points in works.values() for run in points.values() if "own" in run]
    with matplotlib.rc_context({"svg.hashsalt": "longcut"}):
        lines: dict[str, Any] = {}
        for column, (axis, works) in enumerate(found.items()):
            for row, (what, title, by) in enumerate((("seconds", "seconds", 1.0), ("own", "own memory, GB", 1e9))):
                wide, values = 1 / len(found), [run[what] / by for run in every]
                axes = figures.frame(figure, (wide * (column + 0.19), 0.58 - 0.42 * row, wide * 0.74, 0.34))
                axes.spines[["left"]].set_visible(True)
                for work, points in works.items():
                    drawn = {size: run[what] / by for size, run in points.items() if what in run}
                    look = looks[work]
                    lines[work] = axes.plot(
                        list(drawn), list(drawn.values()), look.marker, color=look.color, linestyle=look.dash,
                        markersize=4, linewidth=1.2,
                    )[0]  # fmt: skip
                axes.set(xscale="log", yscale="linear" if row else "log")
                axes.set_ylim(0 if row else 0.7 * min(values), 1.1 * max(values) if row else 1.5 * max(values))
                axes.minorticks_off()
                axes.set_title(title, loc="left", pad=4, **figures.letters(8.5))
                if row:
                    axes.set_xlabel(axis, **figures.letters(8.5))
        legend = figure.legend(lines.values(), lines.keys(), loc="lower center", ncols=len(lines), frameon=False)
        for text in legend.get_texts():
            text.set(**{name: value for name, value in figures.letters(8.5).items() if name != "parse_math"})
        with replacing(path) as temporary:
            figure.savefig(temporary, format="svg", metadata={"Date": None})


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="two small curves into --out: whether it runs")
    parser.add_argument("--out", type=Path, default=FILE, help="file of finished points")
    parser.add_argument("--figure", type=Path, default=PICTURE)
    parser.add_argument("--works", nargs="+", default=list(WORKS), choices=WORKS)
    given = parser.parse_args(arguments)
    if given.small and FILE in (given.out, given.figure):
        parser.error("--small wants an --out of its own")
    wanted = {axis: {w: s for w, s in works.items() if w in given.works} for axis, works in CURVES.items()}
    found = curves(Ledger(given.out, point), *((SMALL, COMMON) if given.small else (wanted, USUAL)))
    draw(found, given.figure)


if __name__ == "__main__":
    main()
