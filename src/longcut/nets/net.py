"""The contract of a net: ``head(features(x))``, where the features are an ordered list of stages.

Mixing at a hidden level is then a loop over ``net.stages``, and a helper that needs an embedding takes
``net.features``; nobody registers a hook. A net by name is a function ``(info, outputs, *, options) -> Net``, whose
options are keyword-only arguments, ``Annotated`` with a ``pydantic.Field`` that gives description and range.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from longcut.data import Info
from longcut.errors import UserError
from longcut.parallel import by_rows

__all__ = ["Dropout", "Net", "need_images", "need_numbers", "need_tokens"]

Dropout = Annotated[float, Field(ge=0, lt=1, description="probability that a unit is dropped in training")]


class Net(nn.Module):
    """``head(features(x))``, and for a regression ``head(features(x)) * scale + shift``.

    So the head of a regression learns targets of mean 0 and deviation 1, and the outputs have the target's own units.

    Attributes:
        shift, scale: of the targets ``(outputs,)``, 0 and 1 until they are known (:meth:`standardize`); None where
            there are no targets. They are buffers, and a state dict without them leaves 0 and 1.

    Args:
        stages: applied one after the other; what the last one gives, ``(n, width)``, are the features.
        head: linear, from the features to the outputs.
        levels: after how many stages samples may be mixed, rising; 0 is the input. Methods mix at the first level
            unless they are told another; the second, where there is one, is what papers call early. Default: the
            input (token ids cannot be mixed, so behind an embedding that is the first stage), behind each stage that
            has parameters, and the features.

    >>> import torch
    >>> net = Net([nn.Flatten(), nn.Linear(12, 5)], nn.Linear(5, 2))
    >>> net(torch.zeros(7, 3, 2, 2)).shape, net.features(torch.zeros(7, 3, 2, 2)).shape, net.levels
    (torch.Size([7, 2]), torch.Size([7, 5]), (0, 2))
    """

    def __init__(self, stages: Iterable[nn.Module], head: nn.Linear, *, levels: Iterable[int] | None = None) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.head = head
        self.levels = self._levels() if levels is None else tuple(levels)
        self.register_buffer("shift", None)
        self.register_buffer("scale", None)

    shift: Tensor | None
    scale: Tensor | None

    def _levels(self) -> tuple[int, ...]:
        trained = [i for i, stage in enumerate(self.stages, 1) if any(True for _ in stage.parameters())]
        first = 1 if self.stages and isinstance(self.stages[0], nn.Embedding) else 0
        return tuple(sorted({first, *trained, len(self.stages)}))

    @property
    def width(self) -> int:
        """Number of features."""
        return self.head.in_features

    def features(self, x: Tensor) -> Tensor:
        """Inputs ``(n, ...)`` to features ``(n, width)``."""
        return self.between(x)

    def between(self, x: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """What the stages from ``start`` on make of ``x``, by default up to the features.

        Where several processes share a run, each computes some rows (see :mod:`longcut.parallel`).
        """
        return by_rows(self.stages[start:stop] if start or stop is not None else self.stages, x)

    def answer(self, features: Tensor) -> Tensor:
        """Features ``(n, width)`` to outputs ``(n, outputs)``; of a regression, in the target's units."""
        outputs = self.head(features)
        return outputs if self.scale is None else outputs * self.scale + self.shift

    def forward(self, x: Tensor) -> Tensor:
        """Inputs ``(n, ...)`` to outputs ``(n, outputs)``."""
        return self.answer(self.features(x))

    def of_targets(self) -> Self:
        """This net, as one that predicts targets in their own units: with ``shift`` 0 and ``scale`` 1."""
        self.shift, self.scale = torch.zeros(self.head.out_features), torch.ones(self.head.out_features)
        return self

    def standardize(self, targets: Tensor) -> None:
        """From now on the head is to learn targets ``(n, outputs)`` less their mean, in deviations from it.

        A number that is the same in all of them has a ``scale`` of 1. A net that has no targets stays as it is.

        >>> net = Net([nn.Flatten()], nn.Linear(3, 1)).of_targets()
        >>> net.standardize(torch.tensor([[10.0], [14.0]]))
        >>> net.standardized(torch.tensor([[10.0], [16.0]]))
        tensor([[-1.],
                [ 2.]])
        """
        if self.shift is None or self.scale is None:
            return
        deviation, mean = torch.std_mean(targets.double(), dim=0, correction=0)
        self.shift.copy_(mean)
        self.scale.copy_(torch.where(deviation.float() > 0, deviation, 1))

    def standardized(self, values: Tensor) -> Tensor:
        """Outputs or targets ``(n, outputs)`` as the head learns them; as they are where there are no targets."""
        if self.shift is None or self.scale is None:
            return values
        return (values - self.shift.to(values.device)) / self.scale.to(values.device)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        for name, value in (("shift", 0.0), ("scale", 1.0)):
            if (own := getattr(self, name)) is not None:  # a net that was saved before it had them
                state_dict.setdefault(prefix + name, torch.full_like(own, value))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


# --- what a net takes -------------------------------------------------------------------------------------------------


def need_images(info: Info, name: str) -> int:
    """Number of channels of images ``(C, H, W)``.

    Raises:
        UserError: for other data, naming a net that takes it.
    """
    if len(info.shape) != 3:
        other = "tokens" if info.kind == "tokens" else "mlp"
        raise UserError(
            f"net '{name}' needs images (C, H, W), but {info.name} has shape {info.shape}; use net '{other}'."
        )
    return info.shape[0]


def need_numbers(info: Info, name: str) -> None:
    """Refuse token ids.

    Raises:
        UserError: naming a net that takes them.
    """
    if info.kind == "tokens":
        raise UserError(f"net '{name}' needs numbers, but {info.name} holds token ids; use net 'tokens'.")


def need_tokens(info: Info, name: str) -> None:
    """Refuse all but token ids.

    Raises:
        UserError: naming nets that take other data.
    """
    if info.kind != "tokens":
        raise UserError(
            f"net '{name}' needs token ids, but {info.name} is of kind '{info.kind}'; use net 'mlp' or 'conv'."
        )
