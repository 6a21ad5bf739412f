"""Fill the generated parts of the README and the docs from the code: ``python docs/make_reference.py``.

A generated part stands between ``<!-- generated: PART -->`` and ``<!-- end -->``. Where a page says ``<!-- every: PART
-->``, whatever is registered has such a part there: what has none yet gets one, below its heading, or with a heading of
its own in front of that mark. So nobody types a mark for something new; what is said about it beside the tables is
written around its part, which may be moved. A test checks that what is committed is what this script makes.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner

from longcut import cli
from longcut.audit import CHECKS
from longcut.augment import AUGMENTS
from longcut.datasets import DATASETS
from longcut.evaluate import METRICS
from longcut.fit import Training
from longcut.methods import METHODS
from longcut.mixing import BLENDS, PAIRS, Seeing
from longcut.nets import NETS
from longcut.papers import cells, recipes
from longcut.plans import plan
from longcut.report.panels import PANELS
from longcut.scales import SCALES
from longcut.spec import options_of

ROOT = Path(__file__).parents[1]
GENERATED = re.compile(r"(<!-- generated: (?P<part>.+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(head: Sequence[str], *rows: Iterable[Any]) -> str:
    lines = [head, ["---"] * len(head), *(map(str, row) for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)


def about(thing: Any) -> str:
    thing = thing.blend if isinstance(thing, Seeing) else thing
    return (thing.__doc__ or "").partition("\n")[0].replace("``", "`")


def code(value: Any) -> str:
    return "–" if value is None else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def listed(settings: Mapping[str, Any]) -> str:
    return ", ".join(
        code(f"{key}={str(value).lower() if isinstance(value, bool) else value}") for key, value in settings.items()
    )


# --- the command line -------------------------------------------------------------------------------------------------


GROUP: Any = typer.main.get_command(cli.app)


def commands() -> str:
    rows = (
        (code(f"longcut {name}"), (command.help or "").partition("\n\n")[0].replace("\n", " "))
        for name, command in GROUP.commands.items()
    )
    return table(("command", "what it does"), *rows)


def help_of(command: str) -> str:
    """What ``--help`` says, without the frames that depend on the terminal."""
    app = copy.copy(cli.app)
    app.rich_markup_mode = None
    text = CliRunner().invoke(app, [command, "--help"], terminal_width=100).output.strip()
    return f"```text\n{text}\n```"


# --- methods ----------------------------------------------------------------------------------------------------------


def methods() -> str:
    head = ("method", "what it does", "told the shortcut", "recipes", "source")
    rows = (
        (code(name), about(cls), "always" if cls.needs else "", " ".join(map(code, cls.recipes)), cls.paper)
        for name, cls in METHODS.items()
    )
    return table(head, *rows)


def options(function: Callable[..., Any]) -> str:
    rows = [(code(o.name), code(o.default), o.allowed, o.help) for o in options_of(function)]
    return table(("option", "default", "allowed", "what it is"), *rows) if rows else ""


def published(recipes: Mapping[str, Any]) -> str:
    rows = [
        (code(name), r.why, listed({**r.options, **r.training, **({"net": r.net} if r.net else {})}))
        for name, r in recipes.items()
    ]
    return table(("recipe", "what it reproduces", "sets"), *rows) if rows else ""


def paragraphs(*texts: str) -> str:
    return "\n\n".join(filter(None, texts))


def described(function: Callable[..., Any]) -> str:
    return paragraphs(about(function), options(function))


def method(name: str) -> str:
    cls = METHODS.find(name)
    lines = [about(cls), f"*{cls.paper}.*"]
    lines += ["It needs the attribute of every training sample."] * ("attribute" in cls.needs)
    lines += ["It does regression, too."] * ("regression" in cls.tasks)
    return paragraphs(" ".join(lines), options(cls.__init__), published(cls.recipes))


def difference(method: str, recipe: str, data: str) -> str:
    """Settings of a method by default and by recipe, where they differ, on a data set."""
    defaults = {o.name: o.default for o in options_of(METHODS.find(method).__init__)}
    plans = plan(data, method), plan(data, f"{method}@{recipe}")
    ours, theirs = ({**defaults, **p.options, **dataclasses.asdict(p.training), "net": p.net} for p in plans)
    rows = ((code(key), code(ours[key]), code(theirs[key])) for key in ours if ours[key] != theirs[key])
    return table(("setting", "default", f"recipe `{recipe}`"), *rows)


def nets() -> str:
    rows = (
        (code(name), listed({option.name: option.default for option in options_of(net)}), about(net))
        for name, net in NETS.items()
    )
    return table(("net", "options and defaults", "what it is"), *rows)


# --- audit ------------------------------------------------------------------------------------------------------------


def audit(what: str) -> str:
    """What ``benchmarks/audit.py`` measured: alarms and mean statistics; p-values of a permuted column."""
    stored = json.loads((ROOT / "results" / "audit.json").read_text("utf-8"))
    if what == "permuted":
        p_values = [row["p_value"] for row in stored if row.get("permuted")]
        small = [sum(p <= level for p in p_values) for level in (0.01, 0.05)]
        tiny, fair = (count / len(p_values) for count in small)
        return (
            f"With the named attribute permuted, {len(p_values)} draws, the p-value of `columns` is at most 0.05 in "
            f"{fair:.1%}, and at most 0.01 (its share of the level) in {tiny:.1%}."
        )

    def told(row: dict[str, Any]) -> tuple[str, str]:
        if row["kind"] == "zoo":
            return "zoo", f"{row['cue']}, {row['strength']}"
        nothing = " (no shortcut)" if row["ratio"] == 0.9 else ""
        return row["kind"], f"{row['ratio']}{', imbalanced' if row['imbalanced'] else ''}{nothing}"

    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in stored:
        if not row.get("permuted"):
            groups.setdefault(told(row), []).append(row)
    checks = ("columns", "words", "cues", "learned")
    rows = []
    for (kind, name), found in groups.items():
        cells = []
        for check in checks:
            looked = [row for row in found if check in row["verdicts"]]
            alarms = sum(row["verdicts"][check] == "alarm" for row in looked)
            mean = statistics.fmean(row["statistics"][check] for row in looked) if looked else 0
            cells.append(f"{alarms / len(looked):.1%} ({mean:.2f})" if looked else "")
        whole = sum("alarm" in (row["verdicts"].get(check) for check in checks) for row in found)
        spared = statistics.fmean(row["baselines"]["learned"] for row in found)
        cells[-1] = cells[-1].replace(")", f" against {spared:.2f})")
        separated = [bool(row["member"]) for row in found if row["member"] is not None]
        share = f"{statistics.fmean(separated):.0%}" if separated else ""
        rows.append((kind, name, len(found), f"{whole / len(found):.1%}", *cells, share))
    head = ("data", "share that contradicts", "draws", "any alarm", *map(code, checks), "a net separates")
    return table(head, *rows)


# --- data, numbers, papers --------------------------------------------------------------------------------------------


def data_sets() -> str:
    return words({name: about(entry.function) for name, entry in DATASETS.items()}, "data set")


def suited() -> str:
    keys = list(dict.fromkeys(key for entry in DATASETS.values() for key in entry.training))
    rows = ((code(name), *(code(entry.training.get(key)) for key in keys)) for name, entry in DATASETS.items())
    return table(("data set", *map(code, keys)), *rows)


def words(meanings: Mapping[str, str], head: str) -> str:
    return table((head, "what it is"), *((code(name), meaning) for name, meaning in meanings.items()))


def tables() -> str:
    rows = []
    for name, source in recipes().items():
        found = cells(name)
        columns = dict.fromkeys(f"{cell.data} {cell.column}" for cell in found)
        runs = len({(one.data, one.label, one.seed) for cell in found for one in cell.plans})
        rows.append((code(name), len({cell.row for cell in found}), ", ".join(columns), runs, source))
    return table(("table", "rows", "columns", "runs", "source"), *rows)


def rows_of(paper: str) -> str:
    found: dict[str, tuple[list[str], list[str]]] = {}
    for name in (name for name in recipes() if name.startswith(f"{paper}/")):
        for cell in cells(name):
            where, whats = found.setdefault(cell.row, ([], []))
            for one in cell.plans[:1]:
                what = " ".join(filter(None, (code(one.method), listed(one.options))))
                whats += [what] * (what not in whats)
            where += [name.partition("/")[2]] * (name.partition("/")[2] not in where)
    return table(
        ("row", "tables", "method and options"),
        *((row, ", ".join(where), "<br>".join(whats) or "–") for row, (where, whats) in found.items()),
    )


PARTS: dict[str, Callable[..., str]] = {
    "commands": commands,
    "help": help_of,
    "methods": methods,
    "method": method,
    "difference": difference,
    "augmentation": lambda name: described(AUGMENTS[name]),
    "nets": nets,
    "net": lambda name: described(NETS[name]),
    "data sets": data_sets,
    "data": lambda name: described(DATASETS[name].function),
    "suited": suited,
    "audit": audit,
    "training": lambda: options(Training),
    "metrics": lambda: words({name: metric.definition for name, metric in METRICS.items()}, "metric"),
    "columns": lambda: words(
        {n: told for scale in SCALES.values() for n, (_, told) in scale.columns.items()}, "column"
    ),
    "pair rules": lambda: words({name: about(rule) for name, rule in PAIRS.items()}, "pair rule"),
    "blends": lambda: words({name: about(blend) for name, blend in BLENDS.items()}, "blend"),
    "checks": lambda: words({name: about(check.function) for name, check in CHECKS.items()}, "check"),
    "panels": lambda: words({name: f"{p.about}: {about(p.function)}" for name, p in PANELS.items()}, "panel"),
    "tables": tables,
    "rows": rows_of,
}


def made(part: str) -> str:
    """A part by its name and arguments, such as ``"method lff"``."""
    if part in PARTS:
        return PARTS[part]()
    name, *arguments = part.split()
    return PARTS[name](*arguments)


# what has a section each on the page that says so: the level of its heading, and the names
EVERY: dict[str, tuple[str, Iterable[str]]] = {
    "method": ("##", METHODS),
    "net": ("###", NETS),
    "augmentation": ("###", AUGMENTS),
    "data": ("###", DATASETS),
    "help": ("##", GROUP.commands),
    "rows": ("##", dict.fromkeys(name.partition("/")[0] for name in recipes())),
}


def completed(text: str) -> str:
    """The page with an empty part for everything that belongs on it and has none."""
    for every, kind in re.findall(r"(?m)^(<!-- every: (\w+) -->)$", text):
        level, names = EVERY[kind]
        for name in names:
            heading, part = f"{level} {name}\n\n", f"<!-- generated: {kind} {name} -->\n"
            if part in text:
                continue
            if f"\n{heading}" not in text:
                text = text.replace(every, f"{heading}{every}")
            text = text.replace(f"\n{heading}", f"\n{heading}{part}<!-- end -->\n\n")
    return text


def refreshed(text: str) -> str:
    """The page with a part for everything that belongs on it, each made anew."""
    return GENERATED.sub(lambda found: f"{found[1]}\n{made(found['part'])}\n\n{found[3]}", completed(text))


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


if __name__ == "__main__":
    for page in pages():
        page.write_text(refreshed(page.read_text("utf-8")), "utf-8")
