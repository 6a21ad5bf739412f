"""Plans and records: what is read, under which names, and what two runs have in common."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from longcut.data import Dataset, Splits
from longcut.evaluate import Group, Scores
from longcut.files import to_json
from longcut.methods import METHODS
from longcut.record import RENAMED, Best, Judged, Plan, Record, fingerprint, renamed_options
from longcut.spec import options_of
from longcut.training import Training

PLAN = Plan("toy", 0, "erm", "erm", {}, "mlp", Training(epochs=3, lr=0.5), 0, "last")
SCORES = Scores({"average": 0.5, "aligned": math.nan}, {"average": (0.4, 0.6), "aligned": (math.nan, math.nan)}, [
    Group(0, None, 3, 0.5, 0.4, 0.6), Group(1, 2, 0, math.nan, math.nan, math.nan),
], 3)  # fmt: skip
DONE = Record(
    1, "done", PLAN, "f", {"torch": "2"}, 3, 1.5, 7, "classification", Judged(SCORES), Best(2, 0.75), 0.1,
    {"probe": math.nan, "head": 0.25}, {"conflicting": 3, "aligned": 0, "precision": 1.0, "recall": math.nan},
)  # fmt: skip


def stored(record: Record) -> dict[str, Any]:
    return json.loads(to_json(record.to_dict()))


@pytest.mark.parametrize(
    "record",
    [
        DONE,
        replace(DONE, scores=Judged(SCORES, SCORES), bias=None, identification=None, conflicting_share=None),
        replace(DONE, remarks=("chose a: it is better.", "doubtful.")),
        Record(1, "running", PLAN, "f", {"torch": "2"}),
    ],
)
def test_a_record_comes_back_from_json(record: Record):
    again = Record.from_dict(stored(record))
    assert stored(again) == stored(record)
    assert again.plan == record.plan
    assert again.to_dict() == Record.from_dict(stored(record)).to_dict(), "nan is nan"
    assert (again.done, again.label, again.setting) == (record.done, "erm", PLAN.setting)


def test_json_has_null_for_nan_and_nothing_for_what_is_not_there():
    found = stored(DONE)
    assert list(found) == [
        "schema", "status", "plan", "fingerprint", "environment", "epoch", "seconds", "parameters", "task", "scores",
        "best", "conflicting_share", "bias", "identification",
    ]  # fmt: skip
    assert found["scores"]["test"]["values"] == {"average": 0.5, "aligned": None}
    assert found["scores"]["test"]["groups"][1] == {
        "label": 1, "attribute": 2, "n": 0, "value": None, "low": None, "high": None
    }  # fmt: skip
    assert found["scores"]["valid"] is None
    assert found["bias"] == {"probe": None, "head": 0.25}
    assert "files" not in found["plan"]
    assert not {"bias", "epoch", "scores"} & stored(replace(DONE, status="running", bias=None)).keys()


def test_seeds_are_no_part_of_a_setting():
    assert replace(PLAN, seed=1, data_seed=2).setting == PLAN.setting
    for other in (
        replace(PLAN, options={"q": 1}),
        replace(PLAN, label="mine"),
        replace(PLAN, training=Training(epochs=4, lr=0.5)),
        replace(PLAN, files={"mine.py": "0"}),
        replace(PLAN, unknown={"warmup": 1}),
    ):
        assert other.setting != PLAN.setting
    assert replace(PLAN, options={"a": 1, "b": 2}).setting == replace(PLAN, options={"b": 2, "a": 1}).setting


def test_options_are_read_under_the_names_they_have_now():
    old = {"raw": 0.5, "raw_forward": True, "q": 0.7}
    assert renamed_options("selecmix", old) == {"unmixed": 0.5, "unmixed_forward": True, "q": 0.7}
    assert renamed_options("lff", old) == old
    for mix, now in (("input", {}), ("cut", {"blend": "cut"}), ("output", {"level": "output"})):
        assert renamed_options("umix", {"mix": mix}) == now
    plain = stored(replace(DONE, plan=replace(PLAN, method="selecmix", options=old)))
    then = {"pairs": "learned", "unmixed": 8.0}
    assert Record.from_dict(plain).plan.options == then | renamed_options("selecmix", old)
    for method, names in RENAMED.items():
        options = {option.name for option in options_of(METHODS[method].__init__)}
        new: set[str] = set()
        for now in names.values():
            new |= {now} if isinstance(now, str) else {key for values in now.values() for key in values}
        assert new <= options
        assert not names.keys() & options


def test_an_option_that_had_another_default_keeps_it():
    plain = stored(replace(DONE, plan=replace(PLAN, method="afr")))
    assert Record.from_dict(plain).plan.options == {"sharpness": 10.0}
    assert Record.from_dict(plain | {"schema": 2}).plan.options == {}
    plain["plan"]["options"] = {"sharpness": 1.0}
    assert Record.from_dict(plain).plan.options == {"sharpness": 1.0}
    old = stored(replace(DONE, plan=replace(PLAN, method="selecmix", options={"unmixed": 1.0})))
    for schema in (1, 2):
        assert Record.from_dict(old | {"schema": schema}).plan.options == {"pairs": "learned", "unmixed": 1.0}
    assert Record.from_dict(old | {"schema": 3}).plan.options == {"unmixed": 1.0}


def test_a_method_that_is_not_known_any_more_is_read():
    plain = stored(replace(DONE, plan=replace(PLAN, method="gone", options={"depth": 3})))
    plan = Record.from_dict(plain).plan
    assert (plan.method, plan.options) == ("gone", {"depth": 3})


def test_balanced_meant_the_mean_of_the_group_means():
    plain = stored(DONE)
    for part in ("values", "intervals"):
        plain["scores"]["test"][part]["balanced"] = plain["scores"]["test"][part].pop("average")
    found = Record.from_dict(plain).scores.test
    assert (found.values["group_mean"], found.intervals["group_mean"]) == (0.5, (0.4, 0.6))


# --- the data's fingerprint -------------------------------------------------------------------------------------------


def images(attribute: bool = True, channels: int = 3, classes: int = 4, n: int = 200) -> Dataset:
    x = (torch.arange(n * channels * 4) % 251).to(torch.uint8).view(n, channels, 2, 2)
    label = torch.arange(n) % classes
    color = torch.where(torch.arange(n) // classes % 10 == 0, (label + 1) % classes, label)
    return Dataset.of(x, label, color if attribute else None, aligned=tuple(range(classes)) if attribute else ())


def test_the_fingerprint_sees_every_value_and_nothing_else():
    data = images()
    base = fingerprint(Splits(data, None, data))
    clone = dataclasses.replace(data, x=data.x.clone(), label=data.label.clone())
    assert fingerprint(Splits(clone, None, clone)) == base, "who shares storage with whom does not matter"
    pixel = data.x.clone()
    pixel[150, 2, 1, 1] += 1
    label = data.label.clone()
    label[7] = 0
    for changed in (
        dataclasses.replace(data, x=pixel),
        dataclasses.replace(data, x=data.x.view(200, 3, 4, 1)),
        dataclasses.replace(data, label=label),
        dataclasses.replace(data, attribute=data.label),
        dataclasses.replace(data, attribute=None),
        data.take(torch.arange(200).flip(0)),
    ):
        assert fingerprint(Splits(changed, None, changed)) != base
        assert fingerprint(Splits(data, changed, data)) != base


def test_the_fingerprint_of_memory_mapped_storage_is_that_of_its_values(tmp_path: Path):
    values = np.random.default_rng(0).normal(size=(5000, 3)).astype("float32")
    np.save(tmp_path / "x.npy", values)
    label = np.arange(5000) % 2
    mapped, loaded = Dataset.of(np.load(tmp_path / "x.npy", mmap_mode="r"), label), Dataset.of(values, label)
    assert fingerprint(Splits(mapped, None, mapped)) == fingerprint(Splits(loaded, None, loaded))
