"""longcut trains classifiers that do not take the shortcut.

The public names, each imported when it is first used: ``import longcut`` loads nothing, and
``import longcut.mixing`` loads torch and nothing heavier.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from longcut.data import Batch, Dataset, Info, Splits
    from longcut.datasets import load
    from longcut.errors import UserError
    from longcut.estimators import (
        DebiasedClassifier,
        DebiasedRegressor,
        GroupBalancer,
        SuspectedConflict,
        worst_group_accuracy,
        worst_group_scorer,
    )
    from longcut.fit import Fitted, fit
    from longcut.methods import METHODS
    from longcut.methods.base import Method
    from longcut.mixing import Mix
    from longcut.postprocess import postprocess
    from longcut.training import Training

__version__ = "0.1.0"

__all__ = [
    "METHODS",
    "Batch",
    "Dataset",
    "DebiasedClassifier",
    "DebiasedRegressor",
    "Fitted",
    "GroupBalancer",
    "Info",
    "Method",
    "Mix",
    "Splits",
    "SuspectedConflict",
    "Training",
    "UserError",
    "__version__",
    "fit",
    "load",
    "postprocess",
    "worst_group_accuracy",
    "worst_group_scorer",
]

_HOME = {
    "METHODS": "methods",
    "Batch": "data",
    "Dataset": "data",
    "DebiasedClassifier": "estimators",
    "DebiasedRegressor": "estimators",
    "Fitted": "fit",
    "GroupBalancer": "estimators",
    "Info": "data",
    "Method": "methods.base",
    "Mix": "mixing",
    "Splits": "data",
    "SuspectedConflict": "estimators",
    "Training": "training",
    "UserError": "errors",
    "fit": "fit",
    "load": "datasets",
    "postprocess": "postprocess",
    "worst_group_accuracy": "estimators",
    "worst_group_scorer": "estimators",
}


class _Package(ModuleType):
    """Python binds each imported submodule to its package; ``longcut.fit`` is the function all the same."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        return import_module, (self.__name__,)  # for scripts that send their functions to other processes


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    return __all__
