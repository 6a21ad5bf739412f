"""SelecMix's mixtures of FG-CCDB's samples, beside each alone: ``python benchmarks/together.py results/together.json``.

The weights of ``fg-ccdb`` say how often a sample is an anchor, ``selecmix`` whom it is mixed with. Weights come from
FG-CCDB's own two-step net (``helper``), or from the biased model that SelecMix has anyway (``early``). Colored MNIST,
accuracy on its unbiased test set after the last epoch. What the file already holds is not done again.
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
from longcut.fit import Training, fit
from longcut.methods import METHODS, build
from longcut.methods.base import FitHelper
from longcut.methods.identified.fg_ccdb import FGCCDB
from longcut.methods.mixing.selecmix import SelecMix

RATIOS = (0.005, 0.01, 0.02, 0.05)
NETS = {"mlp:hidden=100-100-16": 30, "mlp:hidden=256-256-256": 30, "conv:width=8": 15}  # epochs
HELPER = "conv:width=8"


class Together(SelecMix):
    """``selecmix`` whose anchors are drawn in proportion to the weights of ``fg-ccdb``."""

    weights_by = "early"

    def prepare(self, train: Dataset, fit: FitHelper) -> Dataset:
        train = super().prepare(train, fit)
        if self.weights_by == "helper":
            other = FGCCDB(self.make_net, self.info, helper_net=HELPER)
            other.context = self.context
            other.prepare(train, fit)
            self.drawn_by: Tensor = other.weight.cpu()[train.index]
        else:
            self.drawn_by = cell_weights(self.early.looks.cpu()[train.index], train.label)
        return train

    def epoch_data(self, train: Dataset) -> Dataset:
        return draw(train, self.drawn_by, self.generator)


class TogetherByHelper(Together):
    weights_by = "helper"


WAYS = {"early": Together, "helper": TogetherByHelper}


def measure(net: str, ratio: float, way: str, seed: int) -> dict[str, Any]:
    """One run: the average and the conflicting accuracy after its last epoch, in percent."""
    torch.set_num_threads(1)
    splits = longcut.load(f"colored-mnist:ratio={ratio}", seed)
    epochs = NETS[net]
    training = Training(**{**METHODS["selecmix"].training_defaults, "epochs": epochs, "every": epochs})
    last = fit(build(WAYS[way], splits.train.info, net=net, seed=seed), splits, training, seed=seed).history[-1]
    case = {"net": net, "ratio": ratio, "weights": way, "seed": seed, "epochs": epochs}
    return case | {name: 100 * last["test"][name] for name in ("average", "conflicting")}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, help="JSON file of results, which grows")
    parser.add_argument("--net", choices=NETS, default=next(iter(NETS)))
    parser.add_argument("--ratios", type=float, nargs="+", default=RATIOS)
    parser.add_argument("--weights", choices=WAYS, nargs="+", default=list(WAYS))
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    done = json.loads(given.out.read_text("utf-8")) if given.out.exists() else []
    known = {(row["net"], row["ratio"], row["weights"], row["seed"]) for row in done}
    for seed, ratio, way in itertools.product(range(given.seeds), given.ratios, given.weights):
        if (given.net, ratio, way, seed) not in known:
            done.append(measure(given.net, ratio, way, seed))
            print(done[-1], flush=True)
            with replacing(given.out) as temporary:
                temporary.write_text(to_json(done, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
