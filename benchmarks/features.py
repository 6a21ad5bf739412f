"""Every method that can, with a linear net on features of a pretrained one.

``python benchmarks/features.py FILE.npz results/features.json --jobs 2`` reads arrays ``x``, ``label``, ``attribute``
and ``split``, trains each method as it comes (ten epochs, batches of 64, a learning rate of 0.001 that falls to 0 by a
cosine) with five seeds, and goes on where it was stopped. A method that needs the attribute is told all of it; others
are told none, but for ``dfr`` that of the validation set. The last epoch is judged, and, of methods whose net is ready
after each epoch, the one that is best in the worst group of the validation set, which takes the attribute there.
``--table`` prints what the file holds.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import torch
from joblib import Parallel, delayed

from longcut import Training, UserError, fit, load
from longcut.evaluate import metrics, sample_values
from longcut.files import replacing
from longcut.methods import METHODS, build
from longcut.predict import predict

HOW = Training(epochs=10, batch=64, lr=1e-3, schedule="cosine")
DFR = {"penalties": "0.3-0.1", "subsamples": 5}
TOLD = ("validation", {"dfr": [DFR]}), ("all", {"resample": [{"by": "group"}], "reweight": [{"by": "group"}]})
FREE = {
    "erm": [{}],
    "resample": [{}],
    "reweight": [{}],
    "neurontune": [{}, {"tune_on": "held"}],
    "jm1": [{}, {"level": "output"}, {"level": "output", "partners": "batch"}],
}


def rows() -> list[tuple[str, str, dict[str, Any]]]:
    """What is told of the attribute, the method and its options."""
    told = [(what, method, options) for what, some in TOLD for method, several in some.items() for options in several]
    fit_for = {name: method for name, method in METHODS.items() if "classification" in method.tasks}
    fit_for = {name: method for name, method in fit_for.items() if "table" in method.kinds and name != "dfr"}
    for name, method in fit_for.items():
        told += [("all" if "attribute" in method.needs else "nothing", name, o) for o in FREE.get(name, [{}])]
    return sorted(told, key=lambda row: ("nothing", "validation", "all").index(row[0]))


def run(file: str, method: str, options: dict[str, Any], seed: int) -> dict[str, Any]:
    """Worst-group and train-weighted accuracy on the test set."""
    torch.set_num_threads(1)
    splits = load(f"arrays:path={file},attribute=attribute,split=split")
    try:
        made = build(method, splits.info, net="linear", options=options, seed=seed)
        fitted = fit(made, splits, HOW, seed=seed)
    except UserError as error:
        return {"error": str(error)}
    outputs = predict(fitted.method, splits.test)
    found = metrics(sample_values(outputs, splits.test), splits.test, splits.train)
    result = {"last": {name: found[name] for name in ("worst_group", "train_weighted")}}
    judged = [row for row in fitted.history if "valid" in row]
    if judged:
        best = max(judged, key=lambda row: row["valid"]["worst_group"])
        result["best"] = {name: best["test"][name] for name in ("worst_group", "train_weighted")}
    return result


def table(done: dict[str, dict[str, Any]]) -> str:
    """Mean and deviation over seeds, in percent."""
    by_row: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for key, found in done.items():
        told, method, options, _ = json.loads(key)
        name = ", ".join([method, *(f"{option}={value}" for option, value in options.items())])
        by_row.setdefault((told, name), []).append(found)
    lines = [
        "| told | method | worst group | train-weighted | worst group, epoch by validation groups |",
        "|" + "---|" * 5,
    ]
    for (told, name), found in by_row.items():
        if "error" in found[0]:
            lines.append(f"| {told} | {name} | does not run: {found[0]['error']} | | |")
            continue
        lines.append(
            f"| {told} | {name} | {_cell(found, 'last', 'worst_group')} | "
            f"{_cell(found, 'last', 'train_weighted')} | {_cell(found, 'best', 'worst_group')} |"
        )
    return "\n".join(lines)


def _cell(found: list[dict[str, Any]], epoch: str, metric: str) -> str:
    values = [100 * one[epoch][metric] for one in found if epoch in one]
    if not values:
        return ""
    return f"{statistics.mean(values):.1f}" + (f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("out", type=Path, help="JSON file of results, which grows")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="print what the file holds, and stop")
    asked = parser.parse_args()
    done: dict[str, dict[str, Any]] = json.loads(asked.out.read_text("utf-8")) if asked.out.exists() else {}
    if not asked.table:
        work = [(*row, seed) for seed in range(asked.seeds) for row in rows()]
        work = [row for row in work if json.dumps(row) not in done]
        runs = Parallel(asked.jobs, return_as="generator")(
            delayed(run)(asked.file, method, options, seed) for _, method, options, seed in work
        )
        for row, found in zip(work, runs, strict=True):
            done[json.dumps(row)] = found
            with replacing(asked.out) as temporary:
                temporary.write_text(json.dumps(done, indent=1) + "\n", "utf-8")
            print(*row, found, flush=True)
    print(table(done))


if __name__ == "__main__":
    main()
