from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
from blobs import blobs, small_data  # noqa: F401
from helpers import entry_of

from longcut.datasets import DATASETS
from longcut.errors import UserError
from longcut.methods import METHODS
from longcut.methods.base import Recipe
from longcut.plans import folder_name, plan
from longcut.spec import options_of, parse_method, split
from longcut.training import Training

pytestmark = pytest.mark.usefixtures("small_data")


def test_each_source_overrides_those_before_it(monkeypatch: pytest.MonkeyPatch):
    erm = METHODS["erm"]
    assert plan("colored-mnist", "erm").training.lr == DATASETS["colored-mnist"].training["lr"]
    sources = {"batch": 1, "pool": 2, "lr": 3.0, "epochs": 4, "every": 5, "net": "mlp:hidden=1"}

    def source(number: int) -> dict[str, object]:
        """Says all but the first ``number`` settings, with a value of its own."""
        kept = list(sources.items())[number:]
        return {key: f"mlp:hidden={number}" if key == "net" else value + 10 * number for key, value in kept}

    recipe = {key: value for key, value in source(2).items() if key != "net"}
    monkeypatch.setitem(DATASETS.own, "blobs", entry_of(function=blobs, training=source(0), options={}))
    monkeypatch.setattr(erm, "training_defaults", source(1))
    monkeypatch.setattr(erm, "recipes", {"paper": Recipe("why", {}, recipe, "mlp:hidden=2")})
    settings = {key: str(value) for key, value in source(3).items()}
    found = plan("blobs", "erm@paper:every=45,net=mlp:hidden=4", settings=settings)
    assert found.training == Training(batch=1, pool=12, lr=23.0, epochs=34, every=45)
    assert found.net == "mlp:hidden=4"
    assert plan("blobs", "erm@paper", settings=settings).net == "mlp:hidden=3"
    assert plan("blobs", "erm@paper").net == "mlp:hidden=2"
    assert plan("blobs", "erm").net == "mlp:hidden=1"
    assert plan("blobs", "erm").training == Training(batch=1, pool=12, lr=13.0, epochs=14, every=15)
    assert plan("blobs", "lff").training == Training(batch=1, pool=2, lr=3.0, epochs=4, every=5)


def test_options_are_kept_where_they_differ_from_the_default():
    found = plan("blobs", "lff:q=0.7,decay=0.5", settings={"scale": "code", "epochs": 9})
    assert found.options == {"decay": 0.5, "scale": "code"}
    assert found.training.epochs == 9
    assert plan("blobs", "lff@paper").options == {"scale": "code"}
    assert plan("blobs", "lff@paper:scale=paper").options == {}


def test_a_plan_says_everything():
    found = plan("colored-digits:ratio=0.05", "erm", seed=3, select="best:worst_group", label="baseline")
    assert (found.data, found.label, found.select) == ("colored-digits", "baseline", "best:worst_group")
    assert (found.seed, found.data_seed) == (3, 3), "a seed also draws the data"
    assert plan("blobs", seed=3, data_seed=0).data_seed == 0
    assert json.loads(json.dumps(found.to_dict()))["training"] == dataclasses.asdict(found.training)


@pytest.mark.parametrize("name", METHODS)
def test_no_option_of_a_method_is_called_like_a_training_setting(name: str):
    options = {option.name for option in options_of(METHODS[name].__init__)}
    assert not options & {"net", "init", *(field.name for field in dataclasses.fields(Training))}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": "blops"}, "unknown data set 'blops': did you mean 'blobs'"),
        ({"data": "colored-digits:ratio=2"}, "colored-digits: ratio=2 is not allowed; give a number from 0 to 0.9"),
        ({"method": "slecmix"}, "unknown method 'slecmix': did you mean 'selecmix'"),
        ({"method": "lff@papr"}, "unknown recipe of lff 'papr': did you mean 'paper'"),
        ({"method": "lff:decai=1"}, "unknown setting of lff 'decai': did you mean 'decay'"),
        ({"method": "lff:q=2"}, "method 'lff': q=2 is not allowed; give a number above 0"),
        ({"settings": {"epoch": 1}}, "unknown setting of erm 'epoch': did you mean 'epochs'"),
        ({"settings": {"lr": "fast"}}, "training: lr=fast is not allowed; give a number above 0"),
        ({"select": "first"}, "selection rule 'first' is not known"),
    ],
)
def test_what_a_plan_refuses(arguments: dict, message: str):
    with pytest.raises(UserError) as caught:
        plan(**{"data": "blobs", **arguments})
    assert str(caught.value).startswith(message)


def test_method_specs():
    assert parse_method("erm") == ("erm", None, {})
    assert parse_method(" lff@paper : q = 0.5 , lr=1 ") == ("lff", "paper", {"q": "0.5", "lr": "1"})
    assert split("erm, lff:q=1,net=mlp:hidden=8,selecmix@paper,erm") == [
        "erm",
        "lff:q=1,net=mlp:hidden=8",
        "selecmix@paper",
    ]
    assert parse_method("erm:net=mlp:hidden=8%2Cscale=0.5,lr=1")[2] == {"net": "mlp:hidden=8,scale=0.5", "lr": "1"}
    for spec, what in (("lff:q", "'q' in method 'lff:q' is not key=value"), ("lff:q=1,q=2", "'q=2' in .* given twice")):
        with pytest.raises(UserError, match=f"{what}; write lff:key=value"):
            parse_method(spec)


def test_folders_are_called_after_label_and_seed():
    assert folder_name(plan("blobs", "erm", seed=2)) == "erm-s2"
    assert folder_name(plan("blobs", "lff@paper")) == "lff@paper-s0"
    names = {folder_name(plan("blobs", spec)) for spec in ("lff:q=0.5", "lff:q=0.6", "lff")}
    assert len(names) == 3
    assert all(name.startswith("lff-") for name in names)
    assert folder_name(plan("blobs", "lff", label="LfF, ../ours!")).startswith("lff-")


def test_a_plan_names_the_files_that_were_loaded(mine: Path):
    digest = hashlib.sha256(mine.read_bytes()).hexdigest()
    chosen = plan("blobs", "mine:q=0.9")
    assert chosen.files == {"my_method.py": digest[:16]}
    assert chosen.options == {"q": 0.9}
    assert chosen.setting != dataclasses.replace(chosen, files={}).setting
