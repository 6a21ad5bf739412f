"""What every panel of the table keeps to, and a panel that another file adds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from markupsafe import Markup, escape
from test_analyses_report import cell_of, grown
from test_report import BETTER, BIASED, Page, check_self_contained, make_run, pictures, plan_of, with_negatives
from test_report_audit import make_audit, record_of

from longcut import registry, runs
from longcut.audit import folder
from longcut.data import generator
from longcut.plans import plan
from longcut.report import Panel, figures, write
from longcut.report.base import Page as Shared
from longcut.report.page import page
from longcut.report.panels import PANELS
from longcut.report.study import Study, studies

# --- what a panel can be about ----------------------------------------------------------------------------------------


def classification(place: Path) -> None:
    """Runs of three methods with all that a run may keep."""
    groups = [cell_of(label, value, 0.5 + label / 10, 10) for label in (0, 1) for value in (0, 1)]
    label = torch.arange(40) % 2
    said = {"outputs": torch.eye(2)[label], "label": label, "attribute": torch.arange(40) // 2 % 2}
    found = {"conflicting": 100, "aligned": 300, "precision": 0.25, "recall": 0.5}
    kept = {"index": torch.arange(4), "label": torch.tensor([0, 1, 1, 0]), "attribute": torch.tensor([0, 1, 0, 1])}
    kept |= dict.fromkeys(("correct", "loss", "margin"), torch.eye(4)[:2])
    shown = with_negatives(pictures()) | {"sample_map": torch.rand(40, 2, 2, generator=generator(3))}
    for method, options in (("erm", {}), ("lff", {"q": 0.5}), ("lff", {"q": 0.7})):
        for seed in range(2):
            folder = place / f"{method}{options.get('q', '')}-{seed}"
            plan = plan_of(method, seed, options=options)
            about = {"predictions": said, "identification": kept, "groups": groups}
            make_run(folder, plan, BETTER, gallery=shown, **about)
            grown(folder, [0.2, 0.5], bias={"probe": 0.8, "head": 0.6}, identification=found)


def regression(place: Path) -> None:
    label = torch.arange(40.0)[:, None]
    for method, error in (("erm", 3.0), ("c-mixup", 2.0)):
        said = {"outputs": label + error, "label": label, "attribute": torch.arange(40) % 2}
        plan = plan_of(method, data="houses")
        make_run(place / method, plan, {"average": error}, predictions=said, task="regression")


def without_attribute(place: Path) -> None:
    values = {"average": 0.8, "worst_class": 0.6}
    make_run(place / "erm", plan_of(data="plain"), values, attributes=(), aligned=())


def of_two_ratios(place: Path) -> None:
    for ratio in (0.05, 0.1):
        make_run(place / f"{ratio}", plan(f"colored-digits:ratio={ratio}", "erm"), BIASED)


def of_a_planted_cue(place: Path) -> None:
    label = torch.arange(40) % 2
    said = {"outputs": torch.eye(2)[label], "label": label, "attribute": torch.arange(40) // 2 % 2}
    for method in ("erm", "lff"):
        make_run(place / method, plan("planted:cue=stripe", method), BIASED, predictions=said)


SEVERAL = (classification, regression, without_attribute, of_two_ratios, of_a_planted_cue)
RUNS = {make.__name__: make for make in SEVERAL}
SINCE = {"verdicts": ["clear", "alarm"], "sentence": "The verdict was clear.", "unfair": "", "changes": []}
AUDITS = {
    "image": {"slices": [{"slice": "lakes", "samples": record_of()["gallery"]["suspects"]}], "baseline": SINCE},
    "tokens": {},
    "table": {},
    "bare": {
        "findings": [],
        "curves": None,
        "gallery": None,
        "pairs": [],
        "clusters": [],
        "command": "",
        "tensors": {},
    },
}


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """What panels are shown for, by what they are about."""
    place = tmp_path_factory.mktemp("subjects")
    for name, make in RUNS.items():
        make(place / "runs" / name)
    for name, changes in AUDITS.items():
        make_audit(place / "audits" / name, "image" if name == "bare" else name, **changes)
    found = studies(runs.read(path) for path in runs.find([place / "runs"]))
    audits = [folder.read(path) for path in folder.find([place / "audits"])]
    return {"study": found, "studies": [found, found[:1]], "audit": audits}


def shared(found: list[Study]) -> Shared:
    names = [contender.name for study in found for contender in study.contenders]
    return Shared("a page", figures.styles(names), len(found))


# --- the contract -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(PANELS))
def test_a_panel_is_shown_or_has_nothing_to_say(name: str, subjects: dict[str, list[Any]]):
    panel = PANELS[name]
    shown = [panel.function(subject, shared(subjects["study"])) for subject in subjects[panel.about]]
    assert any(shown), "one of these has something that it can show"
    for html in shown:
        assert html is None or isinstance(html, Markup)
        assert html is None or html.strip(), "an empty panel is None, so that no heading stands alone"
    for subject, html in zip(subjects[panel.about], shown, strict=True):
        again = panel.function(subject, shared(subjects["study"]))
        assert again == html, "the same runs, the same page"


@pytest.mark.parametrize("about", ["audit", "study", "studies"])
def test_no_two_panels_stand_at_the_same_place(about: str):
    orders = [panel.order for panel in PANELS.own.values() if panel.about == about]
    assert orders == sorted(set(orders))


def test_a_page_has_the_heading_of_each_panel_that_says_something(subjects: dict[str, list[Any]]):
    found, audits = subjects["study"], subjects["audit"]
    html = page(audits, found)
    for panel in PANELS.values():
        said = [
            panel.function(subject, shared(found)) for subject in {"study": found, "audit": audits}.get(panel.about, ())
        ]
        if panel.title:
            assert html.count(f"<h3>{escape(panel.title)}</h3>") >= sum(each is not None for each in said)


# --- a panel from another file ----------------------------------------------------------------------------------------


FILE = """
from markupsafe import Markup
from longcut.report import Panel

def best(study, page):
    return None if study.data == "plain" else Markup("<p>{} is <b>best</b></p>").format(study.contenders[-1].name)

PANELS = {
    "best": Panel("study", "Who is <best>", best, 120),
    "seen": Panel("audit", "Seen", lambda audit, page: "<b>" + audit[0]["data"]),
    "all": Panel("studies", "All of them", lambda found, page: Markup("<p>{} studies</p>").format(page.studies)),
}
"""


@pytest.fixture
def loaded(tmp_path: Path) -> None:
    path = tmp_path / "my_panel.py"
    path.write_text(FILE)
    registry.load_file(path)


def test_a_panel_from_another_file_stands_on_the_page(loaded: None, tmp_path: Path):
    make_run(tmp_path / "runs" / "a", plan_of(), BIASED)
    make_run(tmp_path / "runs" / "b", plan_of(data="plain"), BIASED)
    make_audit(tmp_path / "audits" / "c")
    found = Page(write([tmp_path / "runs", tmp_path / "audits"], tmp_path / "page.html"))
    check_self_contained(found)
    assert found.text.count("Who is <best> ERM is best") == 1
    assert found.text.index("Methods Accuracy") < found.text.index("Who is <best>")
    assert "Seen <b>birds" in found.text  # plain text is no HTML
    assert found.text.index("Candidate groups") < found.text.index("Seen") < found.text.index("Settings and versions")
    assert found.text.count("All of them 2 studies") == 1


def test_a_panel_about_something_else_is_refused():
    wrong: Any = "run"
    with pytest.raises(ValueError, match="a panel is about audit or study or studies, not about 'run'"):
        Panel(wrong, "", lambda subject, page: None)
