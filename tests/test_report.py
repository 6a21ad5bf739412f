"""The page: what it says, what it must not do, and what it leaves out when pieces are missing."""

from __future__ import annotations

import dataclasses
import math
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.patches import Rectangle
from torch import Tensor

from longcut import runs
from longcut.analyses import negatives
from longcut.data import Dataset, generator
from longcut.door import Door
from longcut.errors import UserError
from longcut.evaluate import METRICS, Group, Scores
from longcut.fit import Epoch
from longcut.plans import plan as planned
from longcut.record import Best, Inputs, Judged, Plan, Record
from longcut.report import embed, figures, write
from longcut.report.study import Contender, Study, studies
from longcut.spec import pairs
from longcut.spec import split as split_specs
from longcut.training import Training

HOSTILE = "</title><script>alert('x')</script>\n<img src=http://evil.example onerror=alert(1)>$\\frac{1}$ & \"' -->中"
BIASED = {"average": 0.3, "aligned": 0.96, "conflicting": 0.21, "worst_group": 0.05}
BETTER = {"average": 0.72, "aligned": 0.9, "conflicting": 0.71, "worst_group": 0.5}


# --- synthetic run folders --------------------------------------------------------------------------------------------


def plan_of(method: str = "erm", seed: int = 0, **fields: Any) -> Plan:
    plan = {"data": "toy:ratio=0.02", "data_seed": seed, "method": method, "label": method, "options": {}, "net": "mlp"}
    return Plan(**plan | {"training": Training(epochs=3, lr=0.01), "seed": seed, "select": "last"} | fields)


def scores_of(values: Mapping[str, float], margin: float = 0.02) -> Scores:
    """Scores with these values, ``margin`` as half the width of their intervals, and nothing else defined."""
    group = Group(0, 0 if "conflicting" in values else None, 10, 0.5, math.nan, math.nan)
    every = dict.fromkeys(METRICS, math.nan) | dict(values)
    intervals = {name: (value - margin, value + margin) for name, value in every.items()}
    return Scores(every, intervals, [group], 1200)


def make_run(
    folder: Path,
    plan: Plan,
    values: Mapping[str, float],
    *,
    gallery: Mapping[str, Tensor] | None = None,
    predictions: Mapping[str, Tensor] | None = None,
    identification: Mapping[str, Tensor] | None = None,
    groups: Sequence[Group] = (),
    aligned: Sequence[int] = (0, 1),
    task: str = "classification",
    classes: Sequence[str] = ("cat", "dog"),
    attributes: Sequence[str] = ("red", "blue"),
    memberships: Sequence[str] = (),
    called: str = "",
    fingerprint: str = "",
    finished: bool = True,
) -> Path:
    """A run folder as training writes it; at epoch 1, 2, 3 a metric is at 1/3, 2/3, 3/3 of its value."""
    scores = scores_of(values)
    scores = dataclasses.replace(scores, groups=list(groups) or scores.groups)
    numbers = task == "regression"
    known: dict[str, Any] = {"attribute": [0, 1, 0, 1], "n_attributes": len(attributes), "aligned": tuple(aligned)}
    known = known if "attribute" in (predictions or {}) else {}
    if known and predictions:
        known["n_attributes"] = max(len(attributes), int(predictions["attribute"].max()) + 1)
    label = torch.zeros(4, 2) if numbers else torch.zeros(4).long()
    predictions = predictions or {"outputs": torch.zeros(4, 2), "label": label}
    data = Dataset.of(torch.rand(4, 2), [0.5, 1, 1, 0] if numbers else [0, 1, 1, 0], **known)
    width = predictions["outputs"].shape[1]
    with runs.Writer(folder, plan) as run:
        run.start(fingerprint or f"data {plan.data_seed}")
        for epoch in (1, 2, 3):
            test = {name: value * epoch / 3 for name, value in scores.values.items()}
            run.on_epoch(Epoch(epoch, 3, {"epoch": epoch, "seconds": 0.1, "loss": 1.0, "test": test}, dict))
        if finished:
            run.finish(
                {
                    "epoch": 3,
                    "seconds": 0.3,
                    "parameters": 31280,
                    "task": task,
                    "scores": Judged(scores),
                    "best": Best(2, 0.875),
                },
                inputs=Inputs(dataclasses.replace(data.info, n_classes=width, class_names=()), "float32"),
                weights={},
                predictions=predictions,
                identification=identification,
                gallery=gallery or {},
                about={"class_names": classes, "attribute_names": attributes, "aligned": aligned}
                | {"membership_names": memberships, "attribute": called},
            )
    return folder


