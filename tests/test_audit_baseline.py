from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import fromstring

import pytest
from test_audit_whole import stubs
from test_cli import call, in_an_empty_folder, printed_json, refused

from longcut.audit import folder, forms
from longcut.audit.baseline import WORSE, Change, compare, failing
from longcut.audit.junit import junit
from longcut.cli.show import print_changes

__all__ = ["in_an_empty_folder", "stubs"]

SCHEMA = Path(__file__).parents[1] / "docs" / "_static" / "audit.schema.json"


def said(name: str, verdict: str, low: float | None = 0.4, high: float | None = 0.6, **first: Any) -> dict[str, Any]:
    number = None if low is None or high is None else (low + high) / 2
    return {
        "name": name, "verdict": verdict, "statistic": number, "interval": [low, high], "question": "Is it?",
        "sentence": "It is.", "table": [first] if first else [],
    }  # fmt: skip


def record(*findings: dict[str, Any], verdict: str = "clear", **more: Any) -> dict[str, Any]:
    own = {"task": "classification", "classes": ["a", "b"], "level": 0.05, "seed": 0, "longcut": "1", "n": 1000}
    own |= {"data": "toy", "fingerprint": "f", "command": "longcut audit toy", "seconds": 1.0}
    return {**own, "verdict": verdict, "findings": list(findings), **more}


def changes(then: list[dict[str, Any]], now: list[dict[str, Any]]) -> dict[str, str]:
    return {change.name: change.how for change in compare(record(*then), record(*now)).changes}


# --- what has changed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("then", "now", "how"),
    [
        (("clear",), ("notice",), "new"),
        (("unknown",), ("alarm",), "new"),
        (None, ("alarm",), "new"),
        (("notice",), ("alarm",), "graver"),
        (("alarm",), ("notice",), "milder"),
        (("alarm",), ("clear",), "gone"),
        (("notice",), ("unknown",), "cannot tell"),
        (("alarm",), None, "not looked at"),
        (("alarm", 0.4, 0.6), ("alarm", 0.61, 0.8), "stronger"),
        (("alarm", 0.4, 0.6), ("alarm", 0.59, 0.8), None),  # the intervals meet
        (("notice", 0.4, 0.6), ("notice", 0.1, 0.39), "weaker"),
        (("clear", 0.4, 0.6), ("clear", 0.7, 0.8), None),
        (("alarm", None, None), ("alarm", 0.7, 0.8), None),
        (("clear",), None, None),
        (None, ("clear",), None),
    ],
)
def test_every_way_to_change(then: Any, now: Any, how: str | None):
    found = changes(*([said("learned", *each)] if each else [] for each in (then, now)))
    assert found == ({"learned": how} if how else {})


def test_a_column_in_place_of_another():
    then = said("columns", "alarm", column="hospital")
    assert changes([then], [said("columns", "alarm", column="scanner")]) == {"columns": "another"}
    assert changes([then], [said("columns", "alarm", column="hospital")]) == {}
    assert changes([then], [said("columns", "alarm", other="of an older layout")]) == {"columns": "another"}


def test_of_what_does_not_count_only_the_verdict_is_compared():
    """Of a share of suspects that are confirmed, more is better."""
    assert changes([said("noise", "notice", 0.1, 0.2)], [said("noise", "notice", 0.8, 0.9)]) == {}
    assert changes([said("noise", "clear")], [said("noise", "alarm")]) == {"noise": "new"}


def slices(*rows: tuple[str, float, float]) -> dict[str, Any]:
    table = [{"slice": name, "errors": (low + high) / 2, "low": low, "high": high} for name, low, high in rows]
    return {**said("slices", "notice"), "table": table}


def test_slices_one_by_one():
    then = slices(("at the lake", 0.2, 0.3), ("at night", 0.2, 0.3), ("in red", 0.2, 0.3))
    now = slices(("at the lake", 0.4, 0.5), ("in red", 0.25, 0.35), ("in blue", 0.2, 0.3))
    assert changes([then], [now]) == {
        "slice at the lake": "stronger", "slice at night": "gone", "slice in blue": "new"
    }  # fmt: skip
    assert failing(record(now), "notice") == []  # that a model errs is no shortcut


def test_the_worse_comes_first_and_numbers_are_kept():
    then = record(said("learned", "alarm"), said("words", "clear"), verdict="alarm")
    now = record(said("learned", "clear"), said("words", "alarm", 0.5, 0.7, word="not"), verdict="alarm")
    found = compare(then, now)
    assert [change.how for change in found.changes] == ["new", "gone"]
    first = found.changes[0]
    assert isinstance(first, Change)
    assert first.now is not None
    assert (first.now.what, first.now.interval, first.counts) == ("the word 'not'", (0.5, 0.7), True)
    assert (found.verdicts, found.sentence, found.unfair) == (
        ("alarm", "alarm"), "The verdict is alarm, as it was.", ""
    )  # fmt: skip


