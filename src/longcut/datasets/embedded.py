"""Images or texts as features of a pretrained net: ``embedded:data=photos,encoder=efficientnet-lite0``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from longcut import encoders
from longcut.data import Dataset, Splits
from longcut.data.checks import as_tensor
from longcut.datasets import DATASETS, ENCODER, load, parse, spec_of
from longcut.encoders import features
from longcut.errors import UserError
from longcut.sources import Progress
from longcut.spec import options_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from longcut.encoders import Encoder

__all__ = ["PICTURES", "embed", "embedded", "encoder_of", "pictured", "stamp"]

PICTURES = 64  # side in pixels of what is shown of images


def embedded(
    *,
    data: Annotated[str | None, Field(description="spec of the data; a comma in it is written %2C")] = None,
    encoder: Annotated[
        str, Field(description="pretrained net, such as efficientnet-lite0 or minilm; a comma in it is written %2C")
    ] = ENCODER,
    views: Annotated[
        int, Field(ge=0, le=100, description="other views of each training image: cut at random, mirrored or not")
    ] = 0,
    seed: int = 0,
    progress: Progress | None = None,
) -> Splits:
    """Images or texts as features of a pretrained net, made once and kept in the cache.

    Labels, attributes and parts are those of the data, and so is what is shown of a sample. Images are decoded from
    their files as large as the net wants them; where data is not read from files, or changes what it reads (CIFAR-10,
    planted cues), it is enlarged from what there is. Of files, small pictures are kept to be shown, 64 pixels wide or
    as large as ``size`` of the data says. Texts are encoded as they are written. Of a pair of texts with features u and
    v, the features are u, v, their absolute difference and their product, as in Conneau et al., "Supervised Learning
    of Universal Sentence Representations from Natural Language Inference Data", EMNLP 2017.

    Args:
        data: spec of it, or a path.
        encoder: spec of the net.
        views: how many other views of each training image are encoded, too. A net that learns is shown an image or one
            of its views, by lot, in each epoch; heads that are fitted in closed form and all that is evaluated see the
            image. Texts have none.
        seed: of the data.
        progress: told how many of how many samples are decoded for the pictures, and then encoded.

    Raises:
        UserError: for data that is neither images nor texts, a net of other inputs, and whatever the data and the net
            refuse.

    Example::

        splits = embedded(data="photos", encoder="efficientnet-lite0")
        splits.train.x.shape  # (n, 1280)
    """
    if data is None:
        raise UserError("data set 'embedded' was not told of what; write embedded:data=…,encoder=….")
    net = encoders.build(encoder)
    return embed(load(pictured(data, net), seed, progress), net, progress, views=views)


def embed(data: Splits, encoder: Encoder, progress: Progress | None = None, *, views: int = 0) -> Splits:
    """Images or texts with the features of a pretrained net in their place.

    Args:
        data: images or texts.
        encoder: the net.
        progress: told how many of how many samples are encoded.
        views: how many other views of each training image.

    Raises:
        UserError: as :func:`embedded` says.
    """
    made: dict[int, Tensor] = {}  # by storage, which parts may share

    def features_of(part: Dataset) -> Dataset:
        storage = id(part.x)
        if storage not in made:
            made[storage] = as_tensor(_features(part, encoder, progress))
        return _with(part, encoder, made[storage])

    valid = None if data.valid is None else features_of(data.valid)
    train, test = features_of(data.train), features_of(data.test)
    return Splits(_viewed(data.train, train, encoder, views, progress) if views else train, valid, test)


def stamp(encoder: Encoder) -> str:
    """What :class:`~longcut.data.Info` keeps of the net that made features."""
    return f"{encoder.name}@{encoder.version}"


def encoder_of(stamped: str, who: str) -> Encoder:
    """The net that made features, by its :func:`stamp`.

    Args:
        stamped: its spec and version.
        who: works on those features.

    Raises:
        UserError: when there is no such net any more, or it is another version.
    """
    spec, _, version = stamped.rpartition("@")
    encoder = encoders.build(spec)
    if encoder.version != version:
        raise UserError(
            f"{who} works on features of '{spec}' with version {version} of its weights and library, and here is "
            f"{encoder.version}; bring the old ones back, or train again."
        )
    return encoder


def pictured(data: str, encoder: Encoder) -> str:
    """The spec of data whose images are read small, where it does not say how large; the net sees the files.

    Shards have no files to look at again, so their images are read as large as the net wants them.
    """
    name, options = parse(data)
    size = next((option for option in options_of(DATASETS[name].function) if option.name == "size"), None)
    side = encoder.resize if name == "shards" and encoder.takes == "image" else PICTURES
    return spec_of(name, options if size is None or size.default is not None else {"size": side, **options})


def _with(data: Dataset, encoder: Encoder, x: Tensor) -> Dataset:
    pictures = data.x if data.info.kind == "image" else None
    info = dataclasses.replace(
        data.info,
        name=f"{data.info.name} ({encoder.name})",
        shape=tuple(x.shape[1:]),
        kind="table",
        vocabulary=0,
        encoder=stamp(encoder),
    )
    return dataclasses.replace(data, x=x, info=info, pictures=pictures)


def _viewed(given: Dataset, train: Dataset, encoder: Encoder, views: int, progress: Progress | None) -> Dataset:
    """``train``, the features of ``given``, with so many views of each of its images."""
    if encoder.takes != "image":
        raise UserError(f"{given.info.name} holds texts, and views are of images; leave views={views} out.")
    source = given.source
    if source is None or source.root is None or source.image is None:
        found = features.views_of_pixels(encoder, given.x[given.index], views, given.info.name, progress)
    else:
        paths = source.rows[source.image].iloc[given.index.numpy()].tolist()
        found = features.views_of_files(encoder, paths, Path(source.root), views, progress)
    if len(given) == len(given.x) and bool((given.index == torch.arange(len(given))).all()):
        return dataclasses.replace(train, views=as_tensor(found))
    stored = torch.zeros(len(given.x), *found.shape[1:])
    stored[given.index] = as_tensor(found)
    return dataclasses.replace(train, views=stored)


def _features(data: Dataset, encoder: Encoder, progress: Progress | None) -> NDArray[Any]:
    """Features of all stored samples."""
    info, source = data.info, data.source
    if info.encoder:
        raise UserError(f"{info.name} are features already; embed the images or texts that they were made from.")
    takes = {"image": "image", "tokens": "text"}.get(info.kind)
    if takes is None or (takes == "image" and len(info.shape) != 3):
        raise UserError(
            f"{info.name} is a table of numbers, and pretrained nets take images or texts; leave it as it is."
        )
    if takes != encoder.takes:
        raise UserError(
            f"{info.name} holds {takes}s, and '{encoder.name}' takes {encoder.takes}s; take a net for {takes}s."
        )
    if takes == "image":
        if source is None or source.root is None or source.image is None:
            return features.of_pixels(encoder, data.x, info.name, progress)
        return features.of_files(encoder, source.rows[source.image].tolist(), Path(source.root), progress)
    if source is None or not source.text:
        raise UserError(
            f"{info.name} holds token ids without the text that they stand for; give a table with the text itself."
        )
    columns = [source.rows[name] for name in source.text]
    texts = [column.astype(object).where(column.notna(), "").map(str).tolist() for column in columns]
    if not source.encoding.get("pairs", False):
        joined = [" ".join(row) for row in zip(*texts, strict=True)]
        return features.of_texts(encoder, joined, info.name, progress)
    u, v = (features.of_texts(encoder, some, info.name, progress) for some in texts)
    return np.concatenate([u, v, np.abs(u - v), u * v], axis=1)
