"""How samples lie in memory while an audit trains: no larger than need be."""

from __future__ import annotations

import dataclasses

from longcut.audit.base import View
from longcut.data import Dataset

__all__ = ["compact"]

COPIED = 1 << 28  # bytes of inputs, at most, that are copied from a larger storage


def compact(view: View) -> View:
    """The audited samples in a storage of their own, where they are some of many: models remember whom they saw."""

    def alone(data: Dataset | None) -> Dataset | None:
        if data is None or len(data) == data.info.n_stored or len(data) * data.x[0].nbytes > COPIED:
            return data
        rows, index = data.index.unique(return_inverse=True)
        info = dataclasses.replace(data.info, n_stored=len(rows))
        return dataclasses.replace(data, x=data.x[rows], index=index, info=info, source=None, pictures=None)

    data = alone(view.data)
    assert data is not None
    return dataclasses.replace(view, data=data, original=alone(view.original))
