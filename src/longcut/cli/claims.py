"""What ``longcut reproduce --claims`` prints."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from longcut.cli import show

if TYPE_CHECKING:
    from collections.abc import Sequence


def print_claims(paper: str, out: Path, known: Sequence[Path], as_json: bool) -> None:
    """What a paper claims, and what the runs below ``out`` and in files say of it."""
    from longcut import papers, runs

    elsewhere = [one for file in known for one in papers.known_in(file)]
    there = [runs.read(folder) for folder in (runs.find([out]) if out.exists() else ())]
    own = [papers.Known.of(run.record, run.folder) for run in there if run.done]
    names = [*papers.claimants()] if paper == papers.EVERY else [paper]
    found = {name: papers.judged(name, papers.merged(elsewhere, own), papers.sampled) for name in names}
    if as_json:
        told = {
            name: [
                {
                    **asdict(one.claim),
                    "verdict": one.verdict,
                    "comparisons": [each._asdict() for each in one.comparisons],
                }
                for one in verdicts
            ]
            for name, verdicts in found.items()
        }
        return show.print_json(told)
    for name, verdicts in found.items():
        show.say(papers.claimants()[name])
        head, lines = papers.comparisons(verdicts)
        shown = show.table(*head)
        for line in lines:
            shown.add_row(*line)
        show.show(shown)
    show.say(papers.HOW_JUDGED)
