"""What commands print: tables, JSON, progress."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from longcut.audit.base import Finding
    from longcut.audit.baseline import Comparison
    from longcut.audit.effort import Effort
    from longcut.evaluate import Scores
    from longcut.record import Record
    from longcut.runs import Run
    from longcut.search import Choice
    from longcut.spec import Option


# what moves the cursor, colours, rings or turns the direction of writing, and halves of characters
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: Any) -> str:
    r"""Text in which names from data cannot steer a terminal: control characters as JSON writes them.

    >>> visible("a\x1b[31mred")
    'a\\u001b[31mred'
    """
    return CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", str(text))


def one_line(text: Any) -> str:
    r"""The same as one line.

    >>> one_line("a\nb")
    'a\\nb'
    """
    return visible(text).replace("\n", "\\n")


def say(text: Any = "") -> None:
    """Print a text; names in it that may hold line breaks go through :func:`one_line` before."""
    print(visible(text))


def warn(text: Any) -> None:
    """Say something beside the result: one line on stderr."""
    import sys

    print(f"longcut: {one_line(text)}", file=sys.stderr)


def write_report(paths: list[Path], out: Path) -> Path:
    """The page about these runs or audits, written to ``out``."""
    from longcut.report import write

    return write(paths, out)


def first_line(thing: Any) -> str:
    """Of a docstring, as plain text."""
    return (thing.__doc__ or "").partition("\n")[0].replace("``", "")


def options(options: Iterable[Option]) -> list[dict[str, Any]]:
    """Options as plain containers, for JSON."""
    return [{"name": o.name, "default": o.default, "allowed": o.allowed, "help": o.help} for o in options]


def print_json(value: Any) -> None:
    """Strict JSON, and nothing else."""
    from longcut.files import to_json

    say(to_json(value, indent=2, default=str))


def show(renderable: Any) -> None:
    """Print what rich can draw."""
    from rich.console import Console

    Console(markup=False, emoji=False).print(renderable)


def table(*columns: str) -> Table:
    """An empty table with these columns, whose cells are text and nothing else."""
    from rich import box
    from rich.table import Table

    class Plain(Table):
        def add_row(self, *cells: str) -> None:  # type: ignore[override]
            super().add_row(*map(visible, cells))

    return Plain(*map(visible, columns), box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)


def print_method(name: str, row: Mapping[str, Any]) -> None:
    """A method with its options and recipes."""
    say(f"{name}: {row['about']}\n{row['paper']}\nlearns {' and '.join(row['tasks'])}")
    if row["needs"]:
        say(f"needs the {' and '.join(row['needs'])} of each training sample")
    options = table("option", "default", "allowed", "what it is")
    for option in row["options"]:
        options.add_row(option["name"], str(option["default"]), option["allowed"], option["help"])
    recipes = table("recipe", "what it reproduces", "sets")
    for recipe, about in row["recipes"].items():
        sets = about["options"] | about["training"] | ({"net": about["net"]} if about["net"] else {})
        recipes.add_row(recipe, about["why"], ", ".join(f"{key}={value}" for key, value in sets.items()))
    for one in (options, recipes):
        if one.row_count:
            show(one)


def say_effort(effort: Effort) -> None:
    """What an audit will take, before it begins."""
    gigabytes = f"{effort.memory / 1e9:.1f} GB of memory"
    warn(f"this will take about {duration(effort.seconds)} on this machine as it is now, and {gigabytes}")


def say_finding(finding: Finding) -> None:
    """What a check found that ended before the others."""
    warn(f"{finding.name}: {finding.verdict}: {finding.sentence}")


def print_audit(record: Mapping[str, Any]) -> None:
    """What an audit found."""
    shown = table("check", "verdict", "found", "without", "p")
    shown.columns[0].no_wrap = True
    for finding in record["findings"]:
        numbers = (
            "–" if finding[key] is None else f"{finding[key]:.3g}" for key in ("statistic", "baseline", "p_value")
        )
        shown.add_row(finding["name"], finding["verdict"], *numbers)
    if record["preface"]:
        say(f"{one_line(record['preface'])}\n")
    say(f"{one_line(record['headline'])}\n{one_line(record['advice'])}\n")
    show(shown)
    for finding in record["findings"]:
        say(f"\n{one_line(finding['question'])}\n  {one_line(finding['sentence'])}")
        if finding["name"] == "slices" and finding["table"]:
            _print_slices(finding["table"])
    if record["left_out"]:
        say("\nColumns that were not compared with the label")
        for why in dict.fromkeys(record["left_out"].values()):
            names = ", ".join(name for name, own in record["left_out"].items() if own == why)
            say(f"  {one_line(why)}: {one_line(names)}")


def print_changes(changed: Comparison) -> None:
    """What became of an earlier audit."""
    from longcut.audit.baseline import in_words

    say(f"\nAgainst the baseline\n  {one_line(changed.sentence)}")
    if changed.unfair:
        say(f"  {one_line(changed.unfair)}")
    if not changed.changes:
        return say("  Nothing that was found has changed.")
    shown = table("finding", "change", "then", "now")
    for change in changed.changes:
        shown.add_row(change.name, change.how, *(in_words(said and vars(said)) for said in (change.then, change.now)))
    show(shown)


def _print_slices(rows: Iterable[Mapping[str, Any]]) -> None:
    """Parts of the data, and how often a model errs there."""
    shown = table("slice", "samples", "wrong", "95 %", "rest")
    for row in rows:
        ends = f"{row['low']:.0%} to {row['high']:.0%}"
        shown.add_row(row["slice"], f"{row['samples']:,}", f"{row['errors']:.0%}", ends, f"{row['rest']:.0%}")
    show(shown)


def print_comparison(records: list[Record]) -> None:
    """Finished runs in a table for each data set and selection rule, and what the numbers are."""
    from longcut import tables
    from longcut.numbers import spread, with_spread
    from longcut.scales import scale_of
    from longcut.selection import rule_in_words

    headed: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in tables.table(records):
        headed.setdefault((row["data"], row["selection"]), []).append(row)
    printed: dict[str, dict[str, None]] = {}
    for (data, selection), rows in headed.items():
        task = rows[0]["task"]
        scale = scale_of(task)
        names = [
            name
            for name in scale.columns
            if name not in scale.optional or any(row[name][0] is not None for row in rows)
        ]
        heads = (scale.columns[name][0].replace(" ", "\n").replace("conf", "con-\nf") for name in names)  # fits 80
        shown = table("method", "runs", *heads)
        shown.columns[0].overflow = "fold"  # a long label is broken into lines, a number is not
        shown.columns[0].min_width = 6  # whose numbers these are is said in any case
        cells = [[with_spread(*row[name], write=scale.write, between=" ±") for name in names] for row in rows]
        long = any("e" in cell for line in cells for cell in line)  # with exponents, deviations may go below
        for column in shown.columns[1:]:
            column.no_wrap = not long
        for row, line in zip(rows, cells, strict=True):
            fitting = line if long else (cell.replace(" ", "") for cell in line)  # no blanks: fits 80 characters
            shown.add_row(row["label"], str(row["runs"]), *fitting)
        say(f"{one_line(data)}, epoch chosen by: {rule_in_words(selection)}")
        show(shown)
        printed.setdefault(task, {}).update(dict.fromkeys(names))
    for task, names in printed.items():
        scale = scale_of(task)
        say(f"Mean ± standard deviation over seeds, {scale.unit}, on the test set at the epoch chosen:")
        for name in names:
            say(f"  {': '.join(scale.columns[name])}")
    for label, found in _minorities(records).items():
        mean = {key: spread(one[key] for one in found)[0] for key in found[0]}
        known = ((key, mean[key]) for key in ("precision", "recall"))
        shares = " and ".join(f"{key} {100 * share:.0f} %" for key, share in known if share is not None)
        say(
            f"{one_line(label)} took for the minority {mean['conflicting']:.0f} training samples that contradict the "
            f"shortcut and {mean['aligned']:.0f} that do not: {shares}."
        )
    for who, remark in tables.remarks((record.label, record) for record in records):
        say(f"{one_line(who)}: {one_line(remark)}")


def print_choices(chosen: Sequence[Choice]) -> None:
    """Which setting and epoch validation chooses, rule by rule, and what these are worth on the test set."""
    from longcut.numbers import with_spread
    from longcut.scales import scale_of

    if not chosen:
        say("Nothing is chosen: no epoch of these runs was judged on a validation set.")
        return
    scale = scale_of(chosen[0].task)
    names = list(chosen[0].test)
    shown = table("best by", "setting", "of", "epoch", "validation", *(name.replace("_", " ") for name in names))
    for one in chosen:
        scores = (with_spread(*pair, write=scale.write) for pair in (one.valid, *(one.test[name] for name in names)))
        epochs = ", ".join(map(str, one.epochs))
        shown.add_row(one.rule.replace("_", " "), one.label, str(one.settings), epochs, *scores)
    say("Setting and epoch that validation chooses, and what they reach on the test set, mean ± deviation over seeds:")
    show(shown)


def print_advice(folders: Iterable[Path]) -> None:
    """What to use of some finished runs, and what does harm."""
    from longcut.report.study import studies
    from longcut.report.verdict import advice
    from longcut.runs import read

    for study in studies(read(folder) for folder in folders):
        for told in advice(study):
            say(one_line(told))


def print_rates(scores: Scores, run: Run) -> None:
    """The rates of positive predictions of each group, where there are two classes and groups to compare."""
    from longcut.evaluate import rates_by_group
    from longcut.numbers import number

    found = rates_by_group(scores)
    if not found:
        return
    about = run.gallery()[1]
    names = dict(enumerate(about.get("membership_names") or about.get("attribute_names", ())))
    positive = dict(enumerate(about.get("class_names", ()))).get(1, 1)
    shown = table("group", "samples", "positive", "predicted", "TPR", "FPR")
    for rates in found:
        (true, *true_ends), (false, *false_ends) = rates.true_positive, rates.false_positive
        ends = [", ".join(map(number, some)) for some in (true_ends, false_ends)]
        shown.add_row(
            str(names.get(rates.attribute, rates.attribute)),
            str(rates.n),
            *map(number, (rates.base, rates.positive)),
            *(f"{number(value)} [{between}]" for value, between in zip((true, false), ends, strict=True)),
        )
    say(
        f"By group, in %, where '{one_line(positive)}' is positive: how many are and are predicted to be, and the true "
        "and the false\npositive rate with their 95 % intervals:"
    )
    show(shown)


def _minorities(records: list[Record]) -> dict[str, list[Mapping[str, float]]]:
    """How well each method found the minority, run by run, where it looked and the truth is known."""
    found: dict[str, list[Mapping[str, float]]] = {}
    for record in records:
        if record.identification is not None:
            found.setdefault(record.label, []).append(record.identification)
    return found


@contextmanager
def bar(unit: str) -> Iterator[Callable[..., None]]:
    """A bar with the time left, on stderr, gone when all is done; where stderr is no terminal, a line now and then.

    What it yields is told how many are done, of how many, and if need be of what.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lines(unit)
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn(), TextColumn("left"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def told(done: float, total: int, of: str = unit) -> None:
            if bar.tasks[0].finished and done < total:  # something else begins, with a speed of its own
                bar.reset(task)
            bar.update(task, completed=done, total=total, description=f"{int(done)}/{total} {of}")

        yield told


EVERY = 10.0  # seconds between lines


def lines(unit: str, clock: Callable[[], float] = time.monotonic) -> Callable[..., None]:
    """What a bar tells, as a line on stderr every ten seconds, with the time left at the speed so far.

    What is told first may have been done before, so the speed is that from there on.
    """
    begun, first, before, said = clock(), 0.0, math.inf, clock()

    def told(done: float, total: int, of: str = unit) -> None:
        nonlocal begun, first, before, said
        now = clock()
        if done < before:  # something begins, with a speed of its own
            begun, first = now, done
        before = done
        if now - said >= EVERY:
            said = now
            speed = (done - first) / (now - begun) if done > first else 0.0
            left = f", about {duration((total - done) / speed)} left" if speed and done < total else ""
            warn(f"{int(done)}/{total} {of}{left}")

    return told


def duration(seconds: float) -> str:
    """A time as one says it.

    >>> duration(4.2), duration(89), duration(200), duration(9000)
    ('4 s', '89 s', '3 min', '2.5 h')
    """
    return (
        f"{seconds:.0f} s"
        if seconds < 90
        else f"{seconds / 60:.0f} min"
        if seconds < 5400
        else f"{seconds / 3600:.1f} h"
    )