def test_data_that_changed_are_said_and_can_be_compared():
    found = compare(record(verdict="notice"), record(verdict="clear", n=2000, fingerprint="g"))
    assert found.sentence == (
        "The verdict was notice and is clear. The data changed: 1,000 samples then, 2,000 now."
    )  # fmt: skip
    assert not found.unfair


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"level": 0.1}, "the level was 0.05 and is 0.1"),
        ({"classes": ["a", "b", "c"]}, "the classes was a, b and is a, b, c"),
        ({"encoder": "minilm"}, "the features was none and is minilm"),
        ({"command": "longcut audit toy --net mlp"}, "the network was none and is mlp"),
        ({"longcut": "2", "seed": 1}, "the seed was 0 and is 1; the version of longcut was 1 and is 2"),
    ],
)
def test_other_settings_are_no_fair_comparison(other: dict[str, Any], told: str):
    alarm = said("learned", "alarm")
    then, now = record(alarm, verdict="alarm"), record(alarm, verdict="alarm", **other)
    found = compare(then, now)
    assert found.unfair.startswith("This is no fair comparison, for ")
    assert told in found.unfair
    assert failing(now, "alarm", found) == ["learned"]  # as without a baseline
    assert failing(now, "alarm", compare(then, then)) == []


def test_what_fails():
    now = record(
        said("learned", "alarm"), said("words", "notice"), said("column site", "alarm"), said("known", "alarm")
    )
    assert failing(now, "alarm") == ["learned", "column site"]
    assert failing(now, "notice") == ["learned", "words", "column site"]
    then = record(said("learned", "alarm"), said("words", "clear"), said("column site", "notice"))
    assert failing(now, "alarm", compare(then, now)) == ["column site"]
    assert failing(now, "notice", compare(then, now)) == ["words", "column site"]
    assert set(WORSE) == {"new", "graver", "stronger", "another"}


# --- JUnit ------------------------------------------------------------------------------------------------------------


def test_junit():
    hostile = said("column <b>&\x1b\ud800", "alarm")
    found = record(hostile, said("words", "unknown"), said("columns", "notice"), data='t"<x>.csv')
    suite = fromstring(junit(found, [hostile["name"]]))[0]
    assert suite.attrib == {
        "name": 'longcut audit t"<x>.csv', "tests": "3", "failures": "1", "skipped": "1", "errors": "0", "time": "1.000"
    }  # fmt: skip
    assert [case.get("name") for case in suite] == ["column <b>&\\x1b\\ud800", "words", "columns"]
    assert [[child.tag for child in case] for case in suite] == [["failure"], ["skipped"], ["system-out"]]
    assert suite[0][0].get("message") == "Is it? It is."
    assert suite[2][0].text == "notice: Is it? It is."


# --- the command ------------------------------------------------------------------------------------------------------


ASKED = ("audit", "colored-digits:ratio=0.02", "--limit", "300")


@pytest.mark.usefixtures("stubs")
def test_against_a_baseline():
    """With checks that only say a verdict: words an alarm, the others clear."""

    def run(*words: str) -> Any:
        ended = call(*ASKED, "--fail-on", "alarm", "--json", "--junit", "ci/a.xml", *words)
        told = json.loads(ended.stdout)
        fits(told)
        assert (fromstring(Path("ci/a.xml").read_bytes())[0].get("failures") != "0") == ended.exit_code
        return ended.exit_code, told

    status, first = run("--out", "a")
    assert (status, first["verdict"], first["baseline"]) == (1, "alarm", None)
    status, second = run("--out", "b", "--baseline", "a")
    assert (status, second["baseline"]["changes"]) == (0, [])
    assert second["command"] == first["command"]
    # worse than one in which nothing was found, which is read before it is replaced
    then, sealed = folder.read("a")[0], Path("a/audit.json")
    harmless = [{**finding, "verdict": "clear"} for finding in then["findings"]]
    sealed.write_text(json.dumps({**then, "findings": harmless, "verdict": "clear"}))
    status, third = run("--out", "a", "--baseline", "a")
    assert (status, third["baseline"]["verdicts"]) == (1, ["clear", "alarm"])
    (change,) = third["baseline"]["changes"]
    assert folder.read("a")[0]["baseline"] == third["baseline"]
    page = Path("a/report.html").read_text("utf-8")
    assert "The verdict was clear and is alarm." in page and ">words<" in page and "<b>new</b>" in page
    assert "Nothing that was found has changed." in Path("b/report.html").read_text("utf-8")
    assert (change["name"], change["how"], change["counts"]) == ("words", "new", True)
    assert run("--out", "c", "--baseline", "a", "--level", "0.1")[0] == 1  # no fair comparison


