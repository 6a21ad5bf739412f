"""Image towers of Hugging Face, and how each wants its images prepared."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from longcut.errors import UserError
from longcut.nets.hugging import load_model, near_first, quiet, reason
from longcut.nets.layers import Standardize
from longcut.nets.tuning import freeze_the_rest

__all__ = ["ImageTower", "Picture", "image_tower", "picture_of"]


@dataclass(frozen=True)
class Picture:
    """How a model wants its images.

    Attributes:
        resize: pixels that the short side is brought to.
        crop: pixels of the middle square that is cut out after that.
        mean, deviation: of each channel, in [0, 1].
    """

    resize: int
    crop: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]


class ImageTower(nn.Module):
    """Images in [0, 1] to what a Hugging Face model says about the whole of them.

    Args:
        model: takes ``pixel_values``.
        picture: how it wants them.
        pooler: whether its pooler may be used, which needs weights that are not random.
    """

    def __init__(self, model: nn.Module, picture: Picture, *, pooler: bool = True) -> None:
        super().__init__()
        self.model, self.pooler = model, pooler
        self.standardize = Standardize(picture.mean, picture.deviation)
        with torch.no_grad():
            self.width = self.eval()(torch.zeros(1, 3, picture.crop, picture.crop)).shape[1]

    def train(self, mode: bool = True) -> Self:
        """What is not trained stays in evaluation mode."""
        super().train(mode)
        freeze_the_rest(self.model)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """``(n, 3, crop, crop)`` to ``(n, width)``: the pooler's output, the mean of the map or the first token."""
        said = self.model(pixel_values=self.standardize(x))
        pooled = getattr(said, "pooler_output", None) if self.pooler else None
        if pooled is None:
            last = said.last_hidden_state
            pooled = last.mean((2, 3)) if last.ndim == 4 else last[:, 0]
        return pooled.flatten(1)


def image_tower(
    name: str, *, pretrained: bool = True, who: str = "net 'hf'", model: tuple[Any, bool] | None = None
) -> tuple[ImageTower, Picture]:
    """The image tower of a Hugging Face model, alone or beside one for texts, and how it wants its images.

    Args:
        name: on the hub, or a folder with config.json, model.safetensors and preprocessor_config.json.
        pretrained: or with random weights of the same layout.
        who: needs it, for error messages.
        model: what :func:`longcut.nets.hugging.load_model` gave, where that was asked already.

    Raises:
        UserError: where there is none, it takes no images, or it does not say how it wants them.
    """
    whole, pooler = model or load_model(name, pretrained=pretrained, who=who)
    tower = getattr(whole, "vision_model", whole)
    if not takes_images(tower):
        raise UserError(f"{who}: {name} takes no images; give a model that does, such as facebook/dinov2-small.")
    picture = picture_of(name, who=who)
    try:
        return ImageTower(tower, picture, pooler=pooler), picture
    except Exception as error:  # of a model that we do not know
        raise UserError(
            f"{who}: {name} gives no features of images of {picture.crop} pixels, which its preprocessor_config.json "
            f"asks for ({reason(error)}); give another model."
        ) from error


def takes_images(model: nn.Module) -> bool:
    """Whether a model is given ``pixel_values``."""
    return "pixel_values" in inspect.signature(model.forward).parameters


def picture_of(name: str, *, who: str = "net 'hf'") -> Picture:
    """How a Hugging Face model wants its images, read from its preprocessor_config.json.

    Where that asks for a square without saying what is cut off, it is the middle one. Images are resized bilinearly,
    whatever the file says.

    Raises:
        UserError: where there is no such file, or it asks for what cannot be done.
    """
    from transformers.image_processing_base import ImageProcessingMixin

    with quiet():
        try:
            told, _ = near_first(lambda **where: ImageProcessingMixin.get_image_processor_dict(name, **where), name)
            return _picture(told)
        except Exception as error:  # of the hub, the network, a reader, or what the file leaves out
            why = f"it lacks {error}" if isinstance(error, KeyError) else reason(error)
            raise UserError(
                f"{who}: {name} does not say how its images are prepared ({why}); give a model with "
                "a preprocessor_config.json that has size, image_mean and image_std."
            ) from error


def _picture(told: Mapping[str, Any]) -> Picture:
    """From the file's content.

    >>> _picture({"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": {"height": 224, "width": 224},
    ...           "image_mean": [0.5] * 3, "image_std": [0.5] * 3})
    Picture(resize=256, crop=224, mean=(0.5, 0.5, 0.5), deviation=(0.5, 0.5, 0.5))
    """
    if abs(told.get("rescale_factor", 1 / 255) * 255 - 1) > 0.01:
        raise ValueError(f"a rescale_factor of {told['rescale_factor']} is not 1 / 255")
    crop = resize = _side(told["size"])
    if told.get("do_center_crop"):
        crop = _side(told["crop_size"])
    elif "crop_pct" in told and crop < 384:  # ConvNeXt
        resize = int(crop / (told["crop_pct"] or 0.875))
    plain = not told.get("do_normalize", True)
    mean, deviation = ((0.0,) * 3, (1.0,) * 3) if plain else (tuple(told["image_mean"]), tuple(told["image_std"]))
    return Picture(max(resize, crop), crop, _three(mean), _three(deviation))


def _side(size: int | Sequence[int] | Mapping[str, int]) -> int:
    """The short side."""
    if isinstance(size, Mapping):
        return int(size["shortest_edge"] if "shortest_edge" in size else min(size["height"], size["width"]))
    return int(size if isinstance(size, int) else min(size))


def _three(values: tuple[float, ...]) -> tuple[float, ...]:
    """One number for each channel."""
    if len(values) != 3:
        raise ValueError(f"{len(values)} channels are not three")
    return values
