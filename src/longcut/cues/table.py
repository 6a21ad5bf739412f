"""The zoo: every cue by name, with how much is changed at each strength."""

from __future__ import annotations

from functools import partial
from typing import Any

from longcut.cues import changed, painted, rows, words
from longcut.cues.base import Cue
from longcut.errors import UserError
from longcut.registry import Registry

__all__ = ["CUES"]


def _cue(kind: str, plant: Any, easy: float, medium: float, hard: float) -> Cue:
    what = (plant.__doc__ or "").partition("\n")[0].partition(":")[0].rstrip(".")
    return Cue(plant, kind, {"easy": easy, "medium": medium, "hard": hard}, what)


_image, _table, _text = (partial(_cue, kind) for kind in ("image", "table", "tokens"))


def _made(name: str, given: Any) -> Cue:
    if not isinstance(given, Cue):
        raise UserError(f"'{name}' is a {type(given).__name__}, but a row is a Cue; give one.")
    return given


CUES: Registry[Cue] = Registry(
    "cue",
    "CUES",
    {
        "foreground": _image(painted.foreground, 0.9, 0.4, 0.1),
        "background": _image(painted.background, 0.8, 0.3, 0.08),
        "patch": _image(painted.patch, 1.0, 0.4, 0.1),
        "mark": _image(painted.mark, 1.0, 0.5, 0.2),
        "stripe": _image(painted.stripe, 0.8, 0.4, 0.15),
        "frame": _image(painted.frame, 1.0, 0.5, 0.2),
        "size": _image(changed.sized, 1.0, 0.6, 0.25),
        "rotation": _image(changed.rotated, 1.0, 0.6, 0.25),
        "blur": _image(changed.blurred, 0.8, 0.4, 0.15),
        "gradient": _image(painted.gradient, 0.5, 0.25, 0.08),
        "texture": _image(painted.texture, 0.6, 0.3, 0.1),
        "frequency": _image(painted.frequency, 0.15, 0.06, 0.02),
        "watermark": _image(painted.watermark, 1.0, 0.5, 0.2),
        "jpeg": _image(changed.jpeg, 1.0, 0.8, 0.4),
        "noise": _image(changed.noisy, 0.4, 0.2, 0.06),
        "column": _table(rows.column, 1.0, 0.2, 0.1),
        "pair": _table(rows.pair, 1.5, 0.7, 0.3),
        "missing": _table(rows.missing, 2.0, 0.5, 0.1),
        "word": _text(words.word, 1.0, 0.8, 0.6),
        "punctuation": _text(words.punctuation, 1.0, 0.8, 0.6),
        "length": _text(words.length, 0.9, 0.4, 0.1),
        "position": _text(words.position, 1.0, 0.8, 0.6),
    },
    made=_made,
)
