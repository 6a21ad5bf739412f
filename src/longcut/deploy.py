"""A finished run at work: its network on new samples, and in formats that other programs read.

A run folder says what its network takes (:class:`longcut.record.Inputs`), so that none of this needs the data the
network was trained on. New files become numbers exactly as that data did.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from longcut import forms, runs
from longcut.data import Dataset, as_input
from longcut.datasets import load
from longcut.datasets.reread import inputs_of, reread
from longcut.door import Damaged, Door, strict_json
from longcut.errors import UserError, unknown
from longcut.files import to_json, write_csv, written
from longcut.methods import build
from longcut.nets import Net, blank
from longcut.predict import predict as outputs_of
from longcut.record import Inputs, renamed_options
from longcut.registry import require_files
from longcut.runs import Run
from longcut.serving import without_log
from longcut.weights import class_names, sample_weights

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FORMATS", "export", "load_exported", "load_net", "predict", "sample_weights", "write_predictions"]

ABOUT = "longcut"  # under this key, an exported file carries what its network is, takes and means, as JSON


# --- the network ------------------------------------------------------------------------------------------------------


def load_net(run: Run) -> tuple[Net, Inputs]:
    """The network of a finished run, in evaluation mode, and what it takes.

    A run that was made before run folders kept this has to load its data set for it.

    Raises:
        UserError: when the run is not finished.

    Example::

        net, inputs = load_net(runs.read("runs/lff"))
    """
    inputs = inputs_of(run)
    plan = run.record.plan
    require_files(plan.files, f"the run in {run.folder}")
    weights = run.weights()
    with run.door.trusting(runs.WEIGHTS):
        return _rebuilt(plan.method, plan.options, plan.net, inputs, weights), inputs


def load_exported(path: Path | str) -> tuple[Net, Inputs]:
    """The network in a file that :func:`export` wrote as safetensors, as :func:`load_net` returns it.

    Raises:
        UserError: when there is no such file, or something else is in it.

    Example::

        net, inputs = load_exported("runs/lff/model.safetensors")
        logits = net(as_input(images))  # uint8 (n, 3, H, W)
    """
    path = Path(path)
    door = Door(path.parent, "write it anew")
    try:
        weights, metadata = door.tensors(path.name, forms.weights)
        with door.reading(path.name):
            said = strict_json(metadata[ABOUT].encode())
            inputs = forms.inputs({name: said[name] for name in ("info", "dtype", "encoding")})
            options = renamed_options(said["method"], said["options"])
            return _rebuilt(said["method"], options, said["net"], inputs, weights), inputs
    except Damaged:
        raise UserError(
            f"{path} is no network that longcut exported; write one with longcut export RUN --to safetensors."
        ) from None


def _rebuilt(method: str, options: Mapping[str, Any], net: str, inputs: Inputs, weights: Mapping[str, Tensor]) -> Net:
    options = {key: blank(value) if isinstance(value, str) else value for key, value in options.items()}
    rebuilt = build(method, inputs.info, net=blank(net), options=options).net
    rebuilt.load_state_dict(weights)
    return rebuilt.eval()


# --- new samples ------------------------------------------------------------------------------------------------------


def predict(
    run: Run,
    data: Path | str,
    *,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
    **form: Any,
) -> pd.DataFrame:
    """What the network of a finished run says about new samples, labelled or not.

    Args:
        run: finished.
        data: a folder of images; a CSV, TSV or Parquet file with the columns the network was trained on; an ``.npz`` or
            ``.safetensors`` file with samples of the same shape; or the spec of a registered data set, whose test set
            is taken, made with the data seed of the run.
        device: where to compute.
        progress: called with the number of files read and their total.
        **form: how to read files, such as ``unreadable="skip"``, of :func:`longcut.datasets.reread.reread`.

    Returns:
        One row per sample, in the order of the data: ``name`` (path of the image, else number of the row, from 0),
        ``prediction`` (name of the class), ``probability`` of that class in [0, 1], ``p(CLASS)`` for every class, and
        where labels are there ``label`` and ``right``, which are empty for samples without one of a known class. For a
        regression: ``name``, ``prediction`` and ``label``; of several numbers ``prediction 0``, ``prediction 1``
        and so on.

    Raises:
        UserError: when the run is not finished, the data is not there, or it is unlike what the network was trained on.

    Example::

        frame = predict(runs.read("runs/birds"), "new-photos")
        frame.sort_values("probability").head()  # the least certain
    """
    net, inputs = load_net(run)
    samples, _, labelled = reread(run, data, progress=progress, **form)
    outputs = outputs_of(net.to(device), samples, device)
    return _frame(inputs, samples, outputs, labelled)


def write_predictions(frame: pd.DataFrame, path: Path | str) -> Path:
    """Write what :func:`predict` or :func:`sample_weights` returned as CSV, and return the path.

    A name of a file or class that a spreadsheet would take for a formula, such as ``=1+1``, has a ``'`` before it.

    Raises:
        UserError: when the file cannot be written.
    """
    with written(Path(path)) as temporary:
        write_csv(frame, temporary)
    return Path(path)


def _frame(inputs: Inputs, samples: Dataset, outputs: Tensor, labelled: Tensor) -> pd.DataFrame:
    import numpy as np
    import pandas as pd

    source, rows = samples.source, samples.index.numpy()
    named = source is not None and source.image is not None
    names = source.rows[source.image].to_numpy()[rows] if named else rows  # type: ignore[union-attr]
    if inputs.info.task == "regression":
        label = samples.label.masked_fill(~labelled[:, None], torch.nan)
        told = {"prediction": outputs} | ({"label": label} if labelled.any() else {})
        several = outputs.shape[1] > 1
        columns = {
            f"{key} {k}" if several else key: column.numpy()
            for key, value in told.items()
            for k, column in enumerate(value.T)
        }
        return pd.DataFrame({"name": names, **columns})
    classes, guess = np.array(class_names(inputs.info), dtype=object), outputs.argmax(1)
    chance = outputs.softmax(1)
    frame = pd.DataFrame({"name": names, "prediction": classes[guess], "probability": chance.amax(1).numpy()})
    for name, column in zip(classes, chance.T, strict=True):
        frame[f"p({name})"] = column.numpy()
    if labelled.any():
        label, right = classes[samples.label], (guess == samples.label).numpy()
        if not labelled.all():
            nothing = np.full(len(label), None)
            label, right = (np.where(labelled.numpy(), column.astype(object), nothing) for column in (label, right))
        frame["label"], frame["right"] = label, right
    return frame


# --- the samples it was trained on ------------------------------------------------------------------------------------


# --- other formats ----------------------------------------------------------------------------------------------------


def export(run: Run, to: str, out: Path | str | None = None, *, raw: bool = False, int8: bool = False) -> Path:
    """Write the network of a finished run in another format.

    ``onnx`` and ``torchscript`` take samples as they are stored, ``x (n, …)`` for any n (images uint8, rows of a table
    float32, token ids int64), and return ``outputs (n, C)``: logits, or targets for a regression. ``safetensors`` holds
    weights, for :func:`load_exported`. In all three, the text under ``"longcut"`` in the metadata (``extra_files`` in
    TorchScript) is JSON with method, net, names of classes and encoding.

    Args:
        run: finished.
        to: one of ``FORMATS``.
        out: file to write; default: ``model.onnx``, ``model.pt`` or ``model.safetensors`` in the run folder.
        raw: of ``onnx``: whether the file takes the columns of a table, or pixels, and says names and probabilities,
            as :func:`longcut.serving.raw` describes.
        int8: of ``onnx``: whether weights have 8 bits, which is refused where it costs too much on held-out data, for
            which the data of the run is loaded; see :func:`longcut.serving.in_8_bits`.

    Returns:
        The file.

    Raises:
        UserError: for an unknown format, a run that is not finished, a file that cannot be written, ``onnx`` without
            the packages it needs, and whatever has no raw form or loses too much in 8 bits.

    Example::

        path = export(runs.read("runs/lff"), "onnx")
        onnxruntime.InferenceSession(path).run(["outputs"], {"x": images})  # uint8 (n, 3, H, W)
    """
    if to not in FORMATS:
        raise unknown("format", to, FORMATS)
    if (raw or int8) and to != "onnx":
        raise UserError(f"{'raw' if raw else 'int8'} is for onnx, and {to} was asked for; leave it out, or take onnx.")
    suffix, write = FORMATS[to]
    net, inputs = load_net(run)
    plan = run.record.plan
    about = {"method": plan.method, "options": plan.options, "net": plan.net} | json.loads(inputs.to_json())
    path = run.folder / f"model{suffix}" if out is None else Path(out)
    with written(path) as temporary:
        write(net.requires_grad_(False), inputs, to_json(about), temporary)
        if raw or int8:
            _rewrite(run, inputs, about, temporary, raw, int8)
    return path


def _rewrite(run: Run, inputs: Inputs, about: dict[str, Any], path: Path, raw: bool, int8: bool) -> None:
    """An ONNX file in 8 bits, or with what is done to raw samples in it."""
    import onnx

    from longcut import serving

    who = f"the run in {run.folder}"
    model = onnx.load(path)
    if int8:
        plan = run.record.plan
        model, judged = serving.in_8_bits(path, load(plan.data, plan.data_seed), who)
        about = {**about, "int8": judged}
    if raw:
        model = serving.raw(model, inputs, who)
    onnx.helper.set_model_props(model, {ABOUT: to_json(about)})
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


class _FromStored(nn.Module):
    """The network behind the scaling of its input."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(as_input(x))


