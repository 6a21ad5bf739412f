"""A paper's table with our numbers, as text: lines, notes and Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from longcut.evaluate import METRICS
from longcut.numbers import with_spread
from longcut.papers.cells import ANNOTATIONS, ORIGINS, PROTOCOLS
from longcut.recipes import declared

__all__ = ["READS", "lacking", "markdown", "notes", "table"]

SPREAD = (
    "Mean ± sample standard deviation over seeds. Ours is of the last epoch, and of the epoch that is best on the test "
    "set, which an oracle picks."
)
JUDGED = (
    "Spanned: the published mean lies from our last epoch minus its deviation to our best epoch plus its. "
    "Near: our best epoch is within two published deviations of it."
)
SELECTED = "Mean ± sample standard deviation over seeds. Ours is of the epoch that {} selects."
JUDGED_SELECTED = "Near: ours is within two deviations of the published mean, published ones or else ours."
WORDS = {True: "yes", False: "no", None: "–"}
READS = {
    "group": "accuracy of the test samples of this label and attribute, by number",
    "identification": "of the samples taken for the minority, conflicting and aligned are how many contradict the "
    "shortcut and do not, and precision and recall are against all that contradict it",
}


def table(results: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """What :func:`longcut.papers.run` returned as a head and lines of text."""
    if results and "trace" in results[0]:
        head = ("loss", "data", "pairs", "cosine, untrained", "cosine, last epoch", "epochs", "seeds")
        shown = [[_number(r["first"], r["first_sd"]), _number(r["last"], r["last_sd"])] for r in results]
    elif results and results[0].get("protocol"):
        head = ("row", "data", "metric", "protocol", "published", "ours", "near", "epochs", "seeds")
        rules = _rules(results)
        shown = [
            [
                _metric(r, len(rules) > 1),
                ", ".join(filter(None, (r["protocol"], r["annotation"]))),
                _number(r["published"], r["published_sd"]) + ORIGINS[r["origin"]][0],
                _number(r["last"], r["last_sd"]),
                WORDS[r["near"]],
            ]
            for r in results
        ]
    else:
        head = ("row", "data", "published", "last epoch", "best epoch", "spanned", "near", "epochs", "seeds")
        shown = [
            [
                *(_number(r[key], r[f"{key}_sd"]) for key in ("published", "last", "best")),
                WORDS[r["spans"]],
                WORDS[r["near"]],
            ]
            for r in results
        ]
    return head, [
        (r["row"], *_place(r), *numbers, str(r["epochs"] or "–"), str(r["seeds"] or "–"))
        for r, numbers in zip(results, shown, strict=True)
    ]


def _metric(result: Mapping[str, Any], tell: bool) -> str:
    """What a cell reads, against which other runs, and by which rule of selection if there are several."""
    rule, against = result["selection"], result["against"]
    return result["reads"] + (f" against {against}" if against else "") + (f" ({rule})" if rule and tell else "")


def _rules(results: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(r["selection"] for r in results if r.get("selection")))


def _place(result: Mapping[str, Any]) -> tuple[str, ...]:
    return (result["data"], result["column"]) if "trace" in result else (f"{result['data']} {result['column']}",)


def _number(mean: float | None, deviation: float | None) -> str:
    """In % already, with the two decimals that papers print."""
    return with_spread(mean, deviation, lambda value: "–" if value is None else f"{value:.2f}")


def notes(recipe: str, results: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the numbers of a table are, and what to know before comparing: a sentence or more in each line."""
    content, about, _ = declared(recipe)
    said = []
    if about.get("draws") == "similarity":
        said.append("Mean cosine of two training samples. Mean ± sample standard deviation over seeds.")
    else:
        selects = any(r.get("protocol") for r in results)
        spread = "Mean ± sample standard deviation over seeds, last epoch."
        if about.get("reads") is None:
            spread = SELECTED.format(" or ".join(_rules(results)) or "no rule") if selects else SPREAD
        verdicts = JUDGED_SELECTED if selects else JUDGED
        said.append(f"{about.get('metric', content['metric'])}, in %. {spread} {verdicts}")
        said += _definitions(results)
        if any(r.get("protocol") and not r["seeds"] for r in results):
            said.append(
                "Without a value of ours are methods and data sets that are not here, or whose setting is not known."
            )
    if "note" in about:
        said.append(about["note"])
    if changed := sorted({r["changed"] for r in results if r.get("changed")}):
        said.append(
            f"{' and '.join(changed)}: set in place of what the row fixes, so it is no longer the paper's, and nothing "
            "is compared with it."
        )
    return said + list(dict.fromkeys(f"{r['row']}: {r['note']}." for r in results if r.get("note")))


def _kind(reads: str) -> tuple[str, str]:
    """What kind of number is read and which, the latter only where kinds have several definitions."""
    kind, _, name = reads.rpartition(" ")
    return kind, "" if kind in READS else name


def _definitions(results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line for each metric, protocol, annotation and mark that stands in a table with a protocol."""
    told = [r for r in results if r.get("protocol")]
    names = (name for r in told for name in (r["reads"], (r["selection"] or "").partition(":")[2]))
    for kind, metric in dict.fromkeys(_kind(name) for name in names):
        if kind in READS:
            yield f"{kind}: {READS[kind]}."
        elif metric in METRICS:
            where = ", of the validation set" if kind else ""
            yield f"{kind} {metric}: {METRICS[metric].definition}{where}.".lstrip()
    for key, words in (("protocol", PROTOCOLS), ("annotation", ANNOTATIONS)):
        yield from (f"{name}: {words[name]}." for name in dict.fromkeys(r[key] for r in told) if name in words)
    for origin in dict.fromkeys(r["origin"] for r in told):
        mark, what = ORIGINS[origin]
        if mark:
            yield f"{mark.strip()} {what}."


def lacking(results: Sequence[Mapping[str, Any]]) -> str:
    """Which cells have fewer runs than asked for, in a sentence; empty where all are there."""
    missing: dict[str, dict[str, None]] = {}
    for r in results:
        if r.get("lacking"):
            where = r["data"] if r.get("protocol") else f"{r['data']} {r['column']}"  # columns there are of one run
            of = f" ({r['lacking']} more)" if r["seeds"] else ""
            missing.setdefault(r["row"], {})[f"{where}{of}"] = None
    return "; ".join(f"{row}: {', '.join(where)}" for row, where in missing.items())


def markdown(recipe: str, results: Sequence[Mapping[str, Any]]) -> str:
    """What :func:`longcut.papers.run` returned as a Markdown table with its notes."""
    head, lines = table(results)
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(["| " + " | ".join(row) + " |" for row in rows] + ["", *notes(recipe, results)]) + "\n"
