"""Broken files, folders, options and specs by the thousand: each is done, or refused in one sentence.

``make fuzz N=10000`` tries so many, in processes with limits on memory and time, and says for each kind how many were
done, how many refused, and which were faults: a traceback, a message of several lines, a hang, memory. Case 17 of a
kind is always the same one: ``python tests/fuzz.py --only tables-17``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import resource
import shutil
import signal
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import bent
import mutate
import numpy as np
import safetensors.torch
import torch
from PIL import Image

from longcut import datasets, nets
from longcut.augment import build as build_augment
from longcut.data import Dataset, Splits
from longcut.errors import UserError
from longcut.fit import fit
from longcut.methods import METHODS, build
from longcut.plans import plan
from longcut.processes import one_thread
from longcut.spec import options_of
from longcut.spec import write as spec_of
from longcut.training import Training

SECONDS, MEMORY = 60, 2 << 30  # that a case may take, and bytes beyond what the program has taken before
NAME = "case"  # of the file or folder that a case is about
ASKED = ("--label", "label", "--attribute", "site", "--net", "mlp:hidden=4")  # of the table that is made

Case = Callable[[random.Random, Path, Path], object]


def command(*words: object) -> None:
    """A command as from the terminal: a refusal is exit status 2 and one line."""
    from typer.testing import CliRunner

    from longcut.cli import app

    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    lines = result.stderr.splitlines()
    told = len(lines) == 1 and lines[0].startswith("longcut: ")
    if result.exit_code == 2 and (told or "Usage:" in result.stderr):
        raise UserError(lines[0])
    if result.exit_code != 0:
        raise AssertionError(f"exit status {result.exit_code}: {result.output}")


def read(kind: str, **options: Any) -> None:
    """Data as training reads it."""
    splits = datasets.load(spec_of(kind, {name: value for name, value in options.items() if value is not None}), 0)
    for part in (splits.train, splits.valid, splits.test):
        if part is not None:
            part.batch(torch.arange(min(4, len(part))))


# --- the kinds --------------------------------------------------------------------------------------------------------


def tables(draw: random.Random, place: Path, made: Path) -> None:
    kind = draw.choice(("csv", "csv", "csv", "tsv", "parquet"))
    head, rows = bent.table(draw, ("a", "b", "c", "label", "site"))
    data = bent.frame_bytes(head, rows, kind, draw)
    path = place / f"{NAME}.{kind}"
    path.write_bytes(bent.content(data, draw) if draw.random() < 0.15 else data)
    read(
        "table",
        path=path,
        label=draw.choice(("label",) * 12 + ("a", "nobody")),
        attribute=draw.choice((None,) * 4 + ("site",) * 4 + ("b", "label")),
        split=draw.choice((None,) * 9 + ("site",)),
        text=draw.choice((None,) * 6 + ("a",)),
        task=draw.choice((None,) * 8 + ("regression", "classification")),
    )


def arrays(draw: random.Random, place: Path, made: Path) -> None:
    if draw.random() < 0.9:
        path, data = place / f"{NAME}.npz", bent.archive(draw)
    else:
        from safetensors.numpy import save

        path = place / f"{NAME}.safetensors"
        data = save({"x": np.zeros((16, 3), "f4"), "label": np.arange(16) % 2})
        data = bent.content(data, draw)
    path.write_bytes(data)
    read(
        "arrays",
        path=path,
        attribute=draw.choice((None,) * 4 + ("attribute",)),
        split=draw.choice((None,) * 4 + ("split",)),
    )


def images(draw: random.Random, place: Path, made: Path) -> None:
    for i in range(14):
        (place / NAME / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        kind, mode = draw.choice(("png", "jpeg", "gif", "bmp", "webp", "tiff")), draw.choice(("RGB", "L", "P", "1"))
        out = BytesIO()
        pixels = np.random.default_rng(i).integers(0, 255, (9, 7, 3), dtype=np.uint8)
        Image.fromarray(pixels).convert("RGB" if kind in ("jpeg", "webp") else mode).save(out, kind)
        data = bent.content(out.getvalue(), draw) if draw.random() < 0.15 else out.getvalue()
        name = draw.choice((f"{i}.{kind}", f"{i}.jpg", f"{i}.PNG", f"._{i}.png", f"{i}[x].png", f" {i}.png"))
        (place / NAME / "ab"[i % 2] / name).write_bytes(data)
    os.environ["LONGCUT_CACHE"] = str(place / "cache")
    read(
        "folder",
        path=place / NAME,
        size=draw.choice((8, 8, 8, 16, 16, None, 4)),
        unreadable=draw.choice(("skip", "skip", None)),
    )


def prepare(made: Path, methods: Sequence[str] = ("erm", "lff", "jtt"), *, audited: bool = True) -> Path:
    """What cases break, made once: finished runs of a few samples, and an audit, which takes seconds."""
    from longcut.audit import audit, folder

    rows = "".join(f"{i % 2 + i / 99},{i * 7 % 5},{'ab'[i % 2]},{'xy'[i // 3 % 2]}\n" for i in range(60))
    (made / "t.csv").write_text("u,v,label,site\n" + rows)
    for method in methods:
        words = (made / "t.csv", *ASKED, "-m", method, "--epochs", 2, "--device", "cpu")
        command("train", *words, "--out", made / method)
    _stopped(made / "erm", made / "begun" / "erm-s0")
    if not audited:
        return made
    x, label = torch.randn(40, 2, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2
    data = Dataset.of(x, label, name="few")
    found = audit(Splits(data, None, data), net="mlp:hidden=4")
    folder.write(found, made / "audit", data="few", command="longcut audit few")
    return made


def _stopped(done: Path, folder: Path) -> None:
    """The same run, stopped after its first epoch."""
    from longcut import runs
    from longcut.execute import execute

    def stop(epoch: object) -> None:
        raise KeyboardInterrupt

    with one_thread(), suppress(KeyboardInterrupt):
        execute(runs.read(done).record.plan, folder, stop)
    assert (folder / runs.RESUME).exists()


def _broken(copy: Path, draw: random.Random) -> None:
    """One file of the folder is damaged, or gone."""
    file = draw.choice(sorted(path for path in copy.iterdir() if path.is_file()))
    before = file.read_bytes()
    empty = file.suffix == ".safetensors" and not safetensors.torch.load(before)  # no tensor to damage
    if draw.random() < 0.1:
        file.unlink()
    else:
        file.write_bytes(bent.content(before, draw) if empty else mutate.damaged(file.name, before, draw))


def runs(draw: random.Random, place: Path, made: Path) -> None:
    """One file of a run folder is broken, and the folder then read in one of the ways there are."""
    table, run = made / "t.csv", place / NAME
    shutil.copytree(draw.choice(sorted(path.parent for path in made.glob("*/run.json"))), run)
    _broken(run, draw)
    out = place / "out"
    ways: list[tuple[object, ...]] = [
        ("report", run, "-o", out),
        ("evaluate", run),
        ("predict", run, table, "-o", out),
        ("export", run, "--to", "safetensors", "-o", out),
        ("difference", run, run),
    ]
    command(*draw.choice(ways))


def again(draw: random.Random, place: Path, made: Path) -> None:
    """One file of a run is broken and the command given again: what it then holds is as if nothing had happened."""
    from longcut.runs import read

    begun, run = draw.random() < 0.7, place / "erm-s0"
    shutil.copytree(made / "begun" / "erm-s0" if begun else made / "erm", run)
    _broken(run, draw)
    words = (made / "t.csv", *ASKED, "--epochs", 2, "--device", "cpu")
    if draw.random() < 0.5:
        command("train", *words, "-m", "erm", "--out", run)
    else:
        command("compare", *words, "--methods", "erm", "--seeds", 1, "--out", place)
    found, whole = read(run), read(made / "erm")
    assert found.record.scores == whole.record.scores, "other scores"
    if begun or (run / "weights.safetensors").exists():
        weights, undisturbed = found.weights(), whole.weights()
        assert all(torch.equal(weights[name], undisturbed[name]) for name in undisturbed), "other weights"
    assert not (run / "resume.pt").exists()


def options(draw: random.Random, place: Path, made: Path) -> None:
    """A method with options and settings of any kind, on a few samples."""
    name = draw.choice([name for name, cls in METHODS.items() if "table" in cls.kinds and name != "auto"])
    own, shared = options_of(METHODS[name].__init__), options_of(Training)
    given = {"epochs": "1", "batch": "8"}
    for option in draw.sample([*own, *shared], draw.choice((1, 2, 3))):
        known = [*(option.choices or ()), str(option.default)]
        given[option.name] = draw.choice(known) if draw.random() < 0.5 else draw.choice(bent.NUMBERS)
    if given["epochs"] == "99999":
        given["epochs"] = "2"  # which is allowed, and takes its time
    chosen = plan("colored-digits", name, settings={"net": "mlp:hidden=4", **given})
    generator = torch.Generator().manual_seed(draw.randrange(1 << 30))
    x, label = torch.randn(24, 3, generator=generator), torch.arange(24) % 2
    data = Dataset.of(x, label, torch.arange(24) // 3 % 2, name="few")
    method = build(name, data.info, net="mlp:hidden=4", options=dict(chosen.options))
    fit(method, Splits(data, data, data), chosen.training)


def specs(draw: random.Random, place: Path, made: Path) -> None:
    """Names and options of data, methods, nets and augmentations with something wrong in them."""
    what, text = draw.choice(
        (
            ("plan", "colored-digits:ratio=0.02"),
            ("plan", "selecmix@colored-mnist"),
            ("plan", "lff:q=0.7,lr=0.01"),
            ("plan", "planted:cue=square,strength=easy"),
            ("net", "mlp:hidden=8-8"),
            ("net", "conv:width=4,side=8"),
            ("augment", "crop-flip+cutout:side=16"),
            ("select", "best:worst_group"),
            ("recipe", "selecmix/table1"),
        )
    )
    text = bent.spec(text, draw)
    info = Dataset.of(torch.zeros(4, 3, 8, 8), [0, 1, 0, 1]).info
    match what:
        case "plan":
            name = text.partition(":")[0].partition("@")[0]
            plan(text, "erm") if name in datasets.DATASETS else plan("colored-digits", text)
        case "net":
            nets.build(text, info)
        case "augment":
            build_augment(text)
        case "select":
            plan("colored-digits", "erm", select=text)
        case "recipe":
            from longcut.papers.cells import cells

            cells(text, only=[bent.spec("colored-mnist", draw)] if draw.random() < 0.5 else [])


def audits(draw: random.Random, place: Path, made: Path) -> None:
    """An audit folder with a broken file, on a page or to look up."""
    shutil.copytree(made / "audit", place / NAME)
    _broken(place / NAME, draw)
    command("report", place / NAME, "-o", place / "page.html")


def answers(draw: random.Random, place: Path, made: Path) -> None:
    from longcut.lookup import answers as looked_up

    rows = "".join(f"{i},photo {i},land,0.5,,{'water' if i % 2 else 'land'}\n" for i in range(6))
    data = f"row,name,label,score,drawn,attribute\n{rows}".encode()
    (place / NAME).write_bytes(bent.content(data, draw))
    looked_up.read([place / NAME], draw.choice(((), ("land", "water"))))


KINDS: dict[str, tuple[Case, int]] = {  # and how many of a hundred cases are of the kind
    "tables": (tables, 24),
    "arrays": (arrays, 18),
    "images": (images, 10),
    "runs": (runs, 11),
    "again": (again, 3),
    "audits": (audits, 4),
    "options": (options, 8),
    "specs": (specs, 16),
    "answers": (answers, 6),
}


# --- trying -----------------------------------------------------------------------------------------------------------


def outcome(kind: str, number: int, made: Path) -> str:
    """``"done"``, ``"refused"``, or what is wrong."""
    draw = random.Random(f"{kind}-{number}")
    before = os.environ.get("LONGCUT_CACHE")
    with tempfile.TemporaryDirectory(prefix="longcut-fuzz-") as folder, warnings.catch_warnings(), _silent():
        warnings.simplefilter("ignore")
        try:
            KINDS[kind][0](draw, Path(folder), made)
        except UserError as error:
            return "refused" if str(error).strip() else "refused without a word"
        except Exception:
            return traceback.format_exc()
        finally:
            os.environ.pop("LONGCUT_CACHE", None)
            if before is not None:
                os.environ["LONGCUT_CACHE"] = before
    return "done"


@contextmanager
def _silent() -> Iterator[None]:
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        yield


def cases(n: int) -> list[tuple[str, int]]:
    """So many cases, kind by kind."""
    return [(kind, number) for kind, (_, share) in KINDS.items() for number in range(max(1, n * share // 100))]


def _work(todo: list[tuple[str, int]], made: Path, told: Any) -> None:
    """In a process of its own: cases one after the other, each told before and after."""
    torch.set_num_threads(1)
    with Path("/proc/self/statm").open() as pages:  # only Linux has it, and a limit that holds
        used = int(pages.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for one in todo:
        told.send((one, None))
        told.send((one, outcome(*one, made)))
    told.send((None, None))


def tried(todo: list[tuple[str, int]], made: Path) -> Iterator[tuple[tuple[str, int], str]]:
    """Each case and its outcome; a process that hangs or dies costs its case, and another one goes on."""
    context = multiprocessing.get_context("spawn")
    while todo:
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(todo, made, there))
        process.start()
        there.close()
        at, patience = todo[0], 10 * SECONDS  # the first one waits for imports
        try:
            while here.poll(patience):
                one, said = here.recv()
                if one is None:
                    return
                at, patience = one, SECONDS
                if said is not None:
                    todo = todo[todo.index(one) + 1 :]
                    yield one, said
            fault = f"a hang: more than {SECONDS} s"
        except EOFError:
            process.join()
            fault = f"the process died with status {process.exitcode}"
        process.kill()
        process.join()
        todo = todo[todo.index(at) + 1 :] if at in todo else todo
        yield at, fault


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("n", nargs="?", type=int, default=1000, help="how many to try")
    parser.add_argument("--only", help="a kind, or one case such as tables-17")
    given = parser.parse_args()
    todo = cases(given.n)
    if given.only:
        kind, _, number = given.only.partition("-")
        share = KINDS[kind][1]
        todo = [(kind, int(number))] if number else [one for one in cases(100 * given.n // share) if one[0] == kind]
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    with tempfile.TemporaryDirectory(prefix="longcut-fuzz-") as made:
        for (kind, number), said in tried(todo, prepare(Path(made))):
            fault = said not in ("done", "refused")
            counts[kind]["faults" if fault else said] += 1
            if fault:
                last = said.strip().splitlines()[-1] if not given.only or "-" not in given.only else said
                where = [line.strip() for line in said.splitlines() if "/longcut/" in line and "File" in line][-1:]
                print(f"{kind}-{number}: {last[:300]} {' '.join(where)}", flush=True)
    print(f"{'kind':10}{'tries':>8}{'done':>8}{'refused':>9}{'faults':>8}")
    for kind, found in [*counts.items(), ("all", sum(counts.values(), Counter()))]:
        print(f"{kind:10}{found.total():8}{found['done']:8}{found['refused']:9}{found['faults']:8}")
    return 1 if any(found["faults"] for found in counts.values()) else 0


if __name__ == "__main__":
    raise SystemExit(main())
