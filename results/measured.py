"""Tables of what was measured once: ``peers.json``, ``growth.json``, the zoo and the nets, for ``make.py``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from longcut.numbers import spread, with_spread

HERE = Path(__file__).parent
METRICS = ("worst_group", "conflicting", "average")
NAMES = {"opened": "opening the files", "audit": "an audit of all", "audit, default": "an audit of a sample"}
NAMES |= {"lff": "two epochs of `lff`"}
NAMES |= {"scores": "all metrics, intervals of 100 draws"}


def peers_table(*_: object) -> list[str]:
    """A line for each piece of each package; a package that could not be had says why."""
    lines = ["| peer | piece | ours | peer ÷ ours | both say |", "|---|---|---|---|---|"]
    for row in json.loads((HERE / "peers.json").read_text("utf-8"))["rows"]:
        if "why" in row:
            lines.append(f"| {row['peer']} | {row['why']} | | | |")
            continue
        gap = "" if row["gap"] is None else f"{row['about']}, {row['gap']:.1g} apart"
        ratio = f"{row['ratio']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
        ours = f"{row['ours_ms']:.3g} ms" if row["ours_ms"] < 1000 else f"{row['ours_ms'] / 1000:.2f} s"
        lines.append(f"| {row['peer']} | {row['what']} | {ours} | {ratio} | {gap} |")
    return lines


def growth_table(*_: object) -> list[str]:
    """A line for each curve: its points, and how fast seconds and memory rise between the last two."""
    found: dict[tuple[str, str], dict[int, Mapping[str, Any]]] = {}
    for key, run in json.loads((HERE / "growth.json").read_text("utf-8")).items():
        axis, work, size, _ = json.loads(key)
        found.setdefault((axis, work), {})[size] = run
    lines = [
        "| along | work | sizes | seconds | exponent | own memory, MB | bytes for one more |",
        "|---|---|---|---|---|---|---|",
    ]
    for (axis, work), points in found.items():
        done = {size: run for size, run in sorted(points.items()) if "why" not in run}
        seconds, own = ([run[what] for run in done.values()] for what in ("seconds", "own"))
        shown = [
            axis,
            NAMES.get(work, f"an epoch of `{work}`"),
            ", ".join(f"{size:,}" for size in done),
            ", ".join(f"{value:.2g}" if value < 10 else f"{value:.0f}" for value in seconds),
            f"{exponent(list(done), seconds):.2f}" if len(done) > 1 else "",
            ", ".join(f"{value / 1e6:.0f}" for value in own),
            f"{max(0, own[-1] - own[-2]) / (list(done)[-1] - list(done)[-2]):,.0f}" if len(done) > 1 else "",
        ]
        lines.append(f"| {' | '.join(shown)} |")
    return lines


def exponent(sizes: list[int], values: list[float]) -> float:
    """Slope of the last two points on logarithmic axes, 1 where it is linear."""
    return math.log(values[-1] / values[-2]) / math.log(sizes[-1] / sizes[-2])


def zoo_table(*_: object, data: str) -> list[str]:
    """A line for each cue of a zoo, and in words how often `selecmix` gains and where it loses."""
    zoo = json.loads((HERE / "zoo" / f"{data}.json").read_text("utf-8"))
    found = {(cell["method"], cell["cue"]): cell for cell in zoo["cells"]}
    lines = ["| cue | erm | selecmix | conflicting, or average without a cue: difference |", "|---|---|---|---|"]
    gains, below = [], {"worst_group": [], "average": []}
    for cue in zoo["cues"]:
        erm, ours = found["erm", cue], found["selecmix", cue]
        gain = ours["gain"]
        shown = [" · ".join(f"{100 * one[key]:.1f}" for key in METRICS) for one in (erm, ours)]
        told = f"{100 * gain['value']:+.1f} ({100 * gain['low']:+.1f} to {100 * gain['high']:+.1f})"
        lines.append(f"| {cue} | {shown[0]} | {shown[1]} | {told} |")
        if gain["metric"] == "conflicting":
            gains.append(gain["value"])
        for key, cues in below.items():
            if ours[key] < erm[key] - 0.01:
                cues.append(f"{cue} ({100 * (ours[key] - erm[key]):.1f})")
    much = sum(gain >= 0.05 for gain in gains)
    where = (f"in {name.replace('_', ' ')}: {', '.join(cues) or 'nowhere'}" for name, cues in below.items())
    seeds = " or ".join(str(runs) for runs in sorted({cell["runs"] for cell in zoo["cells"]}))
    told = f"{seeds} seeds. At least 5 points above in conflicting accuracy: {much} of {len(gains)} cues."
    return [*lines, "", f"{told} More than a point below {'; '.join(where)}."]


def nets_table(*_: object, augmented: bool) -> list[str]:
    """A line for each method, a column for each net and share of conflicting samples."""
    runs = json.loads((HERE / "nets.json").read_text("utf-8"))
    runs = [run for run in runs if (run["augment"] != "none") == augmented]
    nets = {net: sorted({run["ratio"] for run in runs if run["net"] == net}) for net in _of(runs, "net")}
    named = {net: f"`{net}`: " for net in nets}
    heads = [f"{named.pop(net, '')}{100 * ratio:g}%" for net, ratios in nets.items() for ratio in ratios]
    lines = [f"| method | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    found: dict[tuple[str, str, float], list[float]] = {}
    for run in runs:
        found.setdefault((run["row"], run["net"], run["ratio"]), []).append(run["average"] / 100)
    for row in _of(runs, "row"):
        cells = (found.get((row, net, ratio)) for net, ratios in nets.items() for ratio in ratios)
        lines.append(f"| {row} | {' | '.join(with_spread(*spread(cell)) if cell else '' for cell in cells)} |")
    return lines


def _of(runs: list[dict[str, Any]], key: str) -> list[str]:
    """What the runs have there, in the order of the file."""
    return list(dict.fromkeys(run[key] for run in runs))
