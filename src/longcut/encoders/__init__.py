"""Pretrained nets that make features once, for photographs and texts: ``efficientnet-lite0``, ``minilm``, hubs'."""

from longcut.encoders.base import Encoder

__all__ = ["Encoder"]
