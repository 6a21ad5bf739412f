"""The panel about where nets look: training images, and over them what speaks for their class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from matplotlib import colormaps
from torch.nn import functional as F

from longcut.report import embed
from longcut.report.base import Page
from longcut.report.pictures import PICTURED, Words, contenders_with
from longcut.report.study import Study
from longcut.report.template import fragment

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["heated", "looks"]

SHOWN = 10  # images of each kind, for each method
HEAT = 0.6  # share of the map in the picture


def looks(study: Study, page: Page) -> Markup | None:
    """Training images under the map of their class, by method; None where no net keeps features in place."""
    found = list(_looks(study, max(1, PICTURED // page.studies)))
    return fragment("study", "looks", study, found) if found else None


def _looks(study: Study, methods: int) -> Iterator[dict[str, Any]]:
    for contender, tensors, about in contenders_with(study, "sample_map")[:methods]:
        conflicting = tensors["sample_conflicting"]
        kinds = {
            kind: [_sample(tensors, Words(about), i) for i in rows.nonzero().flatten().tolist()[:SHOWN]]
            for kind, rows in (("agree", ~conflicting), ("contradict", conflicting))
        }
        yield {"name": contender.name, "kinds": kinds}


def _sample(tensors: Mapping[str, Tensor], words: Words, i: int) -> dict[str, Any]:
    label, attribute = words(tensors, "sample", i)
    picture = heated(tensors["sample_x"][i], tensors["sample_map"][i])
    return {"uri": embed.uri(picture), "label": label, "attribute": attribute}


def heated(image: Tensor, places: Tensor) -> NDArray[np.uint8]:
    """An image under a map: dark where the map is 0, bright where it is largest.

    Args:
        image: uint8 ``(3, H, W)``.
        places: map ``(h, w)``, at least 0; brought to the size of the image. One that is 0 everywhere is dark.

    Returns:
        uint8 ``(3, H, W)``.

    >>> import torch
    >>> heated(torch.zeros(3, 2, 2, dtype=torch.uint8), torch.eye(2))[0].tolist()
    [[151, 0], [0, 151]]
    """
    places = places.float().nan_to_num(0, 0, 0)
    large = F.interpolate(places[None, None], size=image.shape[1:], mode="bilinear", align_corners=False)[0, 0]
    colors = colormaps["inferno"]((large / large.max().clamp_min(1e-12)).numpy())[..., :3]
    mixed = (1 - HEAT) * image.permute(1, 2, 0).numpy() + HEAT * 255 * colors
    return mixed.round().astype(np.uint8).transpose(2, 0, 1)
