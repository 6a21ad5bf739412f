"""How early a small net learns each cue of the zoo, against how early it learns the label.

    nice python benchmarks/cues.py results/cues.json

Every cue is planted with values that say nothing about the label, and a small net learns the value. What counts is
the number of updates until its balanced accuracy on other samples is half of the way from chance to 1, over the same
for the label of the data without a cue. What the file already holds is not done again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch

from longcut.cues import CUES, STRENGTHS, plant
from longcut.data import Dataset, Splits, generator, split
from longcut.datasets import load
from longcut.files import replacing, to_json
from longcut.nets import build
from longcut.predict import predict

NETS = {
    "digits": "conv:width=8",
    "mnist": "conv:width=8",
    "cifar10": "conv:width=8",
    "digits-table": "mlp:hidden=64",
    "adult": "mlp:hidden=64",
    "compas": "mlp:hidden=64",
    "multinli-dev:length=32": "transformer:width=32,layers=1,dropout=0",
}
SAMPLES, TESTED, CAP, BATCH, LR = 3000, 500, 1000, 64, 0.001
BEYOND = 3  # cues are followed so many times longer than the label, for 300 to 600 updates


def samples(name: str) -> Splits:
    """Some training samples in classes of their old proportions, and some to test on."""
    splits = load(name.removesuffix("-table"))
    train, test = (_some(part, n) for part, n in ((splits.train, SAMPLES), (splits.test, TESTED)))
    if name.endswith("-table"):
        train, test = (_table(part) for part in (train, test))
    return Splits(train, None, test)


def _some(data: Dataset, n: int) -> Dataset:
    return split(data, n / len(data), generator(0, n))[1] if len(data) > n else data


def _table(data: Dataset) -> Dataset:
    """The digits as 64 columns, as they come."""
    return Dataset.of(data.x[data.index][:, 0, 1::3, 1::3].flatten(1) / 255.0, data.label, name="digits-table")


def of_value(splits: Splits, cue: str, strength: str) -> Splits:
    """The same samples with a cue, whose value is what is to be learned."""
    made = plant(splits, cue, strength=cast(Any, strength), ratio=1 - 1 / splits.info.n_classes)
    return Splits(_of_attribute(made.train), None, _of_attribute(made.test))


def _of_attribute(data: Dataset) -> Dataset:
    assert data.attribute is not None
    return dataclasses.replace(data, label=data.attribute)


def updates(splits: Splits, net_name: str, cap: int) -> tuple[int | None, float]:
    """Updates until half of the way from chance to 1, None where there are not enough; the accuracy then."""
    torch.manual_seed(0)
    net, train, test = build(net_name, splits.info), splits.train, splits.test
    half, draw = 0.5 + 0.5 / splits.info.n_classes, generator(0, 1)
    optimizer = torch.optim.Adam(net.parameters(), lr=LR)
    judged, accuracy = 2, 0.0
    for update in range(1, cap + 1):
        rows = torch.randint(len(train), (BATCH,), generator=draw)
        net.train()
        loss = torch.nn.functional.cross_entropy(net(train.gather(rows)), train.label[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if update == judged:
            accuracy = balanced(net, test)
            if accuracy >= half:
                return update, accuracy
            judged = math.ceil(1.1 * update) + 1
    return None, accuracy


def balanced(net: Any, data: Dataset) -> float:
    said = predict(net, data).argmax(1)
    label, right = data.label, (said == data.label).double()
    return float(torch.stack([right[label == c].mean() for c in label.unique()]).mean())


def measure(splits: Splits, name: str, cue: str, strength: str, cap: int) -> dict[str, Any]:
    start = time.process_time()
    found, accuracy = updates(of_value(splits, cue, strength) if cue else splits, NETS[name], cap)
    amount = CUES[cue].amounts[strength] if cue else None
    row = {"data": name, "cue": cue, "strength": strength, "amount": amount, "updates": found, "cap": cap}
    return row | {"accuracy": accuracy, "seconds": time.process_time() - start}


def all_rows(name: str, known: list[dict[str, Any]], wanted: list[str]) -> Iterator[dict[str, Any]]:
    """What is to be measured on a data set; amounts that have changed are measured again."""
    done = {(row["data"], row["cue"], row["strength"], row["amount"]): row for row in known}
    splits = samples(name)
    label = done.get((name, "", "", None)) or measure(splits, name, "", "", CAP)
    yield label
    cap = min(600, max(300, BEYOND * (label["updates"] or CAP)))
    for cue in (cue for cue, row in CUES.items() if row.kind == splits.info.kind and (not wanted or cue in wanted)):
        for strength in STRENGTHS:
            key = (name, cue, strength, CUES[cue].amounts[strength])
            row = done.get(key) or measure(splits, name, cue, strength, cap)
            yield row | {"ratio": _ratio(row, label)}


def _ratio(row: dict[str, Any], label: dict[str, Any]) -> float | None:
    """None where label or value was not learned in the updates there were."""
    return None if None in (row["updates"], label["updates"]) else row["updates"] / label["updates"]


def table(rows: list[dict[str, Any]]) -> str:
    """In Markdown: updates for the value over updates for the label; with ``>`` where it was not learned."""
    sets = list(dict.fromkeys(row["data"] for row in rows))
    label = {row["data"]: row["updates"] for row in rows if not row["cue"]}
    cells = {(row["cue"], row["data"], row["strength"]): row for row in rows if row["cue"]}
    head = [f"{name} (label: {label[name] or f'> {CAP}'})" for name in sets]
    lines = ["| cue | " + " | ".join(head) + " |", "|---" * (1 + len(sets)) + "|"]
    for cue in dict.fromkeys(key[0] for key in cells):
        own = [[_cell(cells.get((cue, name, s)), label[name]) for s in STRENGTHS] for name in sets]
        lines.append(f"| `{cue}` | " + " | ".join(" / ".join(of) for of in own) + " |")
    return "\n".join(lines)


def _cell(row: dict[str, Any] | None, label: int | None) -> str:
    if row is None:
        return ""
    sign, found = ("", row["updates"]) if row["updates"] else ("> ", row["cap"])
    return f"{sign}{found / label:.2f}" if label else f"{sign}{found} updates"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", nargs="+", choices=NETS, default=[*NETS])
    parser.add_argument("--cues", nargs="+", choices=[*CUES], default=[], help="default: all")
    given = parser.parse_args()
    torch.set_num_threads(1)
    known = json.loads(given.out.read_text()) if given.out.exists() else []
    kept = {(row["data"], row["cue"], row["strength"]): row for row in known}
    for name in given.data:
        for row in all_rows(name, known, given.cues):
            kept[row["data"], row["cue"], row["strength"]] = row
            with replacing(given.out) as temporary:
                temporary.write_text(to_json(list(kept.values()), indent=1) + "\n", "utf-8")
            print(json.dumps({key: row[key] for key in ("data", "cue", "strength", "updates", "accuracy")}), flush=True)
    print(table(list(kept.values())))


if __name__ == "__main__":
    main()
