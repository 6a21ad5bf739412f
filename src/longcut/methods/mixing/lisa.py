"""LISA: mix across the attribute within a label, or across labels within the attribute."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from longcut import mixing
from longcut.data import Dataset, Info, balance
from longcut.methods.base import FitHelper, MakeNet, Recipe
from longcut.methods.mixing.base import MixingMethod
from longcut.methods.shared import Balanced, Blend
from longcut.mixing.pairs import Take


class LISA(MixingMethod):
    """Selective mixing with a known attribute; both labels in proportion."""

    name = "lisa"
    paper = "Yao et al., Improving out-of-distribution robustness via selective augmentation, ICML 2022"
    needs_classes = "its partners have the same label, or another one, and numbers are hardly ever the same"
    needs = frozenset({"attribute"})
    partial = True
    variants = ({"mode": "A"}, {"mode": "B", "blend": "keep-both"}, {"balanced": True}, {"blend": "cut"})
    recipes = {
        "paper": Recipe("the authors draw equally from every group", {"balanced": True}),
        "selecmix-table": Recipe("as in SelecMix's comparison: shares U(0, 1)", {"alpha": 1.0}),
        "selecmix-released": Recipe(
            "as its released program does it: shares U(0, 1), and one partner for all samples of a cell",
            {"alpha": 1.0, "partner": "first"},
        ),
    }

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        mode: Annotated[
            Literal["A", "B", "both"],
            Field(description="A: same label, other attribute; B: other label, same attribute; both: a coin per pool"),
        ] = "both",
        alpha: Annotated[float, Field(gt=0, description="shares are Beta(alpha, alpha), one for each sample")] = 2.0,
        blend: Blend = "linear",
        partner: Annotated[
            Take,
            Field(description="any sample that fits, or the first in the pool, one for a whole cell"),
        ] = "random",
        balanced: Balanced = False,
    ) -> None:
        super().__init__(make_net, info)
        a, b = mixing.same_label(other_attribute=True, take=partner), mixing.same_attribute(take=partner)
        pair = {"A": a, "B": b, "both": mixing.either(a, b)}[mode]
        self.shown = mixing.BLENDS[blend]
        self.mix = mixing.Mix(pair, mixing.beta(alpha), self.shown, mixing.proportional)
        self.mode: Literal["A", "B", "both"] = mode
        self.balanced = balanced

    def prepare(self, train: Dataset, fit: FitHelper) -> Dataset:
        """Refuse a training set in which nobody has a partner."""
        mixing.require_contradiction(train.label, train.attribute, self.mode, self.name)
        return train

    def epoch_data(self, train: Dataset) -> Dataset:
        """The training set, or as many samples drawn equally from every group."""
        return balance(train, "group", self.generator) if self.balanced else train
