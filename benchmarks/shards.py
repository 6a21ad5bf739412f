"""Tar files of many images, end to end: how long it takes to decode them and to train an epoch, and in what memory.

``python benchmarks/shards.py`` writes 100 tar files of 1,000 JPEG images of 96 × 96 pixels (a shade that the label
decides, and noise), and has a process of its own decode them to 64 × 64 and train a small net for one epoch. It prints
images per second, the most memory that was resident, and the most of it that was the process's own: the rest is pages
of the memory-mapped cache, which the system takes back when it needs them. ``--small`` does the same with 400 images.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

SIDE, SIZE = 96, 64


def write(folder: Path, images: int, shards: int) -> int:
    """Write the tar files, and return their bytes. Every eighth image of a class has the shade of the other."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 60, (64, SIDE, SIDE, 3), np.uint8)
    folder.mkdir(parents=True)
    for shard in range(shards):
        with tarfile.open(folder / f"shard-{shard:05}.tar", "w") as tar:
            for i in range(shard * images // shards, (shard + 1) * images // shards):
                label, file = i % 2, io.BytesIO()
                shade = 100 * (label ^ (i // 2 % 8 == 0))
                Image.fromarray(noise[rng.integers(64)] + np.uint8(shade)).save(file, "JPEG")
                for name, content in ((f"{i:08}.jpg", file.getvalue()), (f"{i:08}.cls", str(label).encode())):
                    about = tarfile.TarInfo(name)
                    about.size = len(content)
                    tar.addfile(about, io.BytesIO(content))
    return sum(path.stat().st_size for path in folder.iterdir())


def end_to_end(folder: Path) -> None:
    """What the process does whose memory is measured."""
    import torch

    from longcut import Training, fit, load
    from longcut.methods import build

    torch.set_num_threads(1)
    begun = time.perf_counter()
    splits = load(f"shards:path={folder},size={SIZE}")
    decoded = time.perf_counter()
    method = build("erm", splits.info, net="mlp:hidden=64", seed=0)
    fit(method, splits, Training(epochs=1, batch=256, lr=1e-3), seed=0)
    trained = time.perf_counter()
    n = splits.info.n_stored
    print(f"decoded {n:,} images in {decoded - begun:.0f} s, {n / (decoded - begun):,.0f} per second")
    print(f"trained an epoch of {len(splits.train):,} in {trained - decoded:.0f} s", flush=True)


def measured(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """The most memory of a process in MB: resident, and its own."""
    most = {"VmHWM": 0, "RssAnon": 0}
    with subprocess.Popen(command, env={**os.environ, **environment}) as process:
        while process.poll() is None:
            try:
                lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            except OSError as error:
                raise SystemExit("memory is read from /proc, which this system does not have") from error
            said = dict(line.split(":", 1) for line in lines)
            most = {key: max(now, int(said.get(key, "0 kB").split()[0])) for key, now in most.items()}
            time.sleep(0.02)
    if process.returncode:
        raise SystemExit(process.returncode)
    return most["VmHWM"] / 1e3, most["RssAnon"] / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--shards", type=int, default=100)
    parser.add_argument("--small", action="store_true", help="400 images, to see that it runs")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.read:
        return end_to_end(asked.read)
    images, shards = (400, 4) if asked.small else (asked.images, asked.shards)
    with tempfile.TemporaryDirectory() as place:
        begun = time.perf_counter()
        size = write(Path(place, "tars"), images, shards)
        seconds = time.perf_counter() - begun
        print(f"{images:,} images in {shards} tar files, {size / 1e6:,.0f} MB, written in {seconds:.0f} s")
        command = [sys.executable, __file__, "--read", str(Path(place, "tars"))]
        resident, own = measured(command, {"LONGCUT_CACHE": str(Path(place, "cache"))})
    print(f"most memory: {resident:,.0f} MB resident, {own:,.0f} MB of it the process's own")


if __name__ == "__main__":
    main()