def pictures(size: int = 8) -> dict[str, Tensor]:
    """A gallery of two classes and two attribute values, in which the last 10 of 40 samples contradict."""
    draw = generator(1)

    def images(n: int) -> Tensor:
        coarse = 255 * torch.rand(n, 3, 8, 8, generator=draw)
        return torch.nn.functional.interpolate(coarse, size=size, mode="bilinear").to(torch.uint8)

    label, conflicting = torch.arange(40) % 2, torch.arange(40) >= 30
    attribute = torch.where(conflicting, 1 - label, label)
    samples = {"x": images(40), "label": label, "attribute": attribute, "conflicting": conflicting}
    pairs = {"anchor_x": images(8), "partner_x": images(8), "mixed_x": images(8), "share": torch.linspace(0, 0.5, 8)}
    pairs |= {"anchor_label": torch.zeros(8).long(), "anchor_attribute": torch.zeros(8).long()}
    pairs |= {"partner_label": torch.tensor([0, 0, 0, 0, 0, 1, 1, 1])}
    pairs |= {"partner_attribute": torch.tensor([1, 1, 1, 1, 1, 0, 0, 1])}
    return (
        {f"sample_{name}": column for name, column in samples.items()}
        | {f"pair_{name}": column for name, column in pairs.items()}
        | {"embedding": torch.randn(40, 5, generator=draw)}
        | {f"embedding_{name}": samples[name] for name in ("label", "attribute", "conflicting")}
    )


def with_negatives(found: dict[str, Tensor], k: int = 3) -> dict[str, Tensor]:
    """That gallery, of a net that knows a sample's label alone, and a bias model that knows its attribute alone."""
    draw = generator(2)
    seen = {"features": "label", "embedding": "attribute"}
    found = found | {
        name: torch.eye(2)[found[f"embedding_{what}"]] + 0.01 * torch.randn(40, 2, generator=draw)
        for name, what in seen.items()
    }
    anchor = torch.tensor([0, 1, 30])
    them = negatives(found["features"], found["embedding"], anchor, k)
    rows = torch.cat([anchor[:, None], them.row.flatten(1)], 1).flatten()
    return (
        found
        | {f"negative_{name}": value for name, value in vars(them).items()}
        | {"negative_x": found["sample_x"][rows]}
    )


@pytest.fixture
def three_seeds(tmp_path: Path) -> Path:
    """Two methods with three seeds: 2 points between seeds, the middle one as in ``BIASED`` and ``BETTER``."""
    for method, values in (("erm", BIASED), ("selecmix", BETTER)):
        for seed in range(3):
            shifted = {name: value + 0.02 * (seed - 1) for name, value in values.items()}
            gallery = pictures() if method == "selecmix" else {k: v for k, v in pictures().items() if "sample" in k}
            make_run(tmp_path / f"{method}-s{seed}", plan_of(method, seed), shifted, gallery=gallery)
    return tmp_path


