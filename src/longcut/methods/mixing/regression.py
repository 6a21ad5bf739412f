"""The published settings of C-Mixup's regression benchmark, for it and the methods it was compared with."""

from __future__ import annotations

from typing import Any

from longcut.methods.base import Recipe

__all__ = ["SETTINGS", "recipes"]

_MLP = "mlp:hidden=128-128,activation=leaky"
_LOOP = {"optimizer": "adam", "schedule": "constant", "average": 0.0, "weight_decay": 0.0, "pool": 1}
_LOOP |= {"drop_last": True, "standardize": False}
_SORTED = {"reshuffle": False}  # where domains shift, the released loop draws the order of samples once

# net, settings of the loop, alpha, sigma in the target's unit, whether a hidden layer is mixed
SETTINGS: dict[str, tuple[str, dict[str, Any], float, float, bool]] = {
    "airfoil": (_MLP, {"epochs": 100, "batch": 16, "lr": 1e-2}, 2.0, 1.75, True),
    "no2": (_MLP, {"epochs": 100, "batch": 32, "lr": 1e-2}, 2.0, 1.2, False),
    "exchange-rate": ("lstnet", {"epochs": 100, "batch": 128, "lr": 1e-3}, 1.5, 0.05, True),
    "crime": (_MLP, {"epochs": 200, "batch": 16, "lr": 1e-3, **_SORTED}, 2.0, 4.0, True),
    "skillcraft": (_MLP, {"epochs": 100, "batch": 32, "lr": 1e-2, **_SORTED}, 2.0, 1.0, False),
    "rcf-mnist": ("resnet18", {"epochs": 30, "batch": 64, "lr": 7e-5, **_SORTED}, 2.0, 0.2, True),
}


def recipes(method: str) -> dict[str, Recipe]:
    """A recipe for each data set of the benchmark, named as it.

    Args:
        method: ``"erm"``, ``"mixup"`` or ``"c-mixup"``.

    >>> recipes("c-mixup")["airfoil"].options["sigma"]
    1.75
    """
    made = {}
    for data, (net, loop, alpha, sigma, hidden) in SETTINGS.items():
        options: dict[str, Any] = {} if method == "erm" else {"alpha": alpha, "scope": "batch"}
        loop = {**_LOOP, **loop}
        if method == "c-mixup":
            options |= {"sigma": sigma, "unit": "target", "level": "hidden" if hidden else "input"}
            if data == "rcf-mnist":
                options["source"] = "pool"  # of twice the batch
                loop["pool"] = 2
        why = f"{data} in C-Mixup's released settings: raw targets, the last batch left out; select best:average"
        if data == "rcf-mnist":
            why += "; the published net starts from ImageNet weights"
        made[data] = Recipe(why, options, loop, net)
    return made
