"""What a biased model that was chosen by evidence suspects, by stored sample, and what is said of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from longcut.data import Dataset, Info
from longcut.identify import margins
from longcut.methods.base import FitHelper, MakeNet
from longcut.methods.biased.early import AS_OFTEN, LEARNED, MOST, Early, clarity, explain, family, resists

__all__ = ["Suspicion"]


class Suspicion(nn.Module):
    """What was explained, by stored sample, so that it survives an interruption.

    Args:
        info: of the data.
        members: specs of nets; by default :func:`family`.
    """

    def __init__(self, info: Info, members: Sequence[str] = ()) -> None:
        super().__init__()
        self.members = tuple(members or family(info))
        self.register_buffer("looks", torch.zeros(info.n_stored, dtype=torch.long))
        self.register_buffer("chosen", torch.zeros(info.n_stored, dtype=torch.bool))
        self.register_buffer("odd", torch.zeros(info.n_stored, dtype=torch.bool))
        # which member, whether it separates, the share of the samples it explains, how clearly it contradicts others,
        # what share of those a member that can learn more is right about, and how often the net to be trained is
        self.register_buffer("evidence", torch.zeros(6))
        self.info, self.models = info, list[Early]()  # a list, for what is trained is not the method's to train

    looks: Tensor  # the class that each sample looks like
    odd: Tensor  # who looks like another class than its own
    chosen: Tensor  # those of them who do so clearly; nobody where no member separates
    evidence: Tensor

    def look(self, train: Dataset, fit: FitHelper, generator: torch.Generator, make_net: MakeNet) -> None:
        """Explain the training samples (see :func:`explain`), and see whether the net takes the shortcut at all."""
        device, seed = self.looks.device, generator.initial_seed()
        found = explain(train, fit, seed=seed, device=device, members=self.members)
        odd = found.looks != train.label
        self.looks[train.index], self.odd[train.index] = found.looks.to(device), odd.to(device)
        suspected, resisted = torch.zeros_like(self.chosen), 0.0
        if found.separates:
            suspected[train.index] = found.contradicted(train.label).to(device)
            resisted = resists(make_net, train, suspected.cpu(), fit, seed=seed, device=device)
        if separates := found.separates and resisted < AS_OFTEN:
            self.chosen.copy_(suspected)
        self.models = [found.model]
        explained, clear = 1 - float(odd.float().mean()), clarity(margins(found.logits, train.label))
        number = self.members.index(found.member)
        self.evidence.copy_(torch.tensor([number, separates, explained, clear, found.recovered, resisted]))

    @property
    def separates(self) -> bool:
        return bool(self.evidence[1])

    @torch.no_grad()
    def embed(self, x: Tensor) -> Tensor | None:
        """How the biased model sees inputs: its features ``(n, width)``; None before it has learned."""
        return self.models[0].to(x.device).eval().net.features(x) if self.models else None

    def get_extra_state(self) -> Tensor:
        """The biased model's weights, as bytes."""
        from safetensors.torch import save

        weights = {name: value.cpu() for model in self.models for name, value in model.state_dict().items()}
        return torch.frombuffer(bytearray(save(weights)), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        from safetensors.torch import load

        self.models = []
        if weights := load(bytes(state.tolist())):
            with torch.random.fork_rng(devices=[]):
                self.models = [Early(self.members[int(self.evidence[0])], self.info)]
            self.models[0].load_state_dict(weights)

    @property
    def too_many(self) -> bool:
        """Whether more contradict than a shortcut leaves over, as with wrong labels, or labels that are hard."""
        return not self.separates and float(self.evidence[2]) < MOST

    @property
    def quiet(self) -> bool:
        """Whether most labels are explained, and those that are not do not look like a shortcut's."""
        return not self.separates and not self.too_many

    def remark(self) -> str:
        """What was found, as the beginning of a sentence."""
        number, separates, explained, clear, recovered, resisted = self.evidence.tolist()
        found = (
            f"of the biased models, {self.members[int(number)]} comes nearest to what a shortcut would do: it explains "
            f"{explained:.1%} of the labels of samples it has not seen, and "
        )
        if explained == 1:
            return f"{found}contradicts none, which leaves nothing to tell a shortcut by"
        found += (
            f"contradicts the others with a clarity of {clear:.1f} (1 to 2: it is in doubt; a shortcut that "
            f"they all contradict, or wrong labels: {0.5 / (1 - explained):.1f})"
        )
        if resisted and not separates:
            return f"{found}, but the net to be trained is as often right about these: it does not take the shortcut"
        if recovered <= LEARNED:
            return found
        return f"{found}, but one that can learn more is right about {recovered:.0%} of these: they were merely hard"