class Page(HTMLParser):
    """What a browser would find: tags with their attributes, and the text outside of scripts, styles and contents."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self._silent = self._contents = False
        self.source = path.read_text("utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        self._silent = tag in ("script", "style")
        self._contents |= tag == "nav"

    def handle_endtag(self, tag: str) -> None:
        self._silent = False
        self._contents &= tag != "nav"

    def handle_data(self, data: str) -> None:
        if not (self._silent or self._contents):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).replace("\u202f", " ").split())

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def report(folder: Path, **options: Any) -> Page:
    return Page(write([folder], folder / "report.html", **options))


# --- what a page must be ----------------------------------------------------------------------------------------------


def check_self_contained(found: Page) -> None:
    assert "://" not in found.source
    for tag, attributes in found.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href", "srcset", "action"):
                assert value.startswith("#") or (tag == "img" and value.startswith("data:image/"))
    assert len(found.of("script")) == 1
    assert not re.findall(r"url\((?!#)", found.source)


def test_a_page_needs_nothing_else(three_seeds: Path):
    found = report(three_seeds)
    check_self_contained(found)
    assert len(found.of("img")) == 20 + 10 + 3 * 8  # at most 20 that agree, all that contradict, three to a pair
    assert len(found.of("svg")) > 8
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {attributes["href"][1:] for attributes in found.of("use")}
    assert links <= set(ids)


def test_every_picture_says_what_it_shows(three_seeds: Path):
    found = report(three_seeds)
    assert all(attributes["alt"] for attributes in found.of("img"))
    labels = [attributes["aria-label"] for attributes in found.of("svg") if "aria-hidden" not in attributes]
    assert "Conflicting on the test set, mean over seeds: ERM 21.0 %, SelecMix 71.0 %." in labels
    assert any(label.startswith("Map of 40 training samples") for label in labels)


def test_names_from_data_stay_text(tmp_path: Path):
    plan = plan_of("mine", label=HOSTILE, data=f"toy{HOSTILE}", options={HOSTILE: HOSTILE})
    shown = with_negatives(pictures())
    make_run(tmp_path / "a", plan, BETTER, gallery=shown, classes=[HOSTILE] * 2, attributes=[HOSTILE] * 2)
    found = report(tmp_path, title=f"My {HOSTILE}")
    assert len(found.of("script")) == 1
    assert not any(name.startswith("on") for _, attributes in found.tags for name in attributes)
    assert {attributes["src"][:11] for attributes in found.of("img")} == {"data:image/"}
    text = " ".join(HOSTILE.split())
    # title, label, and the captions of the samples and of three anchors, each with three negatives of both kinds
    assert found.text.count(text) > 2 + 2 * 30 + 2 * 3 * 7
    assert any(" ".join(attributes["alt"].split()) == f"{text}, {text}" for attributes in found.of("img"))


def test_the_same_runs_give_the_same_page_whatever_the_caller_set(three_seeds: Path):
    before = dict(matplotlib.rcParams)
    state = np.random.get_state()[1].tolist()  # type: ignore[index]
    first = report(three_seeds).source
    assert dict(matplotlib.rcParams) == before
    assert np.random.get_state()[1].tolist() == state  # type: ignore[index]
    own: Any = {
        "axes.grid": True,
        "axes.facecolor": "black",
        "font.size": 30,
        "lines.marker": "x",
        "xtick.color": "red",
    }
    own |= {"figure.autolayout": True, "savefig.bbox": "tight", "axes.spines.top": False, "lines.linestyle": "--"}
    own |= {"axes.xmargin": 0.4, "font.family": "serif", "axes.labelcolor": "red", "xtick.color": "red"}
    with matplotlib.rc_context(own):
        assert report(three_seeds).source == first


def test_a_page_of_large_pictures_stays_small(tmp_path: Path):
    for i in range(6):
        plan = plan_of("selecmix", label=f"selecmix:q=0.{i}", options={"q": i / 10})
        make_run(tmp_path / str(i), plan, BETTER, gallery=pictures(size=224))
    path = write([tmp_path], tmp_path / "report.html")
    assert path.stat().st_size < 2_000_000


# --- what it says -----------------------------------------------------------------------------------------------------


def test_the_table_has_mean_spread_rule_and_oracle(three_seeds: Path):
    found = report(three_seeds)
    # three seeds two points apart: sample standard deviation 2 points
    assert "ERM 3 3 last epoch 30.0 ± 2.0 96.0 ± 2.0 21.0 ± 2.0 5.0 ± 2.0 87.5 ± 0.0" in found.text
    assert "SelecMix 3 3 last epoch 72.0 ± 2.0 90.0 ± 2.0 71.0 ± 2.0 50.0 ± 2.0 87.5 ± 0.0" in found.text
    assert "Best average (oracle): average at the epoch where it is best, chosen on the test set" in found.text
    for name in ("average", "aligned", "conflicting", "worst_group"):
        assert METRICS[name].definition in found.text
    assert METRICS["group_mean"].definition not in found.text  # no run has it
    assert "2 methods · 3 seeds each · 1,200 test samples" in found.text


def test_the_page_begins_with_what_was_found(three_seeds: Path):
    sentence = (
        "ERM follows the colour: 96 % right where it agrees with the label, 21 % where it contradicts it; "
        "SelecMix, never told the colour, gets 71 % there."
    )
    assert report(three_seeds).text.split("toy:ratio=0.02")[2].strip().startswith(sentence)


def test_mixtures_are_sorted_by_what_they_have_in_common(three_seeds: Path):
    text = report(three_seeds).text
    kinds = [
        "Same colour, another label 2 of 8",
        "Same label, another colour 5 of 8",
        "Another label and colour 1 of 8",
    ]
    assert [text.index(kind) for kind in kinds] == sorted(text.index(kind) for kind in kinds)
    assert "50 + 50 %" in text


def test_settings_say_what_is_shared_and_what_is_not(tmp_path: Path):
    make_run(tmp_path / "a", plan_of("erm"), BIASED)
    make_run(tmp_path / "b", plan_of("selecmix", options={"q": 0.5}), BETTER)
    text = report(tmp_path).text
    assert re.search(r"All methods net=mlp select=last epochs=3 .* lr=0.01 .* ERM method=erm Seeds 0", text)
    assert "SelecMix method=selecmix q=0.5 Seeds 0; 31,280 parameters; 0.3 s" in text
    assert "Hwang" in text
    assert "data seed 0: data 0" in text
    assert f"torch {torch.__version__}" in text


def test_a_mean_has_its_interval():
    """Three seeds two points apart: t = 4.303 with two degrees of freedom, standard error 2 / sqrt(3) points."""
    several = contender("erm", *(split(0.9, value) for value in (0.28, 0.3, 0.32)))
    reach = 4.302653 * 0.02 / math.sqrt(3)
    assert several.interval_of_mean("conflicting") == pytest.approx((0.3 - reach, 0.3 + reach), abs=1e-6)
    assert contender("erm", split(0.9, 0.3)).interval_of_mean("conflicting") == pytest.approx((0.28, 0.32))
    undefined = contender("erm", {"average": 0.5}, {"average": 0.6}).interval_of_mean("conflicting")
    assert all(map(math.isnan, undefined))


def cell_of(label: int, attribute: int | None, value: float, n: int = 10) -> Group:
    return Group(label, attribute, n, value, value - 0.01, value + 0.01)


def test_groups_the_worst_on_top(tmp_path: Path):
    places = [(0, 0), (0, 1), (1, 0), (1, 1)]
    for method, values in (("erm", (0.9, 0.2, 0.3, math.nan)), ("lff", (0.6, 0.7, 0.5, math.nan))):
        for seed in range(2):
            cells = [cell_of(*p, v + seed / 50, n=0 if v != v else 10) for p, v in zip(places, values, strict=True)]
            make_run(tmp_path / f"{method}{seed}", plan_of(method, seed), BIASED, groups=cells)
    found = report(tmp_path)
    rows = ("cat blue contradicts 10 21.0 ± 1.4 71.0 ± 1.4", "dog red contradicts 10 31.0 ± 1.4 51.0 ± 1.4")
    last = "cat red agrees 10 91.0 ± 1.4 61.0 ± 1.4 "
    order = [found.text.find(row) for row in (*rows, last)]
    assert -1 not in order
    assert order == sorted(order)
    assert "dog blue" not in found.text.partition("What was taken")[0]  # no sample, no row
    worst = re.findall(r'<td class="worst"[^>]*><span class="mean">([^<]*)', found.source)
    assert worst == ["21.0", "51.0"]


def test_groups_with_one_seed_and_without_an_attribute(tmp_path: Path):
    cells = [cell_of(0, None, 0.5), cell_of(1, None, 0.25)]
    make_run(tmp_path / "a", plan_of(), BIASED, groups=cells, attributes=(), aligned=())
    assert "Label Samples ERM dog 10 25.0 [24.0, 26.0] cat 10 50.0 [49.0, 51.0]" in report(tmp_path).text


def test_groups_of_errors(tmp_path: Path):
    cells = [cell_of(0, 0, 0.5), cell_of(0, 1, 2.5), cell_of(0, 2, math.nan)]
    make_run(tmp_path / "a", plan_of(), {"average": 1.5}, groups=cells, task="regression")
    assert "Colour Samples ERM blue 10 1.58 [1.58, 1.58] red 10 0.707 [0.7, 0.714] 2 10 –" in report(tmp_path).text


def predictions_of(label: list[int], taken_for: list[int], attribute: list[int] | None) -> dict[str, Tensor]:
    tensors = {"outputs": torch.eye(2)[taken_for], "label": torch.tensor(label)}
    return tensors if attribute is None else tensors | {"attribute": torch.tensor(attribute)}


def test_what_was_taken_for_what(tmp_path: Path):
    #         agree: 3 cats and a dog | contradict: a cat and 2 dogs
    label, attribute = [0, 0, 0, 1, 0, 1, 1], [0, 0, 0, 1, 1, 0, 0]
    for seed, taken in enumerate(([0, 0, 1, 1, 1, 0, 0], [0, 0, 0, 1, 0, 0, 1])):
        predictions = predictions_of(label, taken, attribute)
        make_run(tmp_path / str(seed), plan_of(seed=seed), BIASED, predictions=predictions)
    text = report(tmp_path).text
    # six cats that agree, five right; two cats that contradict, one right; four such dogs, one right
    assert "The colour agrees with the label 8 predictions cat dog cat 83 17 dog · 100" in text
    assert "The colour contradicts the label 6 predictions cat dog cat 50 50 dog 75 25" in text
    assert "all seeds together" in text


@pytest.mark.parametrize(
    ("attribute", "names", "parts"),
    [
        (None, (), ["All test samples 3 predictions cat dog cat 100 · dog 50 50"]),
        ([0, 1, 1], ("red", "blue"), ["red 1 predictions cat dog cat 100 · dog – –", "blue 2 predictions"]),
    ],
)
def test_confusion_without_knowing_what_agrees(tmp_path: Path, attribute: Any, names: Any, parts: list[str]):
    predictions = predictions_of([0, 1, 1], [0, 0, 1], attribute)
    make_run(tmp_path / "a", plan_of(), BIASED, predictions=predictions, attributes=names, aligned=())
    text = report(tmp_path).text
    assert all(part in text for part in parts)


def test_no_confusion_of_too_many_classes_or_of_removed_predictions(tmp_path: Path):
    many = {"outputs": torch.zeros(4, 13), "label": torch.zeros(4).long()}
    folder = make_run(tmp_path / "a", plan_of(), BIASED, predictions=many)
    assert "What was taken for what" not in report(tmp_path).text
    (folder / "predictions.safetensors").unlink()
    assert "What was taken for what" not in report(tmp_path).text


def judged_run(folder: Path, method: str, right: Sequence[int], seed: int = 0, **how: Any) -> None:
    """A run whose 200 test samples, half of them of class 1, are right as often as ``right`` says of each half."""
    label = torch.arange(200) // 100
    taken = torch.where(torch.arange(200) % 100 < torch.tensor(right)[label], label, 1 - label)
    predictions = {"outputs": torch.eye(2)[taken], "label": label, "index": torch.arange(200)}
    make_run(folder / f"{method}-s{seed}", plan_of(method, seed), BETTER, predictions=predictions, **how)


def test_each_method_beside_the_baseline(tmp_path: Path):
    for seed in range(2):
        judged_run(tmp_path, "erm", (90, 60), seed)
        judged_run(tmp_path, "selecmix", (90, 80), seed)
        judged_run(tmp_path, "lff", (90, 60), seed)
    text = report(tmp_path).text
    assert "Beside ERM How much higher each method is than ERM on the same test samples, seeds averaged" in text
    assert re.search(r"SelecMix \+20\.0 \[\+1\d\.\d, \+2\d\.\d\] p = 0\.00\d+ \+10\.0 \[\+", text)
    assert "LfF 0.0 [0.0, 0.0] p = 1 0.0 [0.0, 0.0] p = 1" in text


def test_nothing_beside_a_baseline_on_other_data_or_without_predictions(tmp_path: Path):
    judged_run(tmp_path / "apart", "erm", (90, 60), fingerprint="one")
    judged_run(tmp_path / "apart", "selecmix", (90, 80), fingerprint="another")
    with pytest.raises(UserError, match="the data was changed between them"):
        report(tmp_path / "apart")
    shutil.rmtree(tmp_path / "apart")
    judged_run(tmp_path, "erm", (90, 60), fingerprint="one")
    judged_run(tmp_path, "lff", (90, 80), fingerprint="one")
    assert "Beside ERM" in report(tmp_path).text
    (tmp_path / "lff-s0" / "predictions.safetensors").unlink()
    assert "Beside ERM" not in report(tmp_path).text


def test_groups_that_overlap_have_the_names_of_their_memberships(tmp_path: Path):
    cells = [cell_of(0, 0, 0.9), cell_of(0, 1, 0.5), cell_of(1, 0, 0.7), cell_of(1, 1, 0.6)]
    make_run(tmp_path / "a", plan_of(), BIASED, groups=cells, memberships=("male", "black"))
    text = report(tmp_path).text
    assert "These groups overlap: a sample may be in several, or in none." in text
    assert "Label Group Samples ERM cat black 10 50.0 [" in text


def test_curves_join_the_epochs_that_all_seeds_have(three_seeds: Path):
    study = studies(runs.read(folder) for folder in runs.find([three_seeds]))[0]
    epochs, values = study.contenders[0].curve("aligned")
    assert epochs == [1, 2, 3]
    assert values[1] == pytest.approx([0.32, 0.64, 0.96])


def test_every_data_set_has_its_part(tmp_path: Path):
    for ratio in (0.01, 0.05):
        make_run(tmp_path / str(ratio), plan_of(data=f"toy:ratio={ratio}"), BIASED | {"average": ratio})
    make_run(tmp_path / "c", plan_of("selecmix", data="toy:ratio=0.01"), BETTER)
    make_run(tmp_path / "d", plan_of("lff", data="toy:ratio=0.05"), BETTER)
    found = report(tmp_path)
    assert "toy:ratio=0.01, toy:ratio=0.05" in found.text
    assert len(found.of("section")) == 2
    swatches = [attributes["style"] for attributes in found.of("span") if attributes.get("class") == "swatch"]
    assert swatches[0] == swatches[2]
    assert len(set(swatches)) == 3  # a method keeps its colour, and no other method on the page has it


# --- what is missing --------------------------------------------------------------------------------------------------


def test_one_seed_has_an_interval_instead_of_a_spread(tmp_path: Path):
    make_run(tmp_path / "a", plan_of(), BIASED)
    text = report(tmp_path).text
    assert "96.0 [94.0, 98.0]" in text
    assert "With one seed nothing is known about the spread over training runs" in text
    assert "±" not in text
    assert "dots are seeds" not in text


def test_the_words_are_those_of_the_column(tmp_path: Path):
    make_run(tmp_path / "a", plan_of(), BIASED, attributes=("Female", "Male"), called="sex")
    assert "ERM follows the sex: 96 % right where it agrees" in report(tmp_path).text
    make_run(tmp_path / "a", plan_of(), BIASED, attributes=("land", "water"), called="attribute")
    assert "takes the shortcut: 96 % right" in report(tmp_path).text


def test_without_pictures(tmp_path: Path):
    folder = make_run(tmp_path / "a", plan_of(), BIASED, attributes=())
    found = report(tmp_path)
    assert not found.of("img")
    assert "What was trained on" not in found.text
    (folder / "gallery.safetensors").unlink()
    assert "takes the shortcut: 96 % right" in report(tmp_path).text


def test_without_an_attribute(tmp_path: Path):
    gallery = {k: v for k, v in pictures().items() if "attribute" not in k}
    gallery |= {k: torch.zeros(40, dtype=torch.bool) for k in gallery if k.endswith("_conflicting")}
    values = {"average": 0.8, "worst_group": 0.6}
    make_run(tmp_path / "a", plan_of(), values, gallery=gallery, attributes=())
    found = report(tmp_path)
    assert "ERM is right on 80 % of the test samples and on 60 % of its worst class." in found.text
    assert "agrees with the label" not in found.text
    assert "Aligned" not in found.text
    assert "Coloured by label" in found.text
    assert "Coloured by attribute" not in found.text
    assert "Same label 5 of 8" in found.text


def test_regression(tmp_path: Path):
    gallery = {"sample_x": pictures()["sample_x"], "sample_label": torch.linspace(0, 1, 40)[:, None]}
    gallery |= {"sample_conflicting": torch.zeros(40, dtype=torch.bool)}
    for seed in range(2):
        for method, error in (("erm", 1.5), ("mixup", 1.25)):
            values = {"average": error + seed / 10, "worst_group": 2.5}
            plan = plan_of(method, seed)
            make_run(tmp_path / f"{method}{seed}", plan, values, gallery=gallery, task="regression", attributes=())
    text = report(tmp_path).text
    told = "ERM has a root mean squared error of 1.24; Mixup gets 1.14, no clear difference."
    assert told in text
    assert f"1.24 ± {(1.6**0.5 - 1.5**0.5) / 2**0.5:.3g}" in text, "the mean of the seeds' roots"
    assert "Lowest RMSE (oracle)" in text
    assert "lower is better" in text
    assert "ccuracy" not in text


def test_what_is_not_defined_is_a_dash(tmp_path: Path):
    make_run(tmp_path / "a", plan_of("erm"), {"average": 0.8})
    make_run(tmp_path / "b", plan_of("lff"), {"average": 0.7, "worst_group": 0.2})
    text = report(tmp_path).text
    assert "ERM 1 3 last epoch 80.0 [78.0, 82.0] – 87.5" in text
    assert "nan" not in text.lower()


def test_nothing_measured(tmp_path: Path):
    make_run(tmp_path / "a", plan_of(), {})
    assert "ERM on toy:ratio=0.02: nothing could be measured." in report(tmp_path).text


# --- which runs count -------------------------------------------------------------------------------------------------


def test_unfinished_runs_are_left_out_and_said_so(tmp_path: Path):
    make_run(tmp_path / "a", plan_of(), BIASED)
    make_run(tmp_path / "b", plan_of("lff"), BETTER, finished=False)
    text = report(tmp_path).text
    assert "1 run is not finished and left out." in text
    assert "LfF" not in text


def test_a_run_that_is_there_twice_counts_once(tmp_path: Path):
    for name in ("a", "b"):
        make_run(tmp_path / name, plan_of(), BIASED)
    text = report(tmp_path).text
    assert "1 run is there more than once and counted once." in text
    assert "ERM 1 3" in text


def test_runs_on_different_data_are_pointed_out(tmp_path: Path):
    make_run(tmp_path / "a", plan_of("erm"), BIASED, fingerprint="one")
    make_run(tmp_path / "b", plan_of("lff"), BETTER, fingerprint="other")
    with pytest.raises(UserError, match="but the data was changed between them"):
        report(tmp_path)


def test_one_label_with_two_settings_is_two_methods(tmp_path: Path):
    make_run(tmp_path / "a", plan_of(training=Training(epochs=3, lr=0.01)), BIASED)
    make_run(tmp_path / "b", plan_of(training=Training(epochs=3, lr=0.1)), BETTER)
    text = report(tmp_path).text
    assert "ERM (lr=0.01) 1 3" in text
    assert "ERM (lr=0.1) 1 3" in text


# --- files ------------------------------------------------------------------------------------------------------------


def test_the_page_lies_where_it_was_asked_for(tmp_path: Path):
    run = make_run(tmp_path / "runs" / "a", plan_of(), BIASED)
    assert write([run], tmp_path) == tmp_path / "report.html"
    assert write([run], tmp_path / "new" / "page.html") == tmp_path / "new" / "page.html"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "report.html", "runs"]  # no temporary file


def test_nothing_finished(tmp_path: Path):
    make_run(tmp_path / "a", plan_of(), BIASED, finished=False)
    with pytest.raises(UserError, match="is finished, so there is nothing to report; finish one first"):
        write([tmp_path], tmp_path / "report.html")


def test_a_place_that_cannot_be_written(tmp_path: Path):
    run = make_run(tmp_path / "a", plan_of(), BIASED)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write the report to .*file.*choose another place"):
        write([run], tmp_path / "file" / "report.html")


# --- the sentence -----------------------------------------------------------------------------------------------------


def contender(method: str, *seeds: Mapping[str, float], margin: float = 0.02, **fields: Any) -> Contender:
    records = [
        Record(1, "done", plan_of(method, seed, **fields), "f", {}, scores=Judged(scores_of(values, margin)))
        for seed, values in enumerate(seeds)
    ]
    return Contender(method, tuple(runs.Run(Path(), record, Door(Path(), "")) for record in records))


def split(aligned: float, conflicting: float) -> dict[str, float]:
    return {"average": 0.5, "aligned": aligned, "conflicting": conflicting}


@pytest.mark.parametrize(
    ("contenders", "sentence"),
    [
        (
            [contender("lff", split(0.9, 0.7))],
            "lff takes the shortcut: 90 % right where it agrees with the label, 70 % where it contradicts it.",
        ),
        (  # seven points: too few for a claim
            [contender("erm", split(0.9, 0.83))],
            "erm is 90 % right where the shortcut agrees with the label, 83 % where it contradicts it.",
        ),
        (  # twenty points, but the test set is so small that it could be chance
            [contender("erm", split(0.9, 0.7), margin=0.2)],
            "erm is 90 % right where the shortcut agrees with the label, 70 % where it contradicts it.",
        ),
        (
            [contender("erm", split(0.9, 0.89))],
            "erm does not follow the shortcut: "
            "90 % right where it agrees with the label, 89 % where it contradicts it.",
        ),
        (  # as good here, but with intervals too wide to say that there is nothing
            [contender("erm", split(0.9, 0.89), margin=0.2)],
            "erm is 90 % right where the shortcut agrees with the label, 89 % where it contradicts it.",
        ),
        (  # it was told the attribute
            [contender("erm", split(0.9, 0.2)), contender("lisa", split(0.9, 0.8))],
            "erm takes the shortcut: 90 % right where it agrees with the label, 20 % where it contradicts it; "
            "lisa gets 80 % there.",
        ),
        (  # worse than the baseline, said by the numbers
            [contender("erm", split(0.9, 0.5)), contender("lff", split(0.9, 0.3)), contender("mixup", split(0.9, 0.1))],
            "erm takes the shortcut: 90 % right where it agrees with the label, 50 % where it contradicts it; "
            "lff, the best of the other 2 and never told the shortcut, gets 30 % there.",
        ),
        (  # two seeds 20 points apart: 30 ± 14 is not more than 20 ± 14
            [
                contender("erm", split(0.9, 0.1), split(0.9, 0.3)),
                contender("lff", split(0.9, 0.2), split(0.9, 0.4)),
            ],
            "erm is 90 % right where the shortcut agrees with the label, 20 % where it contradicts it; "
            "lff, never told the shortcut, gets 30 % there, no clear difference.",
        ),
        (
            [contender("erm", {"average": 0.998})],
            "erm is right on 99.8 % of the test samples.",
        ),
    ],
)
def test_the_sentence_claims_no_more_than_the_numbers(contenders: list[Contender], sentence: str):
    assert Study("toy", tuple(contenders)).sentence().replace("\u202f", " ") == sentence


@pytest.mark.parametrize(
    "fields",
    [
        {"options": {"pairs": "attribute"}},
        {"options": {"by": "group"}},
        {"select": "best:worst_group"},
        {"select": "oracle"},
    ],
)
def test_a_method_that_may_have_seen_the_attribute_was_told(fields: dict[str, Any]):
    assert contender("selecmix", split(0.9, 0.8), **fields).knows_shortcut
    assert not contender("selecmix", split(0.9, 0.8)).knows_shortcut


# --- the command ------------------------------------------------------------------------------------------------------


def planned_by(command: str) -> list[Plan]:
    """The plans that a ``longcut compare`` or ``longcut train`` line makes."""
    _, verb, data, *words = shlex.split(command)
    flags = dict(zip(words[::2], words[1::2], strict=True))
    given = [word for flag, word in zip(words[::2], words[1::2], strict=True) if flag == "--set"]
    settings = pairs(given, "", "")
    seeds = range(int(flags["--seeds"])) if verb == "compare" else [int(flags["--seed"])]
    methods = split_specs(flags["--methods"]) if verb == "compare" else [flags["--method"]]
    select = flags.get("--select", "last")
    return [planned(data, m, settings=settings, seed=s, select=select) for m in methods for s in seeds]


def commands(folder: Path, plans: Sequence[Plan]) -> list[str]:
    for i, plan in enumerate(plans):
        make_run(folder / str(i), plan, BIASED)
    source = report(folder).source
    found = re.search(r"<pre><code>(.*)</code></pre>", source, re.DOTALL)
    return found[1].replace("&#39;", "'").splitlines() if found else []


@pytest.mark.parametrize(
    ("methods", "settings", "seeds"),
    [
        (["erm", "selecmix@paper", "lff:q=0.5"], {}, [0, 1]),
        (["erm", "selecmix"], {"epochs": 7, "net": "mlp:hidden=8-4,scale=0.5"}, [0]),
        (["lff"], {"lr": 0.25}, [3, 5]),
    ],
)
def test_the_command_makes_these_runs_again(
    tmp_path: Path, methods: list[str], settings: dict[str, Any], seeds: list[int]
):
    plans = [
        planned("colored-digits", method, settings=settings, seed=seed, select="best:average")
        for method in methods
        for seed in seeds
    ]
    *lines, last = commands(tmp_path, plans)
    again = [plan for line in lines for plan in planned_by(line)]
    assert sorted(map(str, again)) == sorted(map(str, plans))
    assert last == "longcut report runs/colored-digits"


def test_runs_that_no_command_makes_have_none(tmp_path: Path):
    assert commands(tmp_path, [plan_of("mine", data="my data")]) == []


# --- figures ----------------------------------------------------------------------------------------------------------


def test_bars_end_at_the_mean():
    figure = figures.accuracy({"aligned": {"erm": [0.9, 0.7], "lff": [0.5, math.nan]}, "average": {"erm": [0.25]}})
    aligned, average = figure.axes
    assert [bar.get_width() for bar in aligned.patches if isinstance(bar, Rectangle)] == pytest.approx([0.8, 0.5])
    assert [bar.get_width() for bar in average.patches if isinstance(bar, Rectangle)] == [0.25]
    assert [text.get_text() for text in average.texts] == ["erm", "25.0", "lff", "–"]
    assert aligned.get_xlim() == (0, 1)


def test_a_line_shows_the_interval_within_the_scale():
    nothing = (math.nan, math.nan)
    figure = figures.accuracy({"average": {"erm": [0.5], "lff": [0.7]}}, intervals={"average": {"erm": (0.4, 1.2)}})
    assert [0.4, 1.0] in [np.asarray(line.get_xdata()).tolist() for line in figure.axes[0].lines]
    without = figures.accuracy({"average": {"erm": [0.5], "lff": [0.7]}}, intervals={"average": {"erm": nothing}})
    assert len(without.axes[0].lines) == len(figure.axes[0].lines) - 1


def test_chance_is_a_line():
    lines = {"aligned": ([1, 2], [[0.5, 0.9]])}
    figure = figures.curve(lines, {"aligned": figures.Style("red")}, "", unit="updates", chance=0.1)
    assert [0.1, 0.1] in [np.asarray(line.get_ydata()).tolist() for line in figure.axes[0].lines]
    assert figure.axes[0].get_xlabel() == "updates"
    plain = figures.curve(lines, {"aligned": figures.Style("red")}, "")
    assert len(plain.axes[0].lines) == 1


def test_bars_of_errors_have_their_own_scale():
    figure = figures.accuracy({"average": {"erm": [3.0, 5.0]}}, percent=False)
    assert figure.axes[0].get_xlim()[1] > 5
    assert [text.get_text() for text in figure.axes[0].texts] == ["erm", "4"]


def test_a_method_looks_the_same_everywhere_and_unlike_the_others():
    names = [f"m{i}" for i in range(20)]
    looks = figures.styles([*names, "erm"], baseline="erm")
    assert len(set(looks.values())) == 21
    assert looks["erm"].color == figures.BASELINE


@pytest.mark.parametrize(
    "embedding", [np.ones((40, 3)), np.full((40, 3), np.nan), np.random.default_rng(0).normal(size=(9, 3))]
)
def test_no_map_of_nothing(embedding: np.ndarray):
    assert figures.flatten(embedding) is None


def test_a_map_keeps_neighbours_together():
    draw = np.random.default_rng(0)
    centres = np.repeat(np.eye(4), 15, axis=0)
    place = figures.flatten(10 * centres + draw.normal(size=centres.shape))
    assert place is not None
    distance = np.linalg.norm(place[:, None] - place[None], axis=2) + np.eye(60) * 1e9
    assert (distance.argmin(1) // 15 == np.arange(60) // 15).all()
    flat = draw.normal(size=(12, 1))
    assert np.array_equal(figures.flatten(flat)[:, 0], flat[:, 0])  # type: ignore[index]


def test_a_small_image_keeps_its_pixels():
    import base64
    import io

    from PIL import Image

    image = np.arange(3 * 4 * 4, dtype=np.uint8).reshape(3, 4, 4)
    data = base64.b64decode(embed.uri(image).removeprefix("data:image/png;base64,"))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), image.transpose(1, 2, 0))
    grey = base64.b64decode(embed.uri(image[:1]).removeprefix("data:image/png;base64,"))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(grey)))[..., 2], image[0])
    large = base64.b64decode(embed.uri(np.zeros((3, 500, 250), np.uint8)).removeprefix("data:image/jpeg;base64,"))
    assert Image.open(io.BytesIO(large)).size == (48, 96)
