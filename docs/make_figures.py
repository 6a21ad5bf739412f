"""Make the pictures of the README and the docs from run folders: ``python docs/make_figures.py runs/demo``."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

from longcut import runs
from longcut.files import replacing
from longcut.report import figures

PICTURE = Path(__file__).parent / "_static" / "accuracy.svg"


def main(folder: str) -> None:
    values: dict[str, dict[str, list[float]]] = {"aligned": {}, "conflicting": {}}
    for run in map(runs.read, runs.find([folder])):
        for metric, methods in values.items():
            methods.setdefault(run.record.label, []).append(run.scores().values[metric])
    with matplotlib.rc_context({"svg.hashsalt": "longcut"}), replacing(PICTURE) as temporary:
        figures.accuracy(values).savefig(temporary, format="svg", metadata={"Date": None})


if __name__ == "__main__":
    main(*sys.argv[1:])
