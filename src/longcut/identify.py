"""Who does an ordinarily trained net get wrong, and when? One record that JTT, JM1, UMIX, EIIL and the audit read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from longcut.context import Context, Observer
from longcut.data import Batch, Dataset, require_index
from longcut.door import Door
from longcut.errors import UserError
from longcut.predict import predict

if TYPE_CHECKING:
    from longcut.methods.base import Method

__all__ = ["NAME", "Identification", "Recorder", "Trajectory", "columns", "load", "margins", "quality"]

NAME = "identification.safetensors"  # in a run folder
AT_ONCE = 32  # batches: noting each by itself would cost a small net a twentieth of its time
ROWS = 4096  # whose other logits are looked at at a time


def margins(logits: Tensor, label: Tensor) -> Tensor:
    """The logit of the label minus the largest other one ``(n,)``.

    >>> margins(torch.tensor([[2.0, 0.5], [2.0, 0.5]]), torch.tensor([0, 1]))
    tensor([ 1.5000, -1.5000])
    """
    own = logits.gather(1, label[:, None])[:, 0]
    others = (
        some.scatter(1, theirs[:, None], -torch.inf).amax(1)
        for some, theirs in zip(logits.split(ROWS), label.split(ROWS), strict=True)
    )
    return own - torch.cat(list(others))


class Trajectory(nn.Module):
    """Per epoch and stored sample: whether the prediction was right, the loss, and the margin.

    The margin is the logit of the label minus the largest other one. All are kept in half precision, and are nan in an
    epoch that did not see the sample. Of a regression there is the loss alone, in single precision, as it has units.
    The record is part of the module's state, so that it survives an interruption.

    >>> seen = Trajectory()
    >>> seen.begin(epochs=1, n_stored=3)
    >>> seen.note(0, torch.tensor([0, 2]), torch.tensor([1, 0]), torch.tensor([[0.0, 2.0], [1.0, 3.0]]), torch.zeros(2))
    >>> seen.errors()
    tensor([False, False,  True])
    """

    def __init__(self) -> None:
        super().__init__()
        self.record = torch.zeros(3, 0, 0, dtype=torch.float16)

    def begin(self, epochs: int, n_stored: int, dtype: torch.dtype = torch.float16) -> None:
        """Forget everything and make room."""
        self.record = torch.full((3, epochs, n_stored), torch.nan, dtype=dtype)

    def get_extra_state(self) -> Tensor:
        return self.record

    def set_extra_state(self, state: Tensor) -> None:
        self.record = state

    @property
    def correct(self) -> Tensor:
        """``(epochs, n_stored)``: 1 where the prediction was right, 0 where not."""
        return self.record[0]

    @property
    def loss(self) -> Tensor:
        """``(epochs, n_stored)``, at least 0."""
        return self.record[1]

    @property
    def margin(self) -> Tensor:
        """``(epochs, n_stored)``, above 0 where the prediction was right."""
        return self.record[2]

    @torch.no_grad()
    def note(self, epoch: int, index: Tensor, label: Tensor, outputs: Tensor, loss: Tensor) -> None:
        """Record an epoch's outputs ``(n, C)`` and losses ``(n,)`` of the samples ``index``."""
        self.record = self.record.to(index.device)
        if label.is_floating_point():
            self.loss[epoch, index] = loss.to(self.record.dtype)
            return
        margin = margins(outputs, label)
        rows = torch.stack([(outputs.argmax(1) == label).to(margin.dtype), loss, margin])
        largest = torch.finfo(torch.float16).max
        self.record[:, epoch, index] = rows.clamp(-largest, largest).half()

    def errors(self, epoch: int = -1, worst: float | None = None) -> Tensor:
        """Who was seen and wrong in an epoch ``(n_stored,)``: JTT's error set, at the last epoch by default.

        Args:
            epoch: which.
            worst: in place of those who were wrong, the share of those seen that lost most, at least one.
        """
        if worst is None:
            return self.correct[epoch] == 0
        loss = self.loss[epoch].nan_to_num(-torch.inf)
        seen = int((loss > -torch.inf).sum())
        chosen = torch.zeros_like(loss, dtype=torch.bool)
        chosen[loss.argsort(descending=True, stable=True)[: min(seen, max(1, round(worst * seen)))]] = True
        return chosen

    def uncertainty(self, start: int, stop: int, over: int | None = None, worst: float | None = None) -> Tensor:
        """UMIX's u ``(n_stored,)``: in how many of the epochs ``start … stop − 1`` a sample was wrong, as a share.

        Args:
            start, stop: epochs, from 0.
            over: what the count is divided by, if not the number of epochs.
            worst: see :meth:`errors`.
        """
        wrong = torch.stack([self.errors(epoch, worst) for epoch in range(start, stop)]).sum(0)
        return wrong / (over or stop - start)


