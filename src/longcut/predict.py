"""A model over a data set, once: the loop that nobody has to write again."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from longcut.data import Dataset
from longcut.errors import UserError

__all__ = ["at_once", "predict"]

MOST, FEWEST = 1024, 16  # samples at a time
ON_CPU = 2**19  # numbers in what goes in at a time


@torch.no_grad()
def predict(
    model: Callable[[Tensor], Tensor], data: Dataset, device: torch.device | str = "cpu", size: int | None = None
) -> Tensor:
    """Outputs of ``model`` for every sample, in the data's order, float32 ``(n, …)`` on the CPU.

    Args:
        model: a module, a method of one such as ``net.features``, or any function of inputs. A module is put in
            evaluation mode for the time and back afterwards.
        data: the samples.
        device: where the model is.
        size: samples at a time; when None, see :func:`at_once`.

    Raises:
        UserError: when an output is not a finite number, so that no score can come of it.

    >>> predict(lambda x: 2 * x, Dataset.of(torch.tensor([[1.0], [2.0]]), [0, 1]))
    tensor([[2.],
            [4.]])
    """
    owner = getattr(model, "__self__", model)
    module = owner if isinstance(owner, nn.Module) else nn.Identity()  # a function has no mode
    was_training = module.training
    size = size or at_once(data.info.shape, device)
    module.eval()
    try:
        found = torch.empty(0)
        for rows in torch.arange(len(data)).split(size):
            outputs = model(data.gather(rows, device)).float().cpu()
            if not len(found):  # made once and filled, for parts that are joined in the end are there twice
                found = outputs.new_empty(len(data), *outputs.shape[1:])
            found[rows] = outputs
    finally:
        module.train(was_training)
    bad = ~found.isfinite().flatten(1).all(1) if found.ndim > 1 else ~found.isfinite()
    if bad.any():
        raise UserError(
            f"what the network says of {int(bad.sum()):,} of {len(bad):,} samples is not a finite number; "
            "train it with a lower learning rate (lr), or check the inputs."
        )
    return found


def at_once(shape: tuple[int, ...], device: torch.device | str) -> int:
    """How many samples of inputs of this shape a net is best asked about at a time: 1024, on the CPU fewer large ones.

    There the maps of a convolutional net then stay in the cache and in memory that the process has already
    (``benchmarks/speed.py``: less than half the time on photographs).

    >>> at_once((1, 8, 8), "cpu"), at_once((3, 72, 72), "cpu"), at_once((3, 72, 72), "cuda")
    (1024, 33, 1024)
    """
    if torch.device(device).type != "cpu":
        return MOST
    return max(FEWEST, min(MOST, ON_CPU // max(1, math.prod(shape))))