def _example(inputs: Inputs) -> Tensor:
    """Two samples: from a single one, torch.export may conclude that there is always one."""
    return torch.zeros(2, *inputs.info.shape, dtype=getattr(torch, inputs.dtype))


def _safetensors(net: Net, inputs: Inputs, about: str, path: Path) -> None:
    from safetensors.torch import save

    path.write_bytes(save(net.state_dict(), {ABOUT: about}))


def _torchscript(net: Net, inputs: Inputs, about: str, path: Path) -> None:
    with warnings.catch_warnings(), without_log("transformers"):
        # torch advises torch.export instead; whoever asks for TorchScript has a program that reads it.
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        # A net may branch on the size of an image, which is fixed.
        warnings.filterwarnings("ignore", "Converting a tensor to a Python boolean")
        # It reads all attributes of a module, and transformers warns of some and logs about others.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        module = cast(torch.jit.ScriptModule, torch.jit.trace(_FromStored(net).eval(), _example(inputs)))
        buffer = BytesIO()  # torch ends the process when a disk is full under its own writer
        torch.jit.save(module, buffer, {ABOUT: about.encode()})
        path.write_bytes(buffer.getvalue())


def _onnx(net: Net, inputs: Inputs, about: str, path: Path) -> None:
    try:
        import onnxscript  # noqa: F401
    except ModuleNotFoundError:
        raise UserError(
            'onnx files are written with the packages onnx and onnxscript; install them: pip install "longcut[onnx]".'
        ) from None
    # torch.onnx reports that torchvision, which is not needed, is not there
    with warnings.catch_warnings(), without_log("torch.onnx"):
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
        program = torch.onnx.export(
            _FromStored(net).eval(),
            (_example(inputs),),
            input_names=["x"],
            output_names=["outputs"],
            dynamic_shapes=({0: torch.export.Dim("n")},),
            dynamo=True,
            verbose=False,
        )
    program = cast(torch.onnx.ONNXProgram, program)
    program.model.metadata_props[ABOUT] = about
    program.save(str(path), external_data=False)


FORMATS: dict[str, tuple[str, Callable[[Net, Inputs, str, Path], None]]] = {
    "onnx": (".onnx", _onnx),
    "safetensors": (".safetensors", _safetensors),
    "torchscript": (".pt", _torchscript),
}
