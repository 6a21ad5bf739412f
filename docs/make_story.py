"""Run the commands of ``docs/birds.md``, and make its pictures: ``python docs/make_story.py NEW-FOLDER``."""

from __future__ import annotations

import csv
import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from draw_birds import BIRDS, draw_folder, draw_new
from matplotlib.figure import Figure
from matplotlib.image import imread

from longcut import runs
from longcut.audit import folder
from longcut.report import figures

PAGE = Path(__file__).parent / "birds.md"
WIDTH = 86  # characters, of a block on the page
INK, RIGHT, WRONG = "black", ("✓", "#00704f"), ("✗", "#b3261e")


def main(out: Path) -> None:
    out.mkdir(parents=True)
    draw_folder(out / "birds")
    truth = draw_new(out / "new-photos")
    for number, words in enumerate(commands(PAGE.read_text("utf-8")), 1):
        run(words, out, out / f"{number:02}.txt")
    photos(out)
    suspects(out)
    accuracy(out)
    predictions(out, truth)


# --- commands ---------------------------------------------------------------------------------------------------------


def commands(page: str) -> list[list[str]]:
    """The words after ``longcut`` of each such line in the shell blocks of a page."""
    blocks = re.findall(r"(?ms)^```bash\n(.*?)^```$", page)
    lines = (shlex.split(line, comments=True) for block in blocks for line in block.splitlines())
    return [line[1:] for line in lines if line[:1] == ["longcut"]]


def run(words: list[str], where: Path, output: Path) -> None:
    """Run ``longcut`` and keep what it prints; what it caches goes with the folder."""
    cache = str(where.resolve() / "cache")
    environment = {**os.environ, "COLUMNS": str(WIDTH), "LONGCUT_CACHE": cache, "PYTHONUTF8": "1"}
    command = [sys.executable, "-m", "longcut", *words]
    done = subprocess.run(command, cwd=where, env=environment, stdout=subprocess.PIPE, encoding="utf-8", check=True)
    output.write_text("".join(f"{folded(line)}\n" for line in done.stdout.splitlines()), "utf-8")


def folded(line: str) -> str:
    """A long line as a terminal of this width shows it, but broken between words."""
    indent = " " * (len(line) - len(line.lstrip()))
    if len(line) <= WIDTH:
        return line
    return textwrap.fill(line, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


# --- pictures ---------------------------------------------------------------------------------------------------------


def photos(out: Path) -> None:
    """The first photos of each class, as they lie in the folder."""
    shown = [path for bird in BIRDS for path in sorted((out / "birds" / "train" / bird).glob("*.jpg"))[:9]]
    sheet([(imread(path), [(path.parent.name, INK)]) for path in shown], 9, out / "photos.png")


def suspects(out: Path) -> None:
    """The most suspected samples, with the label they have."""
    record, tensors = folder.read(out / "audit")
    pictures = tensors["picture"].permute(0, 2, 3, 1)
    shown = record["gallery"]["suspects"][:18]
    sheet([(pictures[one["picture"]], [(one["label"], INK)]) for one in shown], 9, out / "suspects.png")


def accuracy(out: Path) -> None:
    """Each method on photos that agree with the shortcut, and on those that contradict it."""
    values: dict[str, dict[str, list[float]]] = {"aligned": {}, "conflicting": {}}
    for one in map(runs.read, runs.find([out / "runs"])):
        for metric, methods in values.items():
            methods.setdefault(one.record.label, []).append(one.scores().values[metric])
    with matplotlib.rc_context({"svg.hashsalt": "longcut"}):
        figures.accuracy(values).savefig(out / "accuracy.svg", format="svg", metadata={"Date": None})


def predictions(out: Path, truth: dict[str, str]) -> None:
    """The new photos, and what two networks call them, right or wrong."""
    said = {method: _column(out / f"{method}.csv") for method in ("erm", "selecmix")}
    cells = []
    for name, bird in truth.items():
        marks = {method: RIGHT if what[name] == bird else WRONG for method, what in said.items()}
        text = [(f"{method}: {said[method][name]} {mark}", color) for method, (mark, color) in marks.items()]
        cells.append((imread(out / "new-photos" / name), text))
    sheet(cells, 6, out / "predictions.png")


def sheet(cells: Sequence[tuple[Any, list[tuple[str, str]]]], columns: int, path: Path) -> None:
    """Pictures in rows, each with lines of text in a colour below it."""
    rows, lines = -(-len(cells) // columns), max(len(text) for _, text in cells)
    figure = Figure(figsize=(9, rows * (9 / columns + 0.14 * lines)), dpi=120, facecolor="white", layout="constrained")
    figure.subplots(rows, columns, subplot_kw={"anchor": "S"})
    for axes in figure.axes:
        axes.set_axis_off()
    for axes, (picture, text) in zip(figure.axes, cells, strict=False):  # the last row may be short
        axes.imshow(picture, interpolation="bicubic")
        for line, (words, color) in enumerate(text):
            below = {"xy": (0.5, 0), "xytext": (0, -2 - 10 * line), "textcoords": "offset points"}
            axes.annotate(words, **below, xycoords="axes fraction", ha="center", va="top", fontsize=7.5, color=color)
    figure.savefig(path)


def _column(path: Path) -> dict[str, str]:
    with path.open(encoding="utf-8", newline="") as file:
        return {row["name"]: row["prediction"] for row in csv.DictReader(file)}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
