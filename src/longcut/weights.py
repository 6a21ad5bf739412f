"""What samples weigh by what a run or an audit found out, for any other training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from longcut import runs
from longcut.cells import cell_weights
from longcut.data import Info
from longcut.datasets import load
from longcut.datasets.reread import inputs_of
from longcut.errors import UserError
from longcut.record import fingerprint
from longcut.registry import require_files
from longcut.runs import Run

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["class_names", "sample_weights"]

SIDES = ("weights", "shortcut", "chosen")  # of an identification
AUDIT = "audit.json"


def sample_weights(found_by: Run | Path | str) -> pd.DataFrame:
    """What each sample weighs, by what a run or an audit found out about it.

    A method that works weights out, such as fg-ccdb, has its own. Of a shortcut's values (gerne, ula, an audit), under
    the weights the shortcut says nothing of the label (:func:`longcut.cells.cell_weights`). Of a minority (jtt, eiil,
    xrm, …), the chosen and the others of each class weigh the same in all, whatever their number.

    Args:
        found_by: a finished run, its folder, or the folder of an audit.

    Returns:
        One row per training sample: ``index``, its row in the data, from 0; ``path``, for images that came from files,
        of a run; ``label``; ``shortcut``, the class that a biased net takes it for, or its true attribute where the run
        was told (empty where it is not known), or ``chosen``, whether it is taken for the minority; and ``weight``,
        above 0 and 1 on average.

    Raises:
        UserError: when the run is not finished or its method found nobody out, or images were changed since.

    Example::

        frame = sample_weights("runs/fg-ccdb")
        sampler = torch.utils.data.WeightedRandomSampler(frame["weight"].to_numpy(), len(frame))
    """
    import numpy as np
    import pandas as pd

    if not isinstance(found_by, Run) and Path(found_by, AUDIT).exists():
        return _weights_of_audit(Path(found_by))
    run = found_by if isinstance(found_by, Run) else runs.read(found_by)
    found, plan = run.identification(), run.record.plan
    if not {"weights", "shortcut", "chosen"} & found.keys():
        raise UserError(
            f"the run in {run.folder} is of {plan.method}, which leaves no sample weights; train with fg-ccdb or jtt, "
            "take an audit, or make them from your own groups, longcut.cells.cell_weights."
        )
    inputs = inputs_of(run)
    rows = found["index"].numpy()
    columns = {"index": rows}
    if inputs.info.kind == "image" and inputs.encoding is not None:
        columns["path"] = _paths(run)[rows]
    told = plan.options.get("identify") == "attribute"
    classes = np.array(class_names(inputs.info), dtype=object)
    values = np.array([*inputs.info.attribute_names, ""], dtype=object) if told else classes  # -1 is the last
    label, known = found["label"], {name: found[name][found["index"]].cpu() for name in SIDES if name in found}
    columns["label"] = label.flatten(1).squeeze(1).numpy() if label.is_floating_point() else classes[label]
    if "shortcut" in known:
        columns["shortcut"] = values[known["shortcut"]]
    else:
        columns["chosen"] = known["chosen"].numpy()
    weight = known.get("weights")
    if weight is None and "shortcut" in known:
        shortcut = known["shortcut"]
        weight = cell_weights(shortcut + int((shortcut < 0).any()), label)  # who is not known is a value of its own
    elif weight is None:
        weight = _balanced(known["chosen"] if label.is_floating_point() else 2 * label + known["chosen"])
    return pd.DataFrame(columns | {"weight": weight.numpy()})


def _balanced(cell: Tensor) -> Tensor:
    """By which cells weigh the same in all, 1 on average ``(n,)``.

    >>> import torch
    >>> _balanced(torch.tensor([5, 5, 5, 7]))
    tensor([0.6667, 0.6667, 0.6667, 2.0000])
    """
    count = cell.unique(return_inverse=True, return_counts=True)
    return (len(cell) / len(count[2]) / count[2][count[1]]).float()


def _weights_of_audit(folder: Path) -> pd.DataFrame:
    """By what each audited sample looks like to the biased model."""
    import numpy as np
    import pandas as pd

    from longcut.audit.folder import judged, read

    known, classes = judged(folder), np.array(read(folder)[0]["classes"], dtype=object)
    label, looks = known["label"], known["probability"].argmax(1)
    weight = cell_weights(looks, label).numpy()
    columns = {"index": known["index"].numpy(), "label": classes[label], "shortcut": classes[looks]}
    return pd.DataFrame(columns | {"weight": weight})


def _paths(run: Run) -> Any:
    """The file of each stored sample of the data that a run was trained on."""
    plan = run.record.plan
    require_files(plan.files, f"the run in {run.folder}")
    splits = load(plan.data, plan.data_seed)
    if fingerprint(splits) != run.record.fingerprint:
        raise UserError(f"the data has changed since the run in {run.folder} was made; bring the old data back.")
    source = splits.train.source
    assert source is not None and source.image is not None  # images from files
    return source.rows[source.image].to_numpy()


def class_names(info: Info) -> tuple[str, ...]:
    """What the classes are called; their numbers where they have no names."""
    return info.class_names or tuple(map(str, range(info.n_classes)))
