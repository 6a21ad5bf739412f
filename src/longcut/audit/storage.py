"""How samples and models lie in memory while an audit trains: no larger and no slower than need be."""

from __future__ import annotations

import dataclasses

import torch

from longcut.audit.base import View
from longcut.data import Dataset
from longcut.methods import Method

__all__ = ["compact", "laid_out"]

COPIED = 1 << 28  # bytes of inputs, at most, that are copied from a larger storage


def compact(view: View) -> View:
    """The audited samples in a storage of their own, where they are some of many: models remember whom they saw."""

    def alone(data: Dataset | None) -> Dataset | None:
        if data is None or len(data) == data.info.n_stored or len(data) * data.x[0].nbytes > COPIED:
            return data
        rows, index = data.index.unique(return_inverse=True)
        info = dataclasses.replace(data.info, n_stored=len(rows))
        views = None if data.views is None else data.views[rows]
        return dataclasses.replace(
            data, x=data.x[rows], views=views, index=index, info=info, source=None, pictures=None
        )

    data = alone(view.data)
    assert data is not None
    return dataclasses.replace(view, data=data, original=alone(view.original))


def laid_out(model: Method) -> Method:
    """The model with the channels of its convolutions side by side, by which a CPU is a quarter faster."""
    if len(model.info.shape) == 3:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model
