"""From a picture to a part of the page: figures as SVG, images as data URIs, legends as lists.

Lines and letters of a figure take the colour of the text around them, so that it serves light, dark and print.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup, escape
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from longcut.report import figures
from longcut.report.figures import INK, Style

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["legend", "svg", "uri"]

KEYS = 24  # names in a legend


def svg(figure: Figure, alt: str, prefix: str) -> Markup:
    """The figure as an ``<svg>`` element that takes its ink from the page.

    Args:
        figure: is drawn on a transparent ground.
        alt: what it shows, for those who do not see it; empty for mere decoration.
        prefix: makes its ids differ from those of other figures of the page.
    """
    buffer = io.StringIO()
    figure.set_facecolor("none")
    nothing: Any = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    FigureCanvasSVG(figure).print_svg(buffer, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->|<style.*?</style>|<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text).replace("xlink:href", "href").replace(INK, "currentColor")
    text = re.sub(r' (?:d|x|y)="[^"]*"', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]), text)
    links = re.compile(r'(href="#|url\(#)([^")]+)')
    names = {old: f"{prefix}-{i}" for i, old in enumerate(dict.fromkeys(link[1] for link in links.findall(text)))}
    text = re.sub(r' id="([^"]*)"', lambda found: f' id="{names[found[1]]}"' if found[1] in names else "", text)
    text = links.sub(lambda found: found[1] + names[found[2]], text)
    role = 'role="img" aria-label="ALT"' if alt else 'aria-hidden="true"'
    text = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', rf"<svg \1 {role}>", text, count=1)
    text = re.sub(r">\s+<", "><", text)
    return Markup(text.replace("ALT", str(escape(alt)), 1))


def uri(image: NDArray[Any], largest: int = 96) -> str:
    """A uint8 image ``(C, H, W)`` as a data URI: PNG if it is small, else JPEG with ``largest`` pixels at most.

    >>> uri(np.zeros((3, 2, 2), np.uint8))[:22]
    'data:image/png;base64,'
    """
    from PIL import Image

    pixels = np.repeat(image, 3, 0) if len(image) == 1 else image[:3]
    picture = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    kind = "png" if max(picture.size) <= largest // 2 else "jpeg"
    picture.thumbnail((largest, largest))
    buffer = io.BytesIO()
    picture.save(buffer, kind, **({"optimize": True} if kind == "png" else {"quality": 80}))
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def legend(names: Sequence[str], looks: Sequence[Style], ids: Iterator[str], *, line: bool) -> list[dict[str, Any]]:
    """Each name with the sample of its line or point, for a list beside a figure; a long list ends early."""
    return [
        {"name": name, "key": svg(_key(look, line=line), "", next(ids))}
        for name, look in zip(names[:KEYS], looks, strict=False)
    ]


def _key(look: Style, *, line: bool) -> Figure:
    figure = figures.blank(0.3 if line else 0.16, 0.16)
    axes = figure.add_axes((0, 0, 1, 1), facecolor="none", xlim=(0, 1), ylim=(0, 1))
    axes.set_axis_off()
    if line:
        axes.plot([0.05, 0.95], [0.5, 0.5], color=look.color, linestyle=look.dash, linewidth=2.6, marker="")
    else:
        figures.dots(axes, [0.5], [0.5], look.color, size=6.5, marker=look.marker)
    return figure
