"""``init=RUN``: a main network whose stages start from those of a finished run, with a head of its own."""

from __future__ import annotations

import hashlib
from pathlib import Path

from torch import Tensor

from longcut import nets, runs
from longcut.errors import UserError
from longcut.nets import Net
from longcut.record import Inputs, Plan

__all__ = ["begin", "digest", "pretrained", "source", "stages"]

STAGES = "stages."  # how the names of their tensors begin in the weights of a run
MEANINGS = ("features", "vocabulary", "tokenizer")  # of an encoding: what number stands for what


def source(folder: Path | str, net: str | None = None) -> runs.Run:
    """The finished run in ``folder``, for a network to start from.

    Args:
        folder: of the run.
        net: spec of that network, if it is not to be the run's own.

    Raises:
        UserError: when there is no run, it is not finished or has lost its weights, or has another net.
    """
    run = runs.read(folder)
    run.scores()  # refuses what is not finished
    if not (run.folder / runs.WEIGHTS).is_file():
        raise UserError(f"the run in {folder} has lost its {runs.WEIGHTS}; train it again, or name another run.")
    theirs = run.record.plan.net
    if net is not None and nets.canonical(net) != nets.canonical(theirs):
        raise UserError(
            f"net={net} cannot start from the run in {folder}, whose net is {theirs}; "
            "leave net out, or name another run."
        )
    return run


def digest(run: runs.Run) -> str:
    """The first 16 digits of the SHA-256 of the run's weights."""
    return hashlib.sha256((run.folder / runs.WEIGHTS).read_bytes()).hexdigest()[:16]


def stages(run: runs.Run, inputs: Inputs) -> dict[str, Tensor]:
    """State of the run's stages, batch-norm buffers included: for a network that takes such inputs.

    Raises:
        UserError: when the run learned from other inputs.
    """
    known = run.inputs()
    if known is not None:
        kind, ours = known.info.kind, inputs.info
        if kind != ours.kind:
            raise UserError(
                f"the run in {run.folder} was trained on inputs of kind '{kind}', but {ours.name} is of kind "
                f"'{ours.kind}'; start from a run on such inputs."
            )
        for name in MEANINGS:
            then, now = ((one.encoding or {}).get(name) for one in (known, inputs))
            if then and now and then != now:
                raise UserError(
                    f"the run in {run.folder} was trained on other {name} than {ours.name} has, so its stages "
                    "mean nothing here; start from a run on the same."
                )
    return {name.removeprefix(STAGES): value for name, value in run.weights().items() if name.startswith(STAGES)}


def begin(net: Net, state: dict[str, Tensor], whence: Path | str) -> None:
    """Give the stages of ``net`` that state; its head, and what it knows of targets, stay as they are.

    Args:
        net: is changed.
        state: of stages (see :func:`stages`).
        whence: the folder it comes from, for the message.

    Raises:
        UserError: when it is the state of other stages.

    >>> import torch
    >>> from longcut.data import Info
    >>> ours, theirs = (nets.build("mlp:hidden=8", Info("toy", (4,), classes)) for classes in (2, 5))
    >>> begin(ours, theirs.stages.state_dict(), "runs/toy")
    >>> torch.equal(ours.features(torch.ones(1, 4)), theirs.features(torch.ones(1, 4)))
    True
    """
    own = {name: tuple(value.shape) for name, value in net.stages.state_dict().items()}
    other = {name: tuple(value.shape) for name, value in state.items()}
    for name in {**own, **other}:
        if own.get(name) != other.get(name):
            raise UserError(
                f"the stages of the run in {whence} do not fit: {name} is {other.get(name, 'missing')} there and "
                f"{own.get(name, 'missing')} here; start from a run of the same net on inputs alike."
            )
    net.stages.load_state_dict(state)


def pretrained(plan: Plan, inputs: Inputs) -> dict[str, Tensor] | None:
    """State of the stages that the planned run starts from; None where it starts from random ones.

    Raises:
        UserError: as :func:`source` and :func:`stages` say, or when the weights are others than when it was planned.
    """
    if not plan.init:
        return None
    run = source(plan.source, plan.net)
    if digest(run) != plan.init_weights:
        raise UserError(f"the weights in {plan.source} have changed since the run was planned; plan it again.")
    return stages(run, inputs)
