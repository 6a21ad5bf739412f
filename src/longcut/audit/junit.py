"""Findings as JUnit XML, which continuous integration shows as tests."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from longcut.files import written

__all__ = ["junit", "write"]

FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # in XML 1.0


def junit(record: Mapping[str, Any], failing: Collection[str]) -> bytes:
    """An audit as a suite of tests, one for each finding.

    Args:
        record: of the audit.
        failing: names of the findings that are failures (:func:`longcut.audit.baseline.failing`); what could not be
            told is skipped, all others pass, and say what was found.

    Returns:
        XML in UTF-8, of the elements that all readers of JUnit files know.
    """
    findings, named = record["findings"], f"longcut audit {record['data']}"
    skipped = [finding["name"] for finding in findings if finding["verdict"] == "unknown"]
    suite = Element("testsuite", name=_legal(named), tests=str(len(findings)), errors="0")
    suite.set("failures", str(len(failing)))
    suite.set("skipped", str(len(skipped)))
    suite.set("time", f"{record['seconds']:.3f}")
    for finding in findings:
        case = SubElement(suite, "testcase", classname=_legal(named), name=_legal(finding["name"]))
        said = _legal(f"{finding['question']} {finding['sentence']}")
        if finding["name"] in failing:
            SubElement(case, "failure", type=finding["verdict"], message=said)
        elif finding["name"] in skipped:
            SubElement(case, "skipped", message=said)
        else:
            SubElement(case, "system-out").text = f"{finding['verdict']}: {said}"
    suites = Element("testsuites")
    suites.append(suite)
    indent(suites)
    return tostring(suites, encoding="utf-8", xml_declaration=True)


def write(record: Mapping[str, Any], failing: Collection[str], path: Path) -> None:
    """Write :func:`junit` to a file.

    Raises:
        UserError: when it cannot be written.
    """
    with written(path, "the findings to ") as temporary:
        temporary.write_bytes(junit(record, failing))


def _legal(text: str) -> str:
    """Without what no XML may hold."""
    return FORBIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
