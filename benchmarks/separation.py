"""Does a biased model contradict what contradicts the cue? ``python benchmarks/separation.py digits mnist``.

Ten cues of the zoo, those by which the family's constants were chosen; 2 % of the samples contradict the cue.
``surety`` is the clarity in parts of what it is where a net is wrong as surely as it is right, ``right`` the share of
the samples called contradicting that do contradict the cue, whether or not the net is taken to know a shortcut, and
``recovered`` the share of whom it contradicts that a net which can learn more is right about.
"""

from __future__ import annotations

import argparse

import torch

from longcut.cues import CUES
from longcut.data import Dataset
from longcut.datasets import load
from longcut.fit import Training, fit
from longcut.identify import margins
from longcut.methods import build
from longcut.methods.base import FitHelper
from longcut.methods.biased.early import Explained, clarity, explain
from longcut.methods.erm import ERM

HELD_OUT = ("background", "frame", "gradient", "watermark", "jpeg")
SAMPLES = {"digits": 0, "mnist": 6000}  # 0: all


class Look(ERM):
    """Keeps what the family of biased models says of the training samples."""

    name = "look"
    found: Explained

    def prepare(self, train: Dataset, fit: FitHelper) -> Dataset:
        self.found = explain(train, fit, seed=self.generator.initial_seed())
        return train


def row(base: str, cue: str, strength: str, seed: int) -> str:
    few = f",samples={SAMPLES[base]}" if SAMPLES[base] else ""
    splits = load(f"planted:data={base},cue={cue}:strength={strength},ratio=0.02{few}", seed)
    method = build(Look, splits.info, net="linear")
    fit(method, splits, Training(epochs=1))
    assert isinstance(method, Look)
    found, label = method.found, splits.train.label
    called, wrong = found.contradicted(label), float((found.looks != label).float().mean())
    surety = clarity(margins(found.logits, label)) * 2 * wrong
    right = float(splits.train.conflicting[called].float().mean()) if called.any() else 0.0
    taken = "taken" if found.separates else "not taken"
    called_right = f"{int(called.sum())} called, {right:.0%} right, {found.recovered:.0%} recovered"
    return f"{base}, {cue}, {strength}: {found.member.partition(':')[0]}, surety {surety:.2f}, {called_right}, {taken}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", nargs="+", choices=SAMPLES)
    parser.add_argument("--seed", type=int, default=100)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for base in given.data:
        for cue in (name for name, cue in CUES.items() if cue.kind == "image" and name not in HELD_OUT):
            for strength in ("easy", "medium", "hard"):
                print(row(base, cue, strength, given.seed), flush=True)


if __name__ == "__main__":
    main()
