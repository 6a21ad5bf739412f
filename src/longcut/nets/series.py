"""Nets for series: windows ``(n, length, width)`` of several series side by side, from which the next values follow."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from longcut.data import Info
from longcut.errors import UserError
from longcut.nets.net import Dropout, Net

__all__ = ["AutoRegression", "highway", "lstnet"]

WINDOW = 24
Window = Annotated[int, Field(ge=1, description="last values of a series that its linear prediction sees")]


def need_series(info: Info, name: str, least: int = 1) -> tuple[int, int]:
    """Length and width of windows.

    Raises:
        UserError: for other data, naming a net that takes it, and for windows shorter than ``least``.
    """
    if len(info.shape) != 2:
        other = "tokens" if info.kind == "tokens" else "mlp"
        raise UserError(
            f"net '{name}' needs windows of series (length, width), but {info.name} has shape {info.shape}; "
            f"use net '{other}'."
        )
    if info.shape[0] < least:
        raise UserError(
            f"net '{name}' needs windows of at least {least} steps, but {info.name} has {info.shape[0]}; use net 'mlp'."
        )
    return info.shape[0], info.shape[1]


class AutoRegression(nn.Module):
    """The same linear function of the last values for each series, ``(n, length, width)`` to ``(n, width)``.

    Args:
        window: how many values.
    """

    def __init__(self, window: int) -> None:
        super().__init__()
        self.window, self.linear = window, nn.Linear(window, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x[:, -self.window :].transpose(1, 2)).squeeze(2)

    def repeat_last(self) -> None:
        """Start from the forecast that nothing changes."""
        with torch.no_grad():
            self.linear.weight.zero_()[0, -1] = 1
            self.linear.bias.zero_()


def _pass_on(head: nn.Linear, columns: int) -> None:
    """Let outputs start with a feature each added, the last ones."""
    with torch.no_grad():
        head.weight[:, -columns:] = torch.eye(columns)


def highway(info: Info, outputs: int, *, window: Window = WINDOW) -> Net:
    """A linear autoregression of each series, and a linear layer over all; it starts from "nothing changes".

    Where series wander, as rates of exchange do, that is hard to beat.
    """
    length, width = need_series(info, "highway")
    linear, head = AutoRegression(min(window, length)), nn.Linear(width, outputs)
    linear.repeat_last()
    if outputs == width:
        with torch.no_grad():
            head.bias.zero_()
        _pass_on(head, width)
    return Net([linear], head)


class _Convolved(nn.Module):
    """A convolution over time that sees all series, and behind it, as they are, the values that the highway needs."""

    def __init__(self, width: int, channels: int, kernel: int, window: int, dropout: float) -> None:
        super().__init__()
        self.window = window
        self.conv = nn.Sequential(nn.Conv1d(width, channels, kernel), nn.ReLU(), nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        """``(n, length, width)`` to ``(n, channels * (length - kernel + 1) + window * width)``."""
        return torch.cat([self.conv(x.transpose(1, 2)).flatten(1), x[:, -self.window :].flatten(1)], 1)


class _Recurrent(nn.Module):
    """Two recurrent layers, one of which looks back in strides, and the highway beside them."""

    def __init__(
        self,
        width: int,
        channels: int,
        hidden: int,
        skip: int,
        skip_hidden: int,
        steps: int,
        window: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.width, self.channels, self.skip, self.steps = width, channels, skip, steps
        self.gru = nn.GRU(channels, hidden, batch_first=True)
        self.skip_gru = nn.GRU(channels, skip_hidden, batch_first=True)
        self.highway, self.dropout = AutoRegression(window), nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """What :class:`_Convolved` returns to ``(n, hidden + skip * skip_hidden + width)``."""
        n, size = len(x), self.channels * self.steps
        seen, last = x[:, :size].view(n, self.channels, self.steps), x[:, size:].view(n, -1, self.width)
        at_end = self.gru(seen.transpose(1, 2))[1][0]
        times = self.steps // self.skip
        strided = seen[:, :, -times * self.skip :].reshape(n, self.channels, times, self.skip)
        strided = strided.permute(0, 3, 2, 1).reshape(n * self.skip, times, self.channels)
        every = self.skip_gru(strided)[1][0].view(n, -1)
        return torch.cat([self.dropout(at_end), self.dropout(every), self.highway(last)], 1)


def lstnet(
    info: Info,
    outputs: int,
    *,
    channels: Annotated[int, Field(ge=1, description="of the convolution over time")] = 50,
    hidden: Annotated[int, Field(ge=1, description="units of the recurrent layer")] = 50,
    kernel: Annotated[int, Field(ge=1, description="steps that the convolution sees")] = 6,
    skip: Annotated[int, Field(ge=1, description="steps between the values of the second recurrent layer")] = 24,
    skip_hidden: Annotated[int, Field(ge=1, description="units of the second recurrent layer")] = 5,
    window: Window = WINDOW,
    dropout: Dropout = 0.2,
) -> Net:
    """LSTNet (Lai et al., SIGIR 2018): a convolution, two recurrent layers, and a linear highway beside them.

    The last columns of the features are what the highway predicts, and the head starts by adding them. In the paper
    they are added for good; here the head may learn to weigh them.
    """
    length, width = need_series(info, "lstnet", kernel + skip - 1)
    window, steps = min(window, length), length - kernel + 1
    first = _Convolved(width, channels, kernel, window, dropout)
    then = _Recurrent(width, channels, hidden, skip, skip_hidden, steps, window, dropout)
    head = nn.Linear(hidden + skip * skip_hidden + width, outputs)
    if outputs == width:
        _pass_on(head, width)
    return Net([first, then], head)
