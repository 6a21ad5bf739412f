"""Contrastive methods side by side, judged while they train: ``python benchmarks/gpu/contrast.py FOLDER``.

Every method is trained from the same random weights, with the same loop, and at some epochs a linear probe is fitted on
the frozen features of all training images: so the table says how long everybody trained, and nobody's probe is longer.
Of WCL both encoders are probed. One file of results for each method and seed lies in FOLDER; a run whose file says that
it is done is not made again, and ``--table`` prints what is there.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from fast import faster, ways_of
from torch import Tensor
from torch.nn import functional as F

from longcut import Splits, Training, fit, load
from longcut.context import Epoch, calling
from longcut.evaluate import metrics, sample_values
from longcut.files import replacing, to_json
from longcut.methods import Method, build
from longcut.numbers import spread, with_spread
from longcut.predict import predict
from longcut.spec import read

PENALTY = 1e-4  # of the probe's weights
STEPS = 100  # of L-BFGS


def probe(train: Tensor, label: Tensor, test: Tensor, classes: int, balance: Tensor | None = None) -> Tensor:
    """Logistic regression on standardised features, all samples at once: its logits for other features.

    :func:`longcut.analyses.linear_probe` does the same on the CPU, where 50,000 images take a minute for every probe.

    Args:
        train: features ``(n, d)``.
        label: class ids ``(n,)``.
        test: features ``(m, d)``.
        classes: their number.
        balance: of each training sample ``(n,)``, its weight; None for one.
    """
    deviation, mean = torch.std_mean(train, 0)
    one, other = ((x - mean) / deviation.clamp_min(1e-6) for x in (train, test))
    weight = torch.zeros(classes, one.shape[1] + 1, device=one.device, requires_grad=True)
    solver = torch.optim.LBFGS([weight], max_iter=STEPS, history_size=10, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        cost = F.cross_entropy(one @ weight[:, :-1].T + weight[:, -1], label, reduction="none")
        total = (cost if balance is None else cost * balance).mean() + PENALTY * weight[:, :-1].square().sum()
        total.backward()
        return total.detach()

    solver.step(loss)
    return (other @ weight[:, :-1].T + weight[:, -1]).detach()


def without_training(splits: Splits, device: str) -> str:
    """What the most frequent class alone, and probes of the inputs as they are, reach: lines of a table."""
    most = torch.nn.functional.one_hot(splits.train.label.bincount().argmax(), splits.info.n_classes).float()
    rows = {"the most frequent class": {}}
    for name, data in (("valid", splits.valid), ("test", splits.test)):
        if data is not None:
            outputs = most.expand(len(data), -1)
            rows["the most frequent class"][name] = metrics(sample_values(outputs, data), data, outputs=outputs)
    for balanced in (False, True):
        how = "balanced" if balanced else "plain"
        rows[f"inputs as they are, {how} probe"] = judged(torch.nn.Flatten(), splits, device, balanced)
    lines = ["| | part | accuracy | worst group |", "|---|---|---|---|"]
    for what, parts in rows.items():
        for part, scores in parts.items():
            lines.append(f"| {what} | {part} | {100 * scores['average']:.1f} | {100 * scores['worst_group']:.1f} |")
    return "\n".join(lines)


def judged(
    features: Callable[[Tensor], Tensor], splits: Splits, device: str, balanced: bool
) -> dict[str, dict[str, float]]:
    """Scores of a probe on validation (where there is one) and test; ``balanced``: each group weighs the same."""
    train = splits.train
    known, label = predict(features, train, device).to(device), train.label.to(device)
    balance = None
    if balanced:
        group = train.group.to(device)
        balance = (len(group) / group.bincount().clamp_min(1) / len(group.unique()))[group]
    found = {}
    for name, data in (("valid", splits.valid), ("test", splits.test)):
        if data is not None and len(data):
            said = probe(known, label, predict(features, data, device).to(device), train.info.n_classes, balance)
            scored = metrics(sample_values(said.cpu(), data), data, splits.train, outputs=said.cpu())
            found[name] = {key: scored[key] for key in ("average", "worst_class", "worst_group")}
    return found


def run(method: str, seed: int, given: argparse.Namespace, training: Training) -> None:
    """One method and seed; what is known is written after every probe."""
    file = given.folder / f"{method.replace(':', '-').replace(',', '-')}-s{seed}.json"
    if file.exists() and json.loads(file.read_text("utf-8"))["done"]:
        return
    splits = load(given.data, seed)
    name, options = read(method, "method")
    made = faster(build(name, splits.info, net=given.net, options=options, seed=seed), ways_of(given.ways))
    rows: list[dict[str, Any]] = []
    began = time.perf_counter()

    def look(epoch: Epoch) -> None:
        if epoch.epoch not in given.at and epoch.epoch != training.epochs:
            return
        for encoder in encoders(made):
            for balanced in (False, True)[: 1 + given.balanced]:
                scores = judged(getattr(made, encoder).features, splits, given.device, balanced)
                rows.append({"encoder": encoder, "epoch": epoch.epoch, "balanced": balanced, **scores})
                print(f"{method} s{seed} {rows[-1]}", file=sys.stderr, flush=True)
        logs = {key: value for key, value in epoch.row.items() if isinstance(value, float)}
        about = {"method": method, "seed": seed, "data": given.data, "net": given.net, "ways": given.ways}
        seconds = round(time.perf_counter() - began)
        whole = {**about, "epochs": training.epochs, "rows": rows, "logs": logs, "seconds": seconds}
        with replacing(file) as temporary:
            temporary.write_text(to_json({**whole, "done": epoch.epoch == training.epochs}, indent=1) + "\n", "utf-8")

    made.finish = lambda train, valid, fit: None  # the probes have been
    fit(made, splits, training, seed=seed, device=given.device, observers=[calling(on_epoch=look)])


def encoders(method: Method) -> list[str]:
    """Names of those that are probed."""
    return ["net", "biased"] if hasattr(method, "biased") else ["net"]


def table(folder: Path, part: str = "test") -> str:
    """At each epoch that all files have: mean and deviation over the seeds."""
    known: dict[tuple[str, bool, int], list[dict[str, float]]] = {}
    for file in sorted(folder.glob("*.json")):
        one = json.loads(file.read_text("utf-8"))
        for row in one["rows"]:
            label = one["method"] + {"net": "", "biased": ", biased encoder"}[row["encoder"]]
            known.setdefault((label, row["balanced"], row["epoch"]), []).append(row[part])
    lines = [
        "| method | probe | epochs | accuracy | worst class | worst group | seeds |",
        "|---|---|---|---|---|---|---|",
    ]
    for (label, balanced, epoch), scores in known.items():
        cells = [with_spread(*spread(one[key] for one in scores)) for key in ("average", "worst_class", "worst_group")]
        how = "balanced" if balanced else "plain"
        lines.append(f"| {label} | {how} | {epoch} | {' | '.join(cells)} | {len(scores)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of results")
    parser.add_argument("--data", default="cifar10:valid=0")
    parser.add_argument("--methods", nargs="+", default=["simclr", "dcl", "hcl", "wcl"])
    parser.add_argument("--seeds", default="0,1", help="joined by commas")
    parser.add_argument("--net", default="resnet18:inputs=cifar,width=32")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--at", type=lambda text: [int(one) for one in text.split(",")], default=[5, 10, 20, 40])
    parser.add_argument("--balanced", action="store_true", help="a second probe, in which each group weighs the same")
    parser.add_argument("--ways", default="", help="see fast.py")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--inputs", action="store_true", help="judge the inputs as they are, and train nothing")
    parser.add_argument("--table", action="store_true", help="print what is there and train nothing")
    given = parser.parse_args(arguments)
    given.folder.mkdir(parents=True, exist_ok=True)
    training = Training(
        epochs=given.epochs, batch=given.batch, pool=1, lr=given.lr, weight_decay=1e-6, drop_last=True, every=10**6
    )
    if given.inputs:
        return print(without_training(load(given.data, int(given.seeds.split(",")[0])), given.device))
    if not given.table:
        for seed in map(int, given.seeds.split(",")):
            for method in given.methods:
                run(method, seed, given, training)
    print(table(given.folder))


if __name__ == "__main__":
    main()