class Recorder(Observer):
    """Fills a trajectory while a net is trained.

    Args:
        trajectory: what is filled.
        how: ``"online"``, by the outputs that the method shows in training; ``"evaluated"``, by a pass of its own after
            each epoch, with frozen weights and in evaluation mode.
    """

    def __init__(self, trajectory: Trajectory, how: Literal["online", "evaluated"]) -> None:
        self.trajectory, self.how = trajectory, how
        self.waiting: list[tuple[Tensor, ...]] = []

    def on_start(self, method: Method, epochs: int) -> None:
        dtype = torch.float16 if method.info.task == "classification" else torch.float32
        self.trajectory.begin(epochs, method.info.n_stored, dtype)

    def on_outputs(self, context: Context, batch: Batch, outputs: Tensor, losses: Tensor) -> None:
        if self.how == "online":
            self.waiting.append((require_index(batch), batch.label, outputs, losses))
            if len(self.waiting) == AT_ONCE:
                self._note(context.epoch)

    def on_trained(self, method: Method) -> None:
        context = method.context
        self._note(context.epoch)
        if self.how == "evaluated":
            data = context.data
            outputs = predict(method, data, next(method.parameters()).device)
            losses = method.per_sample_loss(outputs, data.label)
            self.trajectory.note(context.epoch, data.index, data.label, outputs, losses)

    def state(self) -> dict[str, Any]:
        return {"record": self.trajectory.record}

    def restore(self, state: dict[str, Any]) -> None:
        self.trajectory.record = state["record"]

    def _note(self, epoch: int) -> None:
        if self.waiting:
            self.trajectory.note(epoch, *map(torch.cat, zip(*self.waiting, strict=True)))
            self.waiting = []


@dataclass(frozen=True)
class Identification:
    """What a method that looks for the minority leaves behind.

    Attributes:
        chosen: who is taken for the minority ``(n_stored,)`` boolean; None where nobody is chosen.
        trajectory: the record behind it; None where there is none.
        shortcut: the value of the shortcut that each sample is taken to have ``(n_stored,)``; None where nobody looked.
        weights: how often each sample is shown, or how much it counts ``(n_stored,)``, with mean 1 over the training
            samples; None where none were worked out.
    """

    chosen: Tensor | None = None
    trajectory: Trajectory | None = None
    shortcut: Tensor | None = None
    weights: Tensor | None = None


def quality(chosen: Tensor, conflicting: Tensor) -> dict[str, float]:
    """How well a chosen set finds the samples that contradict the shortcut (JM1, Table 4: S, NS, P, R).

    Args:
        chosen, conflicting: of the training samples ``(n,)`` boolean.

    Returns:
        ``conflicting`` and ``aligned``, how many of each were chosen, ``precision`` and ``recall``; nan where nothing
        was chosen or nothing contradicts.

    >>> quality(torch.tensor([True, True, False, False]), torch.tensor([True, False, True, True]))["recall"]
    0.3333333333333333
    """
    hit, size, total = int((chosen & conflicting).sum()), int(chosen.sum()), int(conflicting.sum())
    return {
        "conflicting": hit,
        "aligned": size - hit,
        "precision": hit / size if size else float("nan"),
        "recall": hit / total if total else float("nan"),
    }


def columns(found: Identification, train: Dataset) -> dict[str, Tensor]:
    """What is kept of an identification in a run folder: tensors by name, with the samples they are about.

    The attribute is -1 where it is not known, and left out where it is known of nobody.
    """
    kept = {"index": train.index, "label": train.label}
    train = train.unguessed()
    if train.attribute is not None and train.known.any():
        kept["attribute"] = train.attribute
    for name in ("chosen", "shortcut", "weights"):
        if (column := getattr(found, name)) is not None:
            kept[name] = column
    if found.trajectory is not None:
        kept |= {name: getattr(found.trajectory, name) for name in ("correct", "loss", "margin")}
    return kept


def form(found: dict[str, Tensor]) -> None:
    """Refuse what :func:`columns` never makes.

    Raises:
        KeyError, ValueError: in this case.
    """
    index, label = found["index"], found["label"]
    sides = [found[name] for name in ("chosen", "shortcut", "weights") if name in found]
    traces = [found[name] for name in ("correct", "loss", "margin") if name in found]
    known = {tensor.shape[-1] for tensor in (*sides, *traces)}
    good = (
        index.ndim == 1
        and index.dtype == torch.int64
        and len(label) == len(index)
        and found.get("attribute", index).shape == index.shape
        and len(known) < 2
        and all(tensor.ndim == 1 for tensor in sides)
        and all(tensor.ndim == 2 and tensor.is_floating_point() for tensor in traces)
        and len({tensor.shape for tensor in traces}) < 2
        and (not len(index) or (int(index.min()) >= 0 and all(int(index.max()) < n for n in known)))
    )
    if not good:
        raise ValueError("a column is not what it should be")


def load(folder: Path | str, train: Dataset) -> Tensor:
    """The record in a run folder: correct, loss and margin as one tensor ``(3, epochs, n_stored)``.

    Args:
        folder: of a finished run.
        train: the training samples that it must be about.

    Raises:
        UserError: when there is none, or it is about other samples.
    """
    folder = Path(folder)
    found: dict[str, Tensor] = {}
    if (folder / NAME).exists():
        found = Door(folder, "delete the folder and run again").beside("run.json").tensors(NAME, form)[0]
    if "loss" not in found:
        raise UserError(
            f"{folder} has no record of who was wrong; name the folder of a run with one, such as of erm:record=online."
        )
    ours, theirs = train.index.argsort(), found["index"].argsort()
    same = len(ours) == len(theirs) and all(
        torch.equal(getattr(train, name)[ours], found[name][theirs]) for name in ("index", "label")
    )
    if not same:
        raise UserError(f"the record in {folder} is about other training samples than {train.info.name}; make it anew.")
    return torch.stack([found[name] for name in ("correct", "loss", "margin")])
