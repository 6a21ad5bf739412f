"""A zoo of cues: shortcuts that can be planted in data without one, by name, at three strengths.

Each gives away a value, as many of them as there are classes. :func:`plant` plants one or several in a data set, so
that the value is that of the label for most samples and another one for the few that conflict.
"""

from longcut.cues.base import STRENGTHS, Cue
from longcut.cues.planting import NONE, parse_cues, plant
from longcut.cues.table import CUES

__all__ = ["CUES", "NONE", "STRENGTHS", "Cue", "parse_cues", "plant"]
