"""Who is mixed with whom, how much, how, and what the label becomes. Needs torch and nothing else."""

from longcut.mixing.rules import *  # noqa: F403
from longcut.mixing.rules import __all__ as __all__
