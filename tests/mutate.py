"""Damage to files, for tests: pure functions of bytes or JSON and an explicit ``random.Random``.

``BYTES`` are done to any file, ``VALUES`` to what a JSON file holds, and :func:`damaged` picks one that fits the file.
"""

from __future__ import annotations

import copy
import json
import math
import pickle
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

__all__ = ["BYTES", "VALUES", "damaged", "damaged_json", "damaged_lines", "damaged_tensors"]

# --- bytes ------------------------------------------------------------------------------------------------------------


def truncated(content: bytes, random: Random) -> bytes:
    """The beginning of it."""
    return content[: random.randrange(len(content))] if content else content


def emptied(content: bytes, random: Random) -> bytes:
    """Nothing."""
    return b""


def flipped(content: bytes, random: Random) -> bytes:
    """One to eight of its bits are others."""
    found = bytearray(content or b"\0")
    for place in random.sample(range(8 * len(found)), min(random.randint(1, 8), 8 * len(found))):
        found[place // 8] ^= 1 << place % 8
    return bytes(found)


def overwritten(content: bytes, random: Random) -> bytes:
    """A stretch of it is noise, or zero, as a bad sector leaves it."""
    start = random.randrange(len(content) + 1)
    length = random.randint(1, 512)
    noise = random.randbytes(length) if random.random() < 0.5 else bytes(length)
    return (content[:start] + noise + content[start + length :])[: max(len(content), 1)]


def doubled(content: bytes, random: Random) -> bytes:
    """Twice the same, or something behind its end."""
    return content + (content if random.random() < 0.5 else random.randbytes(random.randint(1, 64)))


def not_utf8(content: bytes, random: Random) -> bytes:
    """With bytes that are no UTF-8 in it."""
    place = random.randrange(len(content) + 1)
    return content[:place] + random.choice([b"\xff\xfe", b"\xc3", b"\x80", b"\xed\xa0\x80"]) + content[place:]


def pickled(content: bytes, random: Random) -> bytes:
    """A pickle that would make a process end if it were loaded."""
    return pickle.dumps(_Trap(), protocol=random.choice([0, 2, 4]))


def nested(content: bytes, random: Random) -> bytes:
    """JSON within JSON, deeper than a parser goes."""
    depth = random.choice([500, 5_000, 100_000])
    return b"[" * depth + b"]" * depth if random.random() < 0.5 else b'{"a":' * depth + b"1" + b"}" * depth


class _Trap:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return exec, ("raise SystemExit('a pickle was run')",)


BYTES: dict[str, Callable[[bytes, Random], bytes]] = {
    one.__name__: one for one in (truncated, emptied, flipped, overwritten, doubled, not_utf8, pickled, nested)
}

# --- JSON -------------------------------------------------------------------------------------------------------------

STRANGE: list[Any] = [
    *(None, True, False, 0, -1, 3, 10**9, 2**63, 10**40, -0.5, 1e308, math.nan, math.inf, -math.inf),
    *("", "x", "NaN", "../../x", "\ud800", "\x1b[31m[/]", "<b>", [], [None], [[1]], {}, {"a": {}}, {"": 1}),
]


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _places(item, (*path, key))


def _changed(value: Any, path: tuple[Any, ...], change: Callable[[Any, Any], None]) -> Any:
    found = copy.deepcopy(value)
    if not path:
        return None
    parent = found
    for key in path[:-1]:
        parent = parent[key]
    change(parent, path[-1])
    return found


def _place(value: Any, random: Random) -> tuple[Any, ...]:
    """Any place but the whole; shallow ones as often as deep ones."""
    places = list(_places(value))[1:] or [()]
    depth = random.choice(sorted({len(path) for path in places}))
    return random.choice([path for path in places if len(path) == depth])


def replaced(value: Any, random: Random) -> Any:
    """Something in it is something else, mostly of another type."""
    new = random.choice(STRANGE)
    return _changed(value, _place(value, random), lambda parent, key: parent.__setitem__(key, copy.deepcopy(new)))


def removed(value: Any, random: Random) -> Any:
    """Something in it is gone."""
    return _changed(value, _place(value, random), lambda parent, key: parent.__delitem__(key))


def added(value: Any, random: Random) -> Any:
    """Something in it is there twice, under another name."""

    def add(parent: Any, key: Any) -> None:
        if isinstance(parent, list):
            parent.insert(key, copy.deepcopy(parent[key]))
        else:
            parent[f"{key}s"] = copy.deepcopy(parent[key])

    return _changed(value, _place(value, random), add)


def wrapped(value: Any, random: Random) -> Any:
    """Something in it stands in a list or under a key."""

    def wrap(parent: Any, key: Any) -> None:
        parent[key] = [parent[key]] if random.random() < 0.5 else {"a": parent[key]}

    return _changed(value, _place(value, random), wrap)


VALUES: dict[str, Callable[[Any, Random], Any]] = {one.__name__: one for one in (replaced, removed, added, wrapped)}


def damaged_json(content: bytes, random: Random) -> bytes:
    """A JSON file that is JSON still (with ``NaN`` and ``Infinity``, as Python writes it), but says something else."""
    return json.dumps(random.choice(list(VALUES.values()))(json.loads(content), random)).encode()


def damaged_lines(content: bytes, random: Random) -> bytes:
    """A file of JSON lines, one of which says something else."""
    lines = content.splitlines(keepends=True)
    place = random.randrange(len(lines))
    lines[place] = damaged_json(lines[place], random) + b"\n"
    return b"".join(lines)


# --- tensors ----------------------------------------------------------------------------------------------------------


def damaged_tensors(content: bytes, random: Random) -> bytes:
    """A safetensors file that can be read still, but a tensor in it is not what it should be."""
    import torch
    from safetensors.torch import load, save

    tensors = load(content)
    if not tensors:
        return flipped(content, random)
    name = random.choice(sorted(tensors))
    one = tensors[name]
    kind = random.choice(["removed", "renamed", "reshaped", "typed", "filled", "unfinite", "shortened"])
    if kind == "removed":
        del tensors[name]
    elif kind == "renamed":
        tensors[f"{name}s"] = tensors.pop(name)
    elif kind == "reshaped":
        tensors[name] = random.choice([one[..., None], one.reshape(-1), one[None]])
    elif kind == "typed":
        other = random.choice([torch.float32, torch.float16, torch.int64, torch.uint8, torch.bool])
        tensors[name] = one.to(other)
    elif kind == "filled":
        tensors[name] = torch.full_like(one, random.choice([0, 1, 5, 100]))
    elif kind == "unfinite" and one.is_floating_point():
        tensors[name] = torch.full_like(one, random.choice([math.nan, math.inf]))
    else:
        tensors[name] = one[:-1] if one.ndim else one[None]
    length = int.from_bytes(content[:8], "little")
    said = json.loads(content[8 : 8 + length]).get("__metadata__")
    return save({key: value.contiguous().clone() for key, value in tensors.items()}, said)


def damaged(name: str, content: bytes, random: Random) -> bytes:
    """The content of the file of that name after one mishap: half of the time one that keeps its format."""
    fitting = {".json": damaged_json, ".jsonl": damaged_lines, ".safetensors": damaged_tensors}
    suffix = name[name.rfind(".") :]
    if suffix in fitting and content.strip() and random.random() < 0.5:
        return fitting[suffix](content, random)
    return random.choice(list(BYTES.values()))(content, random)
