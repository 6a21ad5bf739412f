"""Every method that can on a pretrained net: a linear one on its features, or with part of it trained.

``python benchmarks/features.py FILE.npz results/features.json --jobs 2`` reads arrays ``x``, ``label``, ``attribute``
and ``split``, trains each method as it comes (ten epochs, batches of 64, a learning rate of 0.001 that falls to 0 by a
cosine) with five seeds, and goes on where it was stopped. A method that needs the attribute is told all of it; others
are told none, but for ``dfr`` that of the validation set. The last epoch is judged, and, of methods whose net is ready
after each epoch, the one that is best in the worst group of the validation set, which takes the attribute there.
``--table`` prints what the file holds.

``python benchmarks/features.py waterbirds:size=72 results/tuned.json --net efficientnet-lite0:tune=last,side=96
--epochs 3`` does the same with photographs and a net that is tuned on them. A file is of one net and number of epochs.
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

NET, EPOCHS = "linear", 10
DFR = {"penalties": "0.3-0.1", "subsamples": 5}
TOLD = ("validation", {"dfr": [DFR]}), ("all", {"resample": [{"by": "group"}], "reweight": [{"by": "group"}]})
FREE = {
    "erm": [{}],
    "resample": [{}],
    "reweight": [{}],
    "neurontune": [{}, {"tune_on": "held"}],
    "jm1": [{}, {"level": "output"}, {"level": "output", "partners": "batch"}],
}


def rows(kind: str) -> list[tuple[str, str, dict[str, Any]]]:
    """What is told of the attribute, the method and its options, on data of a kind."""
    told = [(what, method, options) for what, some in TOLD for method, several in some.items() for options in several]
    fit_for = {name: method for name, method in METHODS.items() if "classification" in method.tasks}
    fit_for = {name: method for name, method in fit_for.items() if kind in method.kinds and name != "dfr"}
    for name, method in fit_for.items():
        told += [("all" if "attribute" in method.needs else "nothing", name, o) for o in FREE.get(name, [{}])]
    return sorted(told, key=lambda row: ("nothing", "validation", "all").index(row[0]))


def run(asked: argparse.Namespace, method: str, options: dict[str, Any], seed: int) -> dict[str, Any]:
    """Worst-group and train-weighted accuracy on the test set."""
    torch.set_num_threads(1)
    splits, how = load(spec(asked.data)), Training(epochs=asked.epochs, batch=64, lr=1e-3, schedule="cosine")
    try:
        made = build(method, splits.info, net=asked.net, options=options, seed=seed).to(asked.device)
        fitted = fit(made, splits, how, seed=seed, device=asked.device)
    except UserError as error:
        return {"error": str(error)}
    outputs = predict(fitted.method, splits.test, asked.device)
    found = metrics(sample_values(outputs, splits.test), splits.test, splits.train)
    result: dict[str, Any] = {"net": asked.net, "epochs": asked.epochs}
    result["last"] = {name: found[name] for name in ("worst_group", "train_weighted")}
    judged = [row for row in fitted.history if "valid" in row]
    if judged:
        best = max(judged, key=lambda row: row["valid"]["worst_group"])
        result["best"] = {name: best["test"][name] for name in ("worst_group", "train_weighted")}
    return result


def spec(data: str) -> str:
    """Of a data set: as it is, or of a file of arrays."""
    return f"arrays:path={data},attribute=attribute,split=split" if data.endswith(".npz") else data


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
    parser.add_argument("data", help="file of arrays, or a data set")
    parser.add_argument("out", type=Path, help="JSON file of results, which grows")
    parser.add_argument("--net", default=NET)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", default="", help="methods, joined by commas")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="print what the file holds, and stop")
    asked = parser.parse_args()
    done: dict[str, dict[str, Any]] = json.loads(asked.out.read_text("utf-8")) if asked.out.exists() else {}
    if not asked.table:
        others = {(one.get("net", NET), one.get("epochs", EPOCHS)) for one in done.values() if "error" not in one}
        if others - {(asked.net, asked.epochs)}:
            parser.error(
                f"{asked.out} holds runs of {others}, as (net, epochs); name another file, or ask for the same"
            )
        known = rows(load(spec(asked.data)).info.kind)
        names = list(dict.fromkeys(method for _, method, _ in known))
        wanted = asked.only.split(",") if asked.only else names
        if strangers := set(wanted) - set(names):
            parser.error(f"--only {','.join(sorted(strangers))}: no such method; there are {', '.join(names)}")
        work = [(*row, seed) for seed in range(asked.seeds) for row in known if row[1] in wanted]
        work = [row for row in work if json.dumps(row) not in done]
        runs = Parallel(asked.jobs, return_as="generator")(
            delayed(run)(asked, method, options, seed) for _, method, options, seed in work
        )
        for row, found in zip(work, runs, strict=True):
            done[json.dumps(row)] = found
            with replacing(asked.out) as temporary:
                temporary.write_text(json.dumps(done, indent=1) + "\n", "utf-8")
            print(*row, found, flush=True)
    print(table(done))


if __name__ == "__main__":
    main()
