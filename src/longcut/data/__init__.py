"""Data: a :class:`Dataset` of columns that remember who they are, batches of it, and what is drawn from it.

A :class:`Dataset` is a set of rows of one storage tensor ``x``. ``index`` says who a
sample is and is its row in the storage, so subsetting, repeating and relabelling never copy an image,
memory-mapped storage behaves exactly like storage in memory, and per-sample memories (LfF's moving
averages, SelecMix's embedding bank) are plain tensors with one row per stored sample.

Balancing, subsampling and label noise are operations ``Dataset -> Dataset``.
"""

from longcut.data.batch import Batch, Info, Rows, as_input, require_index
from longcut.data.core import COLUMNS, Dataset, Splits, usual_attribute
from longcut.data.episodes import Episodes, episodes
from longcut.data.sample import (
    balance,
    draw,
    favour_rare,
    generator,
    in_turns,
    label_noise,
    pools,
    ranks,
    split,
    subsample,
    undersample,
    upweight,
)

__all__ = [
    "COLUMNS",
    "Batch",
    "Dataset",
    "Episodes",
    "Info",
    "Rows",
    "Splits",
    "as_input",
    "balance",
    "draw",
    "episodes",
    "favour_rare",
    "generator",
    "in_turns",
    "label_noise",
    "pools",
    "ranks",
    "require_index",
    "split",
    "subsample",
    "undersample",
    "upweight",
    "usual_attribute",
]
