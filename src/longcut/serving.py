"""ONNX files that other programs serve: from raw columns or pixels to names and probabilities, and in 8 bits.

A graph around the network does what :mod:`longcut.sources.encode` does to a table, in the same precision, and turns
pixels as programs read them, ``(n, H, W, 3)``, into the order that networks take.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from longcut.data import Dataset, Splits
from longcut.errors import UserError
from longcut.evaluate import metrics, sample_values
from longcut.record import Inputs
from longcut.sources.encode import OTHER
from longcut.sources.kinds import EMPTY
from longcut.sources.parts import MISSING
from longcut.weights import class_names

if TYPE_CHECKING:
    import onnx

__all__ = ["MARGIN", "SCORES", "about", "in_8_bits", "raw", "without_log"]

MARGIN = 0.01  # of accuracy, or of the error of a regression, that 8 bits may cost
CALIBRATION = 256  # training samples by which the ranges of activations are measured
SCORES = ("average", "worst_group", "rmse")  # by which 8 bits are judged: the first two of classes
KEY = "longcut"
INPUT, OUTPUTS = "net/x", ("outputs", "prediction", "probability")


def about(path: Path | str) -> dict[str, Any]:
    """What an exported ONNX file says of itself.

    Example::

        about("runs/birds/model.onnx")["int8"]  # {"on": "validation", "accuracy": [0.951, 0.949], …}
    """
    import onnx

    found = onnx.load(path, load_external_data=False).metadata_props
    return json.loads(next(entry.value for entry in found if entry.key == KEY))


# --- raw inputs -------------------------------------------------------------------------------------------------------


class _Graph(NamedTuple):
    """What goes before or behind a network: nodes, constants, and the inputs or outputs."""

    nodes: list[onnx.NodeProto]
    constants: list[onnx.TensorProto]
    ends: list[onnx.ValueInfoProto]

    def constant(self, name: str, value: Any) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.asarray(value), f"raw/{name}"))
        return f"raw/{name}"

    def node(self, kind: str, *inputs: str, out: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, list(inputs), [out], name=f"raw/{kind} {out}", **attributes))
        return out

    def end(self, name: str, kind: int, *shape: int | str) -> str:
        from onnx import helper

        self.ends.append(helper.make_tensor_value_info(name, kind, ["n", *shape]))
        return name


def raw(model: onnx.ModelProto, inputs: Inputs, who: str) -> onnx.ModelProto:
    """A network that takes what people have, and says what it is called.

    Of a table, each column is an input ``(n, 1)`` of its name: numbers double, NaN where one is missing; categories as
    text, empty where one is missing. Images are ``image (n, H, W, 3)`` uint8, of the size the network takes. Outputs:
    ``outputs (n, C)`` as before, and of classes ``prediction (n,)``, their names, and ``probability (n, C)``.

    Args:
        model: from ``x`` as stored to ``outputs``.
        inputs: of the run.
        who: the run, for messages.

    Raises:
        UserError: for what has no raw form here: texts, features of a pretrained net, arrays.
    """
    from onnx import compose, helper

    encoding = inputs.encoding or {}
    before, behind = _Graph([], [], []), _Graph([], [], [])
    if inputs.info.encoder:
        why = "features of a pretrained net, which is a network of its own"
    elif inputs.info.kind == "tokens":
        why = "words that are looked up, which is no part of a network"
    elif encoding.get("kind") == "table":
        _columns(before, encoding)
        why = next((f"a column called '{end.name}', as an output is" for end in before.ends if end.name in OUTPUTS), "")
    elif inputs.info.kind == "image" and inputs.dtype == "uint8":
        _pixels(before, inputs)
        why = ""
    else:
        why = "numbers as they are, which are raw already"
    if why:
        raise UserError(f"{who} takes {why}; export it without raw.")
    _outputs(behind, inputs)
    graph = compose.add_prefix(model, "net/").graph  # no column is called like anything in it
    nodes = [*before.nodes, *graph.node, *behind.nodes]
    model.graph.CopyFrom(
        helper.make_graph(
            nodes,
            graph.name,
            before.ends,
            behind.ends,
            [*graph.initializer, *before.constants, *behind.constants],
            value_info=graph.value_info,
        )
    )
    if not any(opset.domain == "ai.onnx.ml" for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    return model


def _pixels(graph: _Graph, inputs: Inputs) -> None:
    from onnx import TensorProto

    channels, height, width = inputs.info.shape
    image = graph.end("image", TensorProto.UINT8, height, width, channels)
    graph.node("Transpose", image, out=INPUT, perm=[0, 3, 1, 2])


def _columns(graph: _Graph, encoding: Mapping[str, Any]) -> None:
    """The columns of a table to what :func:`longcut.sources.encode.apply` makes of them."""
    from onnx import TensorProto

    made: list[str] = []
    for number, name in enumerate(encoding["features"]):
        if name in encoding["numeric"]:
            how, out = encoding["numeric"][name], f"raw/number {number}"
            given = graph.end(name, TensorProto.DOUBLE, 1)
            fill, mean, scale = (
                graph.constant(f"{key} {number}", float(how[key])) for key in ("fill", "mean", "scale")
            )
            missing = graph.node("IsNaN", given, out=f"{out} missing")
            filled = graph.node("Where", missing, fill, given, out=f"{out} filled")
            centred = graph.node("Sub", filled, mean, out=f"{out} centred")
            made.append(_float(graph, graph.node("Div", centred, scale, out=f"{out} scaled"), out))
            if how["missing"]:
                made.append(_float(graph, missing, f"{out} was missing"))
        else:
            known, out = encoding["categorical"][name], f"raw/category {number}"
            given = graph.end(name, TensorProto.STRING, 1)
            kept = {*encoding.get("keep", ())} | {*known}
            codes = {text: code for code, text in enumerate(known)}
            if MISSING in codes:
                codes |= {text: codes[MISSING] for text in EMPTY if text not in kept}
            code = graph.node(
                "LabelEncoder",
                given,
                out=f"{out} code",
                domain="ai.onnx.ml",
                keys_strings=list(codes),
                values_int64s=list(codes.values()),
                default_int64=codes.get(OTHER, -1),
            )
            every = graph.constant(f"codes {number}", np.arange(len(known))[None])
            made.append(_float(graph, graph.node("Equal", code, every, out=f"{out} is"), out))
    graph.node("Concat", *made, out=INPUT, axis=1)


def _float(graph: _Graph, given: str, out: str) -> str:
    from onnx import TensorProto

    return graph.node("Cast", given, out=out, to=TensorProto.FLOAT)


def _outputs(graph: _Graph, inputs: Inputs) -> None:
    """What a network says, and of classes their names and probabilities."""
    from onnx import TensorProto

    found = graph.node("Identity", "net/outputs", out="outputs")
    graph.end(found, TensorProto.FLOAT, inputs.info.n_classes)
    if inputs.info.task == "regression":
        return
    names = class_names(inputs.info)
    graph.node("Softmax", found, out="probability", axis=1)
    best = graph.node("ArgMax", found, out="raw/best", axis=1, keepdims=0)
    graph.node("Gather", graph.constant("names", np.array(names, dtype=object)), best, out="prediction", axis=0)
    graph.end("prediction", TensorProto.STRING)
    graph.end("probability", TensorProto.FLOAT, len(names))


# --- 8 bits -----------------------------------------------------------------------------------------------------------


def in_8_bits(path: Path, splits: Splits, who: str) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """A network with weights of 8 bits, if that costs no more than ``MARGIN`` on held-out data.

    Weights of convolutions and what goes into them are quantised by ranges that are measured on training samples; where
    there are no convolutions, activations are quantised as they come.

    Args:
        path: of the network as an ONNX file, from ``x`` as stored to ``outputs``.
        splits: the data of the run. It is judged on the validation part, or where there is none, on the test part.
        who: the run, for messages.

    Returns:
        The network, and what it was judged by: ``on``, ``n``, and before and after of each score.

    Raises:
        UserError: when it loses more: accuracy, or that of the worst group by more than the margin and one sample; of a
            regression, its error.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static

    class Samples(CalibrationDataReader):
        def __init__(self) -> None:
            n = len(splits.train)
            some = torch.linspace(0, n - 1, min(CALIBRATION, n)).long()
            self.rest = iter([{"x": _stored(splits.train, rows)} for rows in some.split(32)])

        def get_next(self) -> dict[str, Any]:
            return next(self.rest, {})

    held, on = (splits.test, "test") if splits.valid is None else (splits.valid, "validation")
    with tempfile.TemporaryDirectory() as place, without_log():
        whole, small = Path(place, "whole.onnx"), Path(place, "small.onnx")
        model = onnx.load(path)
        del model.graph.value_info[:]  # shapes that torch notes of weights, which the quantiser turns round
        onnx.save(model, whole)
        if any(node.op_type == "Conv" for node in model.graph.node):
            quantize_static(
                whole,
                small,
                Samples(),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
        else:
            quantize_dynamic(whole, small, weight_type=QuantType.QInt8)
        before, after = (_scores(at, held, splits.train) for at in (path, small))
        model = onnx.load(small)
    judged = {"on": on, "n": len(held), **{name: [before[name], after[name]] for name in before}}
    for name, score in before.items():
        one = 0.0 if name != "worst_group" else 1 / max(1, _smallest(held))
        lost = after[name] / score - 1 if name == "rmse" else score - after[name]
        if lost > max(MARGIN, one):
            raise UserError(
                f"{who}: in 8 bits, its {name.replace('_', ' ')} on the {on} part goes from {score:.3f} to "
                f"{after[name]:.3f}, more than {MARGIN} away; export it without int8."
            )
    return model, judged


def _scores(path: Path, held: Dataset, train: Dataset) -> dict[str, float]:
    import onnxruntime

    session: Any = onnxruntime.InferenceSession(path)
    rows = torch.arange(len(held)).split(256)
    said = [torch.from_numpy(session.run(["outputs"], {"x": _stored(held, some)})[0]) for some in rows]
    found = metrics(sample_values(torch.cat(said), held), held, train)
    return {name: found[name] for name in (SCORES[2:] if held.info.task == "regression" else SCORES[:2])}


def _stored(data: Dataset, rows: Tensor) -> Any:
    return data.x[data.index[rows]].numpy()


def _smallest(held: Dataset) -> int:
    """Samples of the smallest group, or class."""
    known = held.label if held.attribute is None else held.group[held.group >= 0]
    counts = known.bincount()
    return int(counts[counts > 0].min())


@contextmanager
def without_log(name: str = "") -> Iterator[None]:
    """For the time of a ``with``: that logger, or everybody's, passes errors alone."""
    log = logging.getLogger(name)
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
