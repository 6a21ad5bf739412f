"""Random changes of a batch of inputs that leave the label alone, drawn from a generator of the caller's.

Augmentation libraries draw from torch's global random state, which a run must leave alone to be resumable to the bit;
these functions do not. Each takes images ``(n, C, H, W)`` of floating point and a generator, and returns as many of the
same shape, every one changed in its own way; an image with values in [0, 1] keeps to them. In the name of several,
joined by ``+``, they follow each other. A few change tables or token ids in place of images, and say so by
:func:`~longcut.augment.base.of_kinds`.

>>> import torch
>>> change = build("crop-flip+cutout:side=4,fill=zero")
>>> change(torch.ones(2, 3, 8, 8), torch.Generator().manual_seed(0)).shape
torch.Size([2, 3, 8, 8])
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from longcut.augment.base import Augment, kinds_of
from longcut.augment.blurs import blur, motion_blur
from longcut.augment.colors import color_cast, grayscale, jitter, pca_color, vignette
from longcut.augment.covers import cutout, occlusion
from longcut.augment.crops import crop, crop_flip, flip, resized_crop_flip, unchanged
from longcut.augment.geometry import affine, elastic, lens
from longcut.augment.noises import noise, salt_pepper
from longcut.augment.rows import feature_noise, feature_swap, token_dropout
from longcut.data import Info
from longcut.errors import UserError
from longcut.registry import Registry, required
from longcut.spec import chain, read, validate
from longcut.spec import written as one_written

__all__ = [
    "AUGMENTS",
    "Augment",
    "affine",
    "blur",
    "build",
    "color_cast",
    "crop",
    "crop_flip",
    "cutout",
    "elastic",
    "feature_noise",
    "feature_swap",
    "flip",
    "grayscale",
    "jitter",
    "kinds_of",
    "lens",
    "motion_blur",
    "names",
    "noise",
    "occlusion",
    "pca_color",
    "require_kind",
    "resized_crop_flip",
    "salt_pepper",
    "token_dropout",
    "unchanged",
    "vignette",
    "written",
]

AUGMENTS: Registry[Callable[..., Tensor]] = Registry(
    "augmentation",
    "AUGMENTS",
    {
        "none": unchanged,
        "flip": flip,
        "crop": crop,
        "crop-flip": crop_flip,
        "resized-crop-flip": resized_crop_flip,
        "affine": affine,
        "elastic": elastic,
        "lens": lens,
        "blur": blur,
        "motion-blur": motion_blur,
        "noise": noise,
        "salt-pepper": salt_pepper,
        "pca-color": pca_color,
        "color-cast": color_cast,
        "vignette": vignette,
        "cutout": cutout,
        "occlusion": occlusion,
        "jitter": jitter,
        "grayscale": grayscale,
        "feature-noise": feature_noise,
        "feature-swap": feature_swap,
        "token-dropout": token_dropout,
    },
    made=required(callable, "a function (x, generator, *, options) that returns inputs like x"),
)


def build(spec: str) -> Augment:
    """The augmentation that ``spec`` names.

    Args:
        spec: names joined by ``+``, each with its options or without: ``"crop-flip+cutout:side=8"``.

    Raises:
        UserError: for an unknown name or option, or a value that its option does not allow.
    """
    rules = [partial(AUGMENTS[name], **options) for name, options in _parts(spec)]

    def changed(x: Tensor, generator: torch.Generator | None) -> Tensor:
        for rule in rules:
            x = rule(x, generator)
        return x

    return changed


def written(spec: str) -> str:
    """The one way to write it: options checked and in their order, defaults left out.

    Raises:
        UserError: as :func:`build`.

    >>> written("crop-flip + cutout: side=16, fill=zero")
    'crop-flip+cutout:fill=zero'
    """
    return "+".join(one_written(name, AUGMENTS[name], options) for name, options in _parts(spec))


def names(spec: str) -> list[str]:
    """Of the augmentations in a spec.

    >>> names("crop-flip+cutout:side=8")
    ['crop-flip', 'cutout']
    """
    return [name for name, _ in _parts(spec)]


def require_kind(spec: str, info: Info, option: str = "augment") -> None:
    """Refuse what changes other inputs than these.

    Args:
        spec: as for :func:`build`.
        info: of the data.
        option: what the user calls the spec.

    Raises:
        UserError: saying what it changes.

    >>> require_kind("feature-noise", Info("toy", (4,), 2, kind="table"))
    """
    shaped = info.kind != "image" or len(info.shape) == 3
    for name in names(spec):
        kinds = kinds_of(AUGMENTS[name])
        if info.kind not in kinds or not (shaped or name == "none"):
            what = " or ".join({"image": "images", "table": "tables", "tokens": "token ids"}[k] for k in sorted(kinds))
            raise UserError(
                f"{option}={spec} changes {what}, but {info.name} is of kind '{info.kind}'; use {option}=none."
            )


def _parts(spec: str) -> list[tuple[str, dict[str, Any]]]:
    """Name and checked options of each."""
    given = [read(one, "augmentation") for one in chain(spec)]
    return [(name, validate(f"augmentation '{name}'", AUGMENTS.find(name), options)) for name, options in given]