@pytest.mark.usefixtures("stubs")
def test_what_cannot_be_read_or_written():
    assert refused(*ASKED, "--baseline", "nowhere").startswith("nowhere is no audit")
    Path("file").touch()
    ended = call(*ASKED, "--out", "c", "--junit", "file/x.xml")
    assert ended.exit_code == 2
    assert "the findings to" in ended.stderr


def test_a_real_audit_fits_the_schema():
    fits(printed_json(*ASKED, "--net", "mlp:hidden=8", "--column", "attribute", "--out", "a"))


def test_changes_in_the_terminal(capsys: pytest.CaptureFixture[str]):
    alarm = said("columns", "alarm", 0.5, 0.7, column="\x1b[31m")
    print_changes(compare(record(said("columns", "clear", None, None)), record(alarm, verdict="alarm", level=0.1)))
    text = capsys.readouterr().out
    assert "The verdict was clear and is alarm." in text
    assert "the level was 0.05 and is 0.1" in text
    assert "alarm 0.6 [0.5, 0.7]: the column" in text
    assert "\x1b" not in text
    print_changes(compare(record(), record()))
    assert "Nothing that was found has changed." in capsys.readouterr().out


# --- the schema -------------------------------------------------------------------------------------------------------


def fits(value: Any) -> None:
    """Against the schema in the docs, as a program in any language would."""
    schema = json.loads(SCHEMA.read_text("utf-8"))
    problems = list(misfits(value, schema, schema))
    assert not problems, problems[:5]


TYPES = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool}


def misfits(value: Any, schema: dict[str, Any], root: dict[str, Any], where: str = "$") -> list[str]:
    """Where a value is not as a JSON Schema says, of the words that ours uses."""
    if "$ref" in schema:
        return misfits(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, where)
    if "anyOf" in schema:
        tried = [misfits(value, one, root, where) for one in schema["anyOf"]]
        return [] if [] in tried else min(tried, key=len)
    if "enum" in schema and value not in schema["enum"]:
        return [f"{where}: {value!r}"]
    if (kind := schema.get("type")) == "null":
        return [] if value is None else [f"{where}: {value!r}"]
    if kind and (not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")):
        return [f"{where}: {value!r} is no {kind}"]
    found = [f"{where}.{key} is missing" for key in schema.get("required", ()) if key not in value]
    if isinstance(value, dict):
        rest = schema.get("additionalProperties")
        for key, item in value.items():
            one = schema.get("properties", {}).get(key, rest if isinstance(rest, dict) else {})
            found += misfits(item, one, root, f"{where}.{key}")
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            found.append(f"{where}: {len(value)} items")
        each = schema.get("prefixItems") or [schema.get("items", {})] * len(value)
        for i, (item, one) in enumerate(zip(value, each, strict=False)):
            found += misfits(item, one, root, f"{where}[{i}]")
    return found


def test_the_schema_in_the_docs_is_fresh():
    told = "python -c 'from longcut.audit.forms import schema; import json; print(json.dumps(schema(), indent=1))'"
    assert json.loads(SCHEMA.read_text("utf-8")) == forms.schema(), f"write it again: {told}"


def test_the_schema_uses_no_words_that_the_check_above_does_not_know():
    known = {"$ref", "anyOf", "enum", "type", "required", "properties", "additionalProperties", "minItems", "maxItems"}
    known |= {"prefixItems", "items", "description", "default", "title", "const", "$schema", "$defs"}

    def words(schema: Any) -> set[str]:
        if not isinstance(schema, dict):
            return set()
        inner = [schema.get("items"), schema.get("additionalProperties"), *schema.get("anyOf", ())]
        inner += [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values()]
        return set(schema).union(*map(words, [*inner, *schema.get("prefixItems", ())]))

    assert words(forms.schema()) <= known


def test_what_does_not_fit_is_seen():
    schema = forms.schema()
    right: dict[str, Any] = {key: None for key in schema["required"]}
    right |= {"schema": 1, "folder": "a", "report": "a/report.html", "findings": []}
    assert misfits(right, schema, schema) == []
    for wrong in ({"n": "3"}, {"findings": [{"name": "x"}]}, {"folder": None}, {"level": True}, {"baseline": {}}):
        assert misfits(right | wrong, schema, schema), wrong
    del right["verdict"]
    assert misfits(right, schema, schema) == ["$.verdict is missing"]
    assert re.match(r"https://json-schema\.org/draft/", schema["$schema"])
