"""Where runs and audits are kept, by names that are short enough to type: ``runs/adult/erm-s0``, ``audits/adult``."""

from __future__ import annotations

import glob
import hashlib
import itertools
import json
import re
from pathlib import Path
from typing import Any

from longcut.datasets import OWN, parse
from longcut.errors import UserError
from longcut.folders import RUN, find

__all__ = ["AUDITS", "RUNS", "located", "named", "place", "short", "slug"]

RUNS, AUDITS = Path("runs"), Path("audits")
LONGEST = 120  # bytes of a folder's name, which file systems limit to 255
SAYING_NOTHING = {"data", "dataset", "images", "labels", "list", "metadata", "table", "train"}  # names of files


def short(data: str) -> str:
    """What the data of a spec is called in the name of a folder: of somebody's own, the file's name.

    >>> short("table:path=data/adult.csv.gz,label=income"), short("folder:path=birds/"), short("digits:ratio=0.02")
    ('adult', 'birds', 'digits-ratio=0.02')
    >>> short("table:path=waterbirds/metadata.csv,label=y,image=file")
    'waterbirds'
    """
    try:
        name, options = parse(data)
    except UserError:  # of a file or package that is not loaded
        return slug(data)
    if "data" in options and (inner := short(options["data"])) != slug(options["data"]):
        return f"{inner}-{'features' if name == 'embedded' else name}"
    if name not in OWN:
        return slug(data)
    path = Path(options["path"]).resolve()
    called = path.name if name == "folder" else re.sub(r"(\.\w+?)(\.gz)?$", "", path.name.lstrip("."))
    if name != "folder" and called.lower() in SAYING_NOTHING:
        called = path.parent.name
    return slug(called) or "data"


def place(root: Path, data: str) -> Path:
    """The folder below ``root`` for runs on this data, or its audit: the short name, or the first with a number.

    A folder that holds runs, or an audit, of other data is not taken, and one that already holds those of this data is.
    """
    longer = root / slug(data)  # as folders were called before
    if longer.is_dir():
        return longer
    name = short(data)
    for number in itertools.count(1):
        folder = root / (name if number == 1 else f"{name}-{number}")
        held = _held(folder)
        if not held or data in held:
            return folder
    raise AssertionError


def _held(folder: Path) -> set[str | None]:
    """The specs of the data that runs or an audit in a folder are about; None stands for what cannot be read."""
    held: set[str | None] = set()
    for file in [*folder.glob(f"*/{RUN}"), *folder.glob("audit.json")]:
        try:
            record: Any = json.loads(file.read_bytes())
            held.add(record["data"] if file.name != RUN else record["plan"]["data"])
        except (OSError, ValueError, LookupError, TypeError):  # whoever reads it says what is wrong
            held.add(None)
    return held


def located(given: Path) -> Path:
    """The folder that is meant: as it is written, or below ``runs``, also by the end of its name where one has that.

    Of one method's runs, the name without ``-sSEED`` is enough.

    Raises:
        UserError: when several are called so.
    """
    if given.is_absolute() or _there(given):
        return given
    if _there(RUNS / given):
        return RUNS / given
    try:
        below = find([RUNS])
    except UserError:
        return given
    ends = {folder for folder in below if folder.parts[-len(given.parts) :] == given.parts}
    if len(ends) > 1:
        names = ", ".join(sorted(str(folder.relative_to(RUNS)) for folder in ends))
        raise UserError(f"{given} may be {names}; name one of them.")
    return ends.pop() if ends else given


def named(folder: Path) -> str:
    """What a folder of a run is called on the command line: below ``runs``, what follows."""
    return str(folder.relative_to(RUNS) if folder.is_relative_to(RUNS) else folder)


def _there(folder: Path) -> bool:
    return folder.exists() or any(folder.parent.glob(f"{glob.escape(folder.name)}-s[0-9]*"))


def slug(data: str) -> str:
    """A data set's spec as the name of a folder; of a long one, the end and a short hash.

    >>> slug("colored-digits:ratio=0.02")
    'colored-digits-ratio=0.02'
    """
    name = re.sub(r"[^\w.=,-]+", "-", data).encode()
    if len(name) <= LONGEST:
        return name.decode()
    end = name[-LONGEST:].decode(errors="ignore").lstrip("-.")
    return f"{end}-{hashlib.sha256(data.encode()).hexdigest()[:8]}"
