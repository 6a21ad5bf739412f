"""What is the method, and what is the net: ``python benchmarks/nets.py results/nets.json``, then ``results/make.py``.

Colored MNIST, every row with every net, all settings as ``longcut compare`` has them; as it comes, or with images that
are turned, moved, scaled and sheared a little (``--augmented``). Beside the methods stand both together: the weights of
``fg-ccdb`` say how often a sample is an anchor, ``selecmix`` whom it is mixed with; weights come from the biased model
that SelecMix has anyway, or from FG-CCDB's own two-step net. A run has its accuracy on the unbiased test set after the
last epoch, in percent. What the file already holds is not done again.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import longcut
from longcut.cells import cell_weights
from longcut.data import Dataset, draw
from longcut.files import replacing, to_json
from longcut.fit import fit
from longcut.methods import build
from longcut.methods.base import FitHelper
from longcut.methods.identified.fg_ccdb import FGCCDB
from longcut.methods.mixing.selecmix import SelecMix
from longcut.plans import plan

RATIOS = (0.005, 0.01, 0.02, 0.05)
NETS = {"mlp:hidden=100-100-16": 30, "mlp:hidden=256-256-256": 30, "conv:width=8": 15}  # epochs
HELPER = "conv:width=8"
AFFINE = "affine:rotate=10,shift=0.1,zoom=0.1,shear=5"


class Together(SelecMix):
    """``selecmix`` whose anchors are drawn in proportion to the weights of ``fg-ccdb``."""

    def prepare(self, train: Dataset, fit: FitHelper) -> Dataset:
        train = super().prepare(train, fit)
        self.drawn_by = self.weights(train, fit)
        return train

    def weights(self, train: Dataset, fit: FitHelper) -> Tensor:
        return cell_weights(self.early.looks.cpu()[train.index], train.label)

    def epoch_data(self, train: Dataset) -> Dataset:
        return draw(train, self.drawn_by, self.generator)


class TogetherByHelper(Together):
    """The same by the weights of FG-CCDB's own net."""

    def weights(self, train: Dataset, fit: FitHelper) -> Tensor:
        other = FGCCDB(self.make_net, self.info, helper_net=HELPER)
        other.context = self.context
        other.prepare(train, fit)
        return other.weight.cpu()[train.index]


ROWS = {
    "erm": "erm",
    "selecmix": "selecmix",
    "selecmix, its control": "selecmix:blend=keep-both",
    "fg-ccdb": f"fg-ccdb:helper_net={HELPER}",
    "fg-ccdb, true colours": "fg-ccdb:identify=attribute",
    "both": Together,
    "both, by FG-CCDB's net": TogetherByHelper,
}


def measure(row: str, net: str, augment: str, ratio: float, seed: int) -> dict[str, Any]:
    """One run."""
    torch.set_num_threads(1)
    data, method, epochs = f"colored-mnist:ratio={ratio}", ROWS[row], NETS[net]
    settings = {"net": net, "augment": augment, "epochs": epochs, "every": epochs}
    planned = plan(data, method if isinstance(method, str) else method.name, seed=seed, settings=settings)
    splits, made = longcut.load(data, seed), planned.method if isinstance(method, str) else method
    learner = build(made, splits.train.info, net=net, options=planned.options, seed=seed)
    last = fit(learner, splits, planned.training, seed=seed).history[-1]
    case = {"row": row, "net": net, "augment": augment, "ratio": ratio, "seed": seed, "epochs": epochs}
    return case | {name: round(100 * last["test"][name], 2) for name in ("average", "conflicting")}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, help="JSON file of results, which grows")
    parser.add_argument("--nets", choices=NETS, nargs="+", default=list(NETS))
    parser.add_argument("--ratios", type=float, nargs="+", default=RATIOS)
    parser.add_argument("--rows", choices=ROWS, nargs="+", default=list(ROWS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--augmented", action="store_true")
    given = parser.parse_args()
    done = json.loads(given.out.read_text("utf-8")) if given.out.exists() else []
    known = {(run["row"], run["net"], run["augment"], run["ratio"], run["seed"]) for run in done}
    augment = AFFINE if given.augmented else "none"
    cases: list[dict[str, Any]] = [
        {"row": row, "net": net, "augment": augment, "ratio": ratio, "seed": seed}
        for seed, net, ratio, row in itertools.product(range(given.seeds), given.nets, given.ratios, given.rows)
    ]
    for case in cases:
        if tuple(case.values()) not in known:
            done.append(measure(**case))
            print(done[-1], flush=True)
            with replacing(given.out) as temporary:
                temporary.write_text(to_json(done, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
