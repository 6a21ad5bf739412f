"""The data set: a :class:`Dataset` is columns over one storage, and :class:`Splits` are its three parts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from longcut.data import checks
from longcut.data.batch import Batch, Info, as_input, to_device
from longcut.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from longcut.sources import Columns, Source

__all__ = ["COLUMNS", "Dataset", "Splits", "usual_attribute"]

COLUMNS = ("index", "label", "attribute", "memberships", "guessed")  # of a data set, one entry for each sample


@dataclass(frozen=True)
class Dataset:
    """Samples as rows of a storage tensor, with their label and (if known) their attribute.

    Build one with :meth:`of`, which checks what it is given.

    Attributes:
        x: the storage, in memory or memory-mapped: uint8 images, float tables or token ids. Row ``i``
            belongs to the sample whose index is ``i``.
        index: which stored samples this data set holds ``(n,)``; repeats are allowed.
        label: ``(n,)`` class ids, or ``(n, width)`` float targets.
        attribute: ``(n,)``, -1 where it is not known; None where it is known of nobody.
        info: names, sizes and kinds.
        source: where the stored samples come from, for data that was read from files with columns of names.
        memberships: ``(n, A)`` bool or None: to which of A groups that may overlap each sample belongs, to any number
            of them. They are for evaluation; no method sees them.
        pictures: uint8 ``(n_stored, C, H, W)`` or None: small pictures of the stored samples to show, where ``x`` holds
            features of images in place of the images.
        guessed: ``(n,)`` bool or None: whose attribute was not known and is a guess (data set ``spread``).
        views: ``(n_stored, V, …)`` or None: other views of the stored samples, such as features of mirrored images. A
            net that learns is shown a sample or one of its views, by lot (where a method draws others, the samples).
    """

    x: Tensor
    index: Tensor
    label: Tensor
    attribute: Tensor | None
    info: Info
    source: Source | None = None
    memberships: Tensor | None = None
    pictures: Tensor | None = None
    guessed: Tensor | None = None
    views: Tensor | None = None

    @classmethod
    def of(
        cls,
        x: Tensor | np.ndarray,
        label: Any,
        attribute: Any = None,
        *,
        memberships: Any = None,
        name: str = "data",
        **info: Any,
    ) -> Dataset:
        """A checked data set of all rows of ``x``.

        Args:
            x: ``(n, ...)`` tensor or array, possibly memory-mapped. uint8 ``(n, C, H, W)`` is taken as images, other
                whole numbers as a table like floats (which are images, with four axes), or with ``kind="tokens"`` as
                token ids, of which 0 is padding.
            label: ``(n,)`` integers 0…C−1, or floats for regression.
            attribute: ``(n,)`` integers 0…A−1, and -1 where it is not known; or None.
            memberships: ``(n, A)`` True where the sample belongs to the group, or None; groups may overlap.
            name: what the data is called.
            **info: overrides for :class:`Info` fields, such as ``class_names``.

        Raises:
            UserError: on unequal lengths, columns of another shape, labels that are not 0…C−1 (all of them, unless
                ``n_classes`` says how many there are) or one 1 among zeros, values that are not finite, images whose
                colours come last, or whole numbers so large that they would become others.

        >>> Dataset.of(torch.rand(4, 2), [0, 1, 1, 0]).info.n_classes
        2
        """
        storage = checks.as_tensor(x)
        if storage.ndim < 2 or not len(storage):
            raise UserError(
                f"{name}: x has shape {tuple(storage.shape)}; give one row per sample, (n, …), and at least one."
            )
        labels = checks.column(name, "label", label, len(storage))
        attributes = None if attribute is None else checks.column(name, "attribute", attribute, len(storage))
        task = "regression" if labels.is_floating_point() else "classification"
        if task == "classification":
            labels, n_classes = checks.ids(name, "label", labels, info.pop("n_classes", None))
        else:
            labels = checks.targets(name, labels)
            n_classes = labels.shape[1]
        n_attributes = 0
        if attributes is not None:
            attributes, n_attributes = checks.ids(name, "attribute", attributes, info.pop("n_attributes", None))
        members = None if memberships is None else checks.members(name, memberships, len(storage))
        storage, kind = checks.stored(name, storage, info.pop("kind", None))
        fields: dict[str, Any] = {
            "n_classes": n_classes,
            "n_attributes": n_attributes,
            "n_stored": len(storage),
            "task": task,
            "kind": kind,
            "class_names": tuple(map(str, range(n_classes))),
            "attribute_names": tuple(map(str, range(n_attributes))),
            "partial": attributes is not None and bool((attributes < 0).any()),
            "vocabulary": int(storage.max()) + 1 if kind == "tokens" else 0,
            "membership_names": () if members is None else tuple(map(str, range(members.shape[1]))),
            **info,
        }
        about = Info(name=name, shape=tuple(storage.shape[1:]), **fields)
        return cls(storage, torch.arange(len(storage)), labels, attributes, about, memberships=members)

    @classmethod
    def from_folder(cls, path: Path | str, **options: Any) -> Dataset:
        """All images of a folder ``class/*.jpg`` or ``split/class/*.jpg``.

        Images are decoded once, into a memory-mapped cache. Cut the data set with :meth:`Splits.of`.

        Args:
            path: of the folder.
            **options: those of :func:`longcut.sources.folder.read_folder`, such as ``size``; each is declared in
                :mod:`longcut.sources.options`.

        Raises:
            UserError: as the reader says.

        Example::

            splits = Splits.of(Dataset.from_folder("photos", size=64))
        """
        from longcut.sources.folder import read_folder

        return cls.from_columns(read_folder(path, **options))

    @classmethod
    def from_table(cls, table: Path | str | pd.DataFrame, *, label: str, **options: Any) -> Dataset:
        """All rows of a CSV, TSV or Parquet file or a DataFrame: feature columns, paths of images, or text.

        Args:
            table: the file or frame.
            label: column with the label.
            **options: those of :func:`longcut.sources.table.read_table`, such as ``attribute``; each is declared in
                :mod:`longcut.sources.options`.

        Raises:
            UserError: as the reader says.

        >>> import pandas as pd
        >>> frame = pd.DataFrame({"age": range(20), "sex": ["f", "m"] * 10, "rich": [0, 1, 1, 0] * 5})
        >>> data = Dataset.from_table(frame, label="rich", attribute="sex")
        >>> len(data), data.info.class_names, data.info.attribute_names
        (20, ('0', '1'), ('f', 'm'))
        """
        from longcut.sources.table import read_table

        return cls.from_columns(read_table(table, label=label, **options))

    @classmethod
    def from_arrays(cls, path: Path | str, **options: Any) -> Dataset:
        """All samples of an ``.npz`` or ``.safetensors`` file.

        Args:
            path: of the file.
            **options: those of :func:`longcut.sources.arrays.read_arrays`, such as ``attribute``; each is declared in
                :mod:`longcut.sources.options`.

        Raises:
            UserError: as the reader says.

        Example::

            splits = Splits.of(Dataset.from_arrays("embeddings.npz", attribute="hospital"))
        """
        from longcut.sources.arrays import read_arrays

        return cls.from_columns(read_arrays(path, **options))

    @classmethod
    def from_hub(cls, name: str, **options: Any) -> Dataset:
        """All samples of a Hugging Face data set, by its name on the hub or its folder here.

        Args:
            name: such as ``"grodino/waterbirds"``, or a path.
            **options: those of :func:`longcut.sources.hub.read_hub`, such as ``image``; each is declared in
                :mod:`longcut.sources.options`.

        Raises:
            UserError: as the reader says.

        Example::

            splits = Splits.of(Dataset.from_hub("grodino/waterbirds", image="image", attribute="place", size=72))
        """
        from longcut.sources.hub import read_hub

        return cls.from_columns(read_hub(name, **options))

    @classmethod
    def from_shards(cls, path: str, **options: Any) -> Dataset:
        """All samples of tar, Parquet or Arrow files, here or at an address, or of a Hugging Face stream.

        Args:
            path: a folder, a pattern such as ``train-{000..099}.tar``, an address such as ``s3://bucket/photos``, or
                ``hf:NAME``.
            **options: those of :func:`longcut.sources.shards.read_shards`, such as ``size``; each is declared in
                :mod:`longcut.sources.options`.

        Raises:
            UserError: as the reader says.

        Example::

            splits = Splits.of(Dataset.from_shards("photos/{000..099}.tar", label="cls", size=64))
        """
        from longcut.sources.shards import read_shards

        return cls.from_columns(read_shards(path, **options))

    @classmethod
    def from_columns(cls, columns: Columns) -> Dataset:
        """The data set of what a reader of :mod:`longcut.sources` found; samples without a label get label 0."""
        source, label = columns.source, columns.label
        known: dict[str, Any] = {}
        if columns.vocabulary:
            known = {"kind": "tokens", "vocabulary": columns.vocabulary}
        if columns.class_names:
            known |= {"n_classes": len(columns.class_names), "class_names": columns.class_names}
        if columns.attribute is not None:
            known |= {"n_attributes": len(columns.attribute_names), "attribute_names": columns.attribute_names}
        if label is None:
            label = torch.zeros(len(columns.x), dtype=torch.long if columns.class_names else torch.float32)
        data = cls.of(columns.x, label, columns.attribute, name=source.name, **known)
        if data.attribute is not None and data.info.task == "classification":
            train = data.take(torch.from_numpy(source.part == 0))
            usual = usual_attribute(train if train.known.any() else data)
            data = dataclasses.replace(data, info=dataclasses.replace(data.info, aligned=usual))
        info = dataclasses.replace(data.info, encoder=columns.encoder)
        return dataclasses.replace(data, source=source, info=info)

    def __len__(self) -> int:
        return len(self.index)

    def take(self, rows: Tensor) -> Dataset:
        """The samples at ``rows`` (positions, or a boolean mask); their index stays, nothing is copied."""
        known = {name: getattr(self, name) for name in COLUMNS}
        taken = {name: column[rows] for name, column in known.items() if column is not None}
        return dataclasses.replace(self, **taken)

    def gather(self, rows: Tensor, device: torch.device | str = "cpu") -> Tensor:
        """Inputs of the samples at positions ``rows``, on ``device``; uint8 until they are there."""
        stored = self.x.index_select(0, self.index[rows.cpu()])  # row by row, five times as fast as indexing
        return as_input(to_device(stored, device))

    def seen(self, rows: Tensor) -> Tensor | None:
        """Images of the samples at positions ``rows``, floats in [0, 1] ``(k, C, H, W)``; None where there are none."""
        if self.pictures is not None:
            return as_input(self.pictures.index_select(0, self.index[rows]))
        return self.gather(rows) if self.info.kind == "image" and len(self.info.shape) == 3 else None

    def viewed(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """Inputs of the samples at ``index``, each as it is or as one of its views, as likely ``(k, …)``.

        >>> data = dataclasses.replace(Dataset.of(torch.zeros(2, 1), [0, 1]), views=torch.ones(2, 3, 1))
        >>> data.viewed(torch.tensor([0, 1, 1, 1]), torch.Generator().manual_seed(0)).flatten()
        tensor([0., 1., 1., 0.])
        """
        assert self.views is not None
        where = index.cpu()
        drawn = torch.randint(1 + self.views.shape[1], (len(where),), generator=generator, device=generator.device)
        drawn = drawn.cpu()
        other = self.views[where, (drawn - 1).clamp_min(0)]
        own = (drawn == 0).view(-1, *[1] * (other.ndim - 1))
        return as_input(to_device(torch.where(own, self.x.index_select(0, where), other), index.device))

    def batch(self, rows: Tensor, device: torch.device | str = "cpu") -> Batch:
        """The samples at positions ``rows`` as a :class:`Batch` on ``device``."""
        return Batch(
            x=self.gather(rows, device),
            label=self.label[rows].to(device),
            attribute=None if self.attribute is None else self.attribute[rows].to(device),
            index=self.index[rows].to(device),
        )

    def batches(self, size: int, device: torch.device | str = "cpu") -> Iterator[Batch]:
        """All samples in order, ``size`` at a time."""
        for rows in torch.arange(len(self)).split(size):
            yield self.batch(rows, device)

    @property
    def known(self) -> Tensor:
        """Whose attribute is known, or guessed ``(n,)``."""
        return torch.zeros(len(self), dtype=torch.bool) if self.attribute is None else self.attribute >= 0

    def unguessed(self) -> Dataset:
        """The same samples with the attributes that are known alone, to be judged by."""
        if self.attribute is None or self.guessed is None:
            return self
        return dataclasses.replace(self, attribute=self.attribute.masked_fill(self.guessed, -1), guessed=None)

    @property
    def group(self) -> Tensor:
        """``label * n_attributes + attribute`` of each sample ``(n,)``; in regression, its attribute.

        A sample whose attribute is not known belongs to no group, which is -1.

        Raises:
            UserError: when the attribute is not known.
        """
        if self.attribute is None and self.memberships is not None:
            raise UserError(
                f"{self.info.name} has overlapping groups, which are for evaluation alone, but a method needs a "
                "partition; pass attribute=… to Dataset.of, one value per sample."
            )
        if self.attribute is None:
            raise UserError(
                f"{self.info.name} has no attribute, so its samples have no groups; pass attribute=… to Dataset.of."
            )
        return self.info.groups(self.label, self.attribute)

    @property
    def conflicting(self) -> Tensor:
        """True where a sample is known to contradict the shortcut ``(n,)``; some attributes must be known."""
        _ = self.group  # refuses without an attribute, with the right sentence
        return self.info.conflicts(self.label, cast(Tensor, self.attribute))


@dataclass(frozen=True)
class Splits:
    """The three parts of the data of a run: to train on, to choose an epoch by (may be None), and to test on."""

    train: Dataset
    valid: Dataset | None
    test: Dataset

    @classmethod
    def of(cls, data: Dataset) -> Splits:
        """The parts of data that was read from files: its own, or those that were drawn when it was read.

        Raises:
            UserError: when the data does not say which sample belongs to which part.
        """
        if data.source is None:
            raise UserError(
                f"{data.info.name} does not say which sample belongs to which part; cut it with longcut.data.split."
            )
        part = torch.from_numpy(data.source.part)[data.index]
        train, valid, test = (data.take(part == number) for number in range(3))
        return cls(train, valid if len(valid) else None, test)

    @property
    def info(self) -> Info:
        return self.train.info

    @property
    def whole(self) -> Dataset:
        """All samples of the three parts, which share their storage, in its order; without views, which few have."""
        parts = [part for part in (self.train, self.valid, self.test) if part is not None]
        order = torch.cat([part.index for part in parts]).argsort()
        columns: dict[str, Any] = {}
        for name in COLUMNS:
            known = [column for part in parts if (column := getattr(part, name)) is not None]
            columns[name] = torch.cat(known)[order] if len(known) == len(parts) else None
        return dataclasses.replace(self.train, **columns, views=None)


def usual_attribute(data: Dataset) -> tuple[int, ...]:
    """For each label, the attribute value that goes with it: the one seen most in excess of independence.

    The excess is the standardised residual of the cell, ``(observed - expected) / sqrt(expected)``: with a label that
    nearly all samples of either attribute have, the commonest attribute would go with every label. Samples whose
    attribute is not known do not count.

    >>> data = Dataset.of(torch.rand(8, 2), [0, 0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 1, 0, 0, 1])
    >>> usual_attribute(data)
    (0, 1)
    """
    info = data.info
    group = data.group
    cells = torch.bincount(group[group >= 0], minlength=info.n_groups).view(info.n_classes, -1).double()
    expected = cells.sum(1, keepdim=True) * cells.sum(0) / cells.sum().clamp_min(1)
    return tuple(((cells - expected) / expected.clamp_min(1e-9).sqrt()).argmax(1).tolist())
