"""What must hold before a training begins, and after each of its epochs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from longcut.data import Splits, generator
from longcut.errors import UserError
from longcut.evaluate import metrics
from longcut.methods.base import Method, require_known

if TYPE_CHECKING:
    from longcut.training import Training

__all__ = ["check", "require_finite"]


def check(method: Method, splits: Splits, watch: str, metric: str) -> None:
    """Refuse what cannot be trained: a method on data it is not for, or a selection that is not defined.

    Args:
        method, splits: what is to be trained on what.
        watch: the set that the epoch is selected on; empty where the last one counts.
        metric: by which.

    Raises:
        UserError: in these cases.
    """
    train = splits.train
    who = method.name
    if train.info.task not in method.tasks:
        why = f": {method.needs_classes}" if method.needs_classes and train.info.task == "regression" else ""
        raise UserError(
            f"{who} learns {' or '.join(sorted(method.tasks))}, but {train.info.name} is {train.info.task}{why}."
        )
    if "attribute" in method.needs:
        if train.memberships is not None:
            _ = train.group  # refuses overlapping groups without an attribute, with the right sentence
        require_known(method, train)
    if watch and not method.judged_by_epoch:
        raise UserError(
            f"{who} has no classifier before training is over, so no epoch can be selected by {metric}; select last."
        )
    if watch:
        watched = getattr(splits, watch)
        if watched is None:
            raise UserError(f"selection on validation needs a set for it, but {train.info.name} has none; select last.")
        noise = torch.rand(len(watched), train.info.n_classes, generator=generator(0))  # constants have no correlation
        if math.isnan(metrics(noise[:, 0], watched, train, outputs=noise)[metric]):
            raise UserError(
                f"cannot select by {metric}: it is not defined on the {watch} set of {train.info.name}; "
                "select best:average or last."
            )
    if train.info.task == "classification":
        counts = torch.bincount(train.label, minlength=train.info.n_classes)
        if int(counts.min()) < 2:
            c = int(counts.argmin())
            name = train.info.class_names[c]
            raise UserError(
                f"class '{name}' has {int(counts[c])} training sample{'' if counts[c] == 1 else 's'}; "
                "every class needs at least 2. Add samples or leave the class out."
            )
    method.check(splits)


def require_finite(net: nn.Module, training: Training, when: str) -> None:
    """Refuse weights that are not finite numbers: whatever such a network says means nothing.

    Args:
        net: its parameters and buffers are looked at.
        training: the settings, for what to change.
        when: to which the message speaks, such as ``"in epoch 3"``.

    Raises:
        UserError: in this case.
    """
    tensors = [tensor for tensor in net.state_dict().values() if tensor.is_floating_point()]
    if not all(torch.stack([tensor.isfinite().all() for tensor in tensors]).tolist() if tensors else ()):
        raise UserError(
            f"the weights stopped being finite numbers {when}; "
            f"lower the learning rate (lr={training.lr:g}) or check the inputs."
        )
