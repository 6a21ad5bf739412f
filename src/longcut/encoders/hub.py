"""Encoders by name: those of Hugging Face, for images and texts, and those of timm."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from longcut.encoders.base import Encoder, digest
from longcut.encoders.sentences import sentences, tokenizer_of
from longcut.errors import UserError
from longcut.nets.hugging import load_model, reason
from longcut.nets.layers import Standardize
from longcut.nets.pictures import image_tower, takes_images
from longcut.spec import write

__all__ = ["hf", "timm"]

SLICE = 8  # images at a time
LONGEST = 512  # tokens of a text, where neither model nor tokenizer knows of a limit


def hf(
    *,
    name: Annotated[
        str, Field(description="name on the hub, or a folder with config.json and model.safetensors")
    ] = "facebook/dinov2-small",
) -> Encoder:
    """A model of Hugging Face (extra ``hub``): DINOv2, DINOv3, ConvNeXt, an image tower of SigLIP or CLIP, BERT.

    Of images, features are what the model's pooler says, or the mean of its map, or its first token; size, mean and
    deviation are those of its preprocessor_config.json. Of texts, they are the mean over the tokens. Weights are read
    from safetensors only, and no code that comes with a model is run.

    Raises:
        UserError: without the package ``transformers``, or for a model that cannot be loaded or used.
    """
    who = "encoder 'hf'"
    loaded = load_model(name, who=who)
    model = loaded[0].eval()
    import transformers

    spec = write("hf", {"name": name})
    if takes_images(model) or hasattr(model, "vision_model"):
        tower, picture = image_tower(name, who=who, model=loaded)
        version = digest(tower, picture, tower.pooler, transformers.__version__)
        return Encoder(
            spec, "image", tower.width, version, _of_images(tower.eval()), resize=picture.resize, crop=picture.crop
        )
    tokenizer = tokenizer_of(name, who)
    longest = min(getattr(model.config, "max_position_embeddings", LONGEST), tokenizer.model_max_length, LONGEST)
    version = digest(model, longest, transformers.__version__)
    features = sentences(model, tokenizer, longest, normalize=False)
    return Encoder(spec, "text", model.config.hidden_size, version, features)


def _of_images(net: nn.Module) -> Callable[[Tensor], Tensor]:
    """Bytes to features, some images at a time."""
    return lambda x: torch.cat([net(some.float() / 255) for some in x.split(SLICE)])


def timm(*, name: Annotated[str, Field(description="name of a model in timm")] = "resnet50.a1_in1k") -> Encoder:
    """A model of timm (``pip install timm``, which brings torchvision), without its classifier.

    Size, share of the picture that is cut out, mean and deviation are those of its configuration.

    Raises:
        UserError: where timm cannot be imported or does not have the model or its weights.
    """
    try:
        package, data = import_module("timm"), import_module("timm.data")
    except Exception as error:  # torchvision may be there and not fit
        raise UserError(
            f"encoder 'timm' needs timm, which cannot be imported ({reason(error)}); pip install timm, or take "
            "encoder 'efficientnet-lite0'."
        ) from error
    try:
        model = package.create_model(name, pretrained=True, num_classes=0).eval()
        told = data.resolve_model_data_config(model)
        _, crop, _ = told["input_size"]
        resize = int(crop / told["crop_pct"])
        net = nn.Sequential(Standardize(tuple(told["mean"]), tuple(told["std"])), model).eval()
        with torch.no_grad():
            width = net(torch.zeros(1, 3, crop, crop)).shape[1]
    except Exception as error:  # of timm, the hub or the network
        raise UserError(
            f"encoder 'timm': {name} cannot be loaded ({reason(error)}); give a name of timm.list_models("
            "pretrained=True), where its weights can be reached."
        ) from error
    version = digest(model, told["mean"], told["std"], resize, crop, package.__version__)
    return Encoder(write("timm", {"name": name}), "image", width, version, _of_images(net), resize, crop)
