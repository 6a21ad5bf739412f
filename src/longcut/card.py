"""A model card from a finished run, as the Hugging Face hub reads it: Markdown below YAML that says the scores."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from longcut.datasets import title_of
from longcut.datasets.reread import inputs_of
from longcut.evaluate import Group
from longcut.files import to_json, written
from longcut.methods import METHODS
from longcut.record import Record
from longcut.runs import Run
from longcut.scales import Scale, scale_of

__all__ = ["card", "write_card"]

TASKS = {"image": "image-classification", "tokens": "text-classification", "table": "tabular-classification"}
FEW = 30  # samples of a group, below which its score says little
FAR = 0.1  # accuracy between average and worst group that is worth a sentence
NOT_KNOWN = "not known"


def card(run: Run) -> str:
    """The card of a finished run's network: what it is, its scores and groups, its limits, and what it is for.

    What a run cannot know is left to its author, in a section that says so. Names from the data are escaped, and of
    paths the folder and the file are said, and not where they lie.

    Raises:
        UserError: when the run is not finished.
    """
    record, scores, info = run.record, run.scores(), inputs_of(run).info
    scale = scale_of(record.task)
    groups = [group for group in scores.groups if group.n]
    parts = [
        f"---\n{to_json(_about(record, info.kind), indent=1)}\n---",
        f"# {text(record.label)} on {text(title_of(record.plan.data))}",
        _what(record, info),
        f"## Scores\n\n{scale.caption}, on {scores.n:,} test samples, with 95 % bootstrap intervals.",
        _table(("score", "value", "from", "to"), _scores(run, scale)),
    ]
    if len(groups) > 1:
        names = info.membership_names or info.attribute_names
        rows = [_group(group, info.class_names, names, scale) for group in groups]
        parts += ["## Groups", _table(("label", "attribute", "samples", scale.noun, "from", "to"), rows)]
    parts += ["## Limits", "\n".join(f"- {line}" for line in _limits(record, groups, scale))]
    parts += ["## Intended use", _use(record, info)]
    return "\n\n".join(parts) + "\n"


def write_card(run: Run, path: Path | str) -> Path:
    """Write the :func:`card` of a run to a file.

    Raises:
        UserError: when the run is not finished, or the file cannot be written.
    """
    content = card(run)
    with written(Path(path), "the card to ") as temporary:
        temporary.write_text(content, "utf-8")
    return Path(path)


def text(value: Any) -> str:
    r"""A name from data as it stands in Markdown: one line in which nothing is markup.

    >>> print(text("<b>|[x](y)\n# z"))
    &lt;b&gt;\|\[x\](y) \# z
    """
    line = " ".join(placeless(value).encode("utf-8", "backslashreplace").decode().split())
    return re.sub(r"([\\`*_{}\[\]#|~!$])", r"\\\1", escape(line, quote=False))


def placeless(value: Any) -> str:
    """Without the folders above the last one of an absolute path: where files lie is nobody's business.

    >>> placeless("table:path=/home/me/birds/metadata.csv,label=y"), placeless("birds/metadata.csv")
    ('table:path=birds/metadata.csv,label=y', 'birds/metadata.csv')
    """
    return re.sub(r"(?<![\w.])/(?:[^/,=]+/)*(?=[^/,=]+/[^/,=]+)", "", str(value))


# --- parts ------------------------------------------------------------------------------------------------------------


def _about(record: Record, kind: str) -> dict[str, Any]:
    """The YAML, written as JSON, which YAML contains: no name from data can end it."""
    scale, regression = scale_of(record.task), record.task == "regression"
    named = {"Average": "rmse", "Worst group": "worst_group_rmse"} if regression else {
        "Average": "average", "Worst group": "worst_group"
    }  # fmt: skip
    metric = "rmse" if regression else "accuracy"
    task = "tabular-regression" if regression else TASKS[kind]
    title = placeless(title_of(record.plan.data))
    scored = [
        {"type": metric, "name": f"{name} {metric}", "value": round(value, 6)}
        for name, key in named.items()
        if math.isfinite(value := scale.score(record.scores.test, key))
    ]
    result = {"task": {"type": task}, "dataset": {"type": "other", "name": title, "split": "test"}, "metrics": scored}
    return {
        "library_name": "longcut",
        "pipeline_tag": task,
        "tags": ["longcut", "shortcut-learning", record.plan.method],
        "metrics": [metric],
        "model-index": [{"name": placeless(record.label), "results": [result]}],
    }


def _what(record: Record, info: Any) -> str:
    plan = record.plan
    paper = METHODS[plan.method].paper if plan.method in METHODS else ""
    options = ", ".join(f"{text(key)}={text(value)}" for key, value in plan.options.items())
    training = plan.training
    lines = [
        f"A network `{plan.net.partition(':')[0]}` of {record.parameters:,} parameters, trained by `{plan.method}`"
        + (f" ({text(paper)})" if paper else "")
        + (f" with {options}" if options else "")
        + f": {training.epochs} epochs, batches of {training.batch}, learning rate {training.lr:g}, seed {plan.seed}; "
        f"the weights are of epoch {record.epoch}, chosen by `{plan.select}`.",
        f"Input: {info.kind} of shape {tuple(info.shape)}.",
    ]
    if info.class_names:
        lines.append(f"Classes: {', '.join(map(text, info.class_names))}.")
    lines.append(f"Made with longcut {text(record.environment.get('longcut', ''))}.")
    return "\n".join(lines)


def _scores(run: Run, scale: Scale) -> Iterator[tuple[str, ...]]:
    scores = run.record.scores.test
    for name, (title, _) in scale.columns.items():
        value = scale.score(scores, name)
        if math.isfinite(value):
            low, high = scale.interval(scores, name)
            yield text(title), scale.write(value), scale.write(low), scale.write(high)


def _group(group: Group, classes: Sequence[str], names: Sequence[str], scale: Scale) -> tuple[str, ...]:
    said = (scale.write(scale.of_mean(value)) for value in (group.value, group.low, group.high))
    label = _name(classes, group.label) if scale.percent else "all"
    return label, _name(names, group.attribute), f"{group.n:,}", *said


def _name(names: Sequence[str], number: int | None) -> str:
    if number is None:
        return "all"
    return NOT_KNOWN if number < 0 else text(names[number] if number < len(names) else number)


def _limits(record: Record, groups: Sequence[Group], scale: Scale) -> Iterator[str]:
    """What of the run itself speaks against trusting it."""
    values, plan = record.scores.test.values, record.plan
    if all(group.attribute is None for group in groups):
        yield "No attribute is known on the test set, so whether the network takes a shortcut was not measured."
    worst, mean = values.get("worst_group", math.nan), values.get("average", math.nan)
    if scale.percent and mean - worst > FAR:
        yield f"The worst group is at {scale.write(worst)} where the average is at {scale.write(mean)}."
    if few := sum(group.n < FEW for group in groups):
        yield f"{few} of {len(groups)} groups have fewer than {FEW} test samples; their scores say little."
    if plan.select.startswith("oracle"):
        yield "The epoch was chosen on the test set, so the scores are too good."
    yield "One run with one seed: the intervals are of the test samples, not of training again."
    yield "Tested on data of the kind that it was trained on; against other shortcuts and elsewhere it was not."
    yield "The probabilities are not calibrated." if scale.percent else "No interval comes with a prediction."
    yield from (text(remark[:1].upper() + remark[1:]) for remark in record.remarks)


def _use(record: Record, info: Any) -> str:
    what = "numbers" if record.task == "regression" else "one of the classes above"
    inputs = f"{text(info.kind)}, {text(tuple(info.shape))}"
    return (
        f"To predict {what} for inputs like those it was trained on ({inputs}), and to study what groups it fails. Not "
        "for decisions about people or anything that matters without tests of its own on the groups concerned.\n\n"
        "*What a run cannot know, and its author has to add: where the data is from and under which license, whom "
        "errors would harm, and the license of the weights.*"
    )


def _table(names: Sequence[str], rows: Any) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
