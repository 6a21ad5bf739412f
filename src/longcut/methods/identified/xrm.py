"""Cross-risk minimisation: two nets, each trained on a half, teach each other the mistakes they agree on."""

from __future__ import annotations

import torch
from torch import Tensor

from longcut.data import Batch, Dataset, Info, require_index
from longcut.losses import cross_entropy
from longcut.methods import shared
from longcut.methods.base import FitHelper, MakeNet, Method, Recipe
from longcut.methods.identified.pseudo import Inferred, class_balanced, cross_mistakes, flip_probability
from longcut.predict import predict

__all__ = ["XRM", "Twins"]


class Twins(Method):
    """Each sample's loss is that of the net whose half it is in; the other's prediction may replace its label.

    Args:
        make_net: called twice.
        info: of the data.
        train: the samples, with the labels at the start.
        generator: draws the halves.
    """

    name = "twins"

    def __init__(self, make_net: MakeNet, info: Info, train: Dataset, generator: torch.Generator) -> None:
        super().__init__(make_net, info)
        self.other = make_net()
        self.register_buffer("first", torch.rand(info.n_stored, generator=generator, device=generator.device) < 0.5)
        label = torch.zeros(info.n_stored, dtype=torch.long)
        self.register_buffer("label", label.index_copy(0, train.index, train.label))

    first: Tensor
    label: Tensor

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Class-balanced cross-entropy with the labels as they are now."""
        first, label = self.first[require_index(batch), None], self.label[require_index(batch)]
        one, other = self.net(batch.x), self.other(batch.x)
        loss = class_balanced(cross_entropy(torch.where(first, one, other), label), label, self.info.n_classes)
        self.flip(require_index(batch), torch.where(first, other, one).detach())
        return loss, {}

    def flip(self, index: Tensor, held_out: Tensor) -> None:
        """Replace labels by the prediction of the net that does not learn from them, the surer the likelier."""
        coin = torch.rand(len(index), generator=self.generator, device=held_out.device)
        self.label[index] = torch.where(coin < flip_probability(held_out), held_out.argmax(1), self.label[index])


class XRM(Inferred):
    """GroupDRO on label x mistake, where a mistake is one of two nets that learn each other's.

    Needs no attribute, not even for validation.
    """

    name = "xrm"
    paper = "Pezeshki et al., Discovering environments with XRM, ICML 2024"
    needs_classes = "its groups are the mistakes of nets about classes, which numbers never get quite right"
    variants = ({"helper_lr": 0.02, "helper_epochs": 1},)
    recipes = {
        "paper": Recipe(
            "GroupDRO without balanced sampling, as released; rate, decay and batch are drawn at random there",
            {"balanced": False},
        )
    }

    def __init__(
        self,
        make_net: MakeNet,
        info: Info,
        *,
        helper_epochs: shared.HelperEpochs = 3,
        helper_lr: shared.HelperLr = None,
        helper_weight_decay: shared.HelperDecay = None,
        helper_optimizer: shared.HelperOptimizer = None,
        step: shared.Step = 0.01,
        balanced: shared.Balanced = True,
    ) -> None:
        super().__init__(make_net, info, step=step, balanced=balanced, cross=True)
        self.helper = shared.helper_settings(helper_epochs, helper_lr, helper_weight_decay, helper_optimizer)
        self.register_buffer("flipped", torch.zeros(()))

    flipped: Tensor

    def infer(self, train: Dataset, fit: FitHelper) -> Tensor:
        """Train the twins and see who is wrong about what; the true labels are those of ``train``."""
        twins = Twins(self.make_net, self.info, train, self.generator)
        fit(twins, train, **self.helper)
        self.flipped.copy_((twins.label.cpu()[train.index] != train.label).float().mean())
        one, other = (predict(net, train, self.chosen.device) for net in (twins.net, twins.other))
        return cross_mistakes(one, other, train.label)

    def minority(self, train: Dataset) -> Tensor:
        """The mistakes of either twin."""
        return self.chosen.cpu()[train.index]

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """GroupDRO's; ``flipped``, the share of labels that the twins replaced, is by what the paper tunes them."""
        loss, logs = super().loss(batch)
        return loss, {**logs, "flipped": self.flipped}
