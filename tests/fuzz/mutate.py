"""Documents and bytes changed for the worse, by numbers that hypothesis, atheris or a seeded generator chooses."""

import json
from collections.abc import Callable
from typing import Any

Choose = Callable[[int], int]  # choose(n) is one of 0 .. n - 1

RAW = {  # what json.dumps does not write, by the text that stands for it
    "<huge float>": "1e400",
    "<huge integer>": "9" * 5000,
    "<large integer>": "9" * 400,
    "<deep>": "[" * 2000 + "]" * 2000,
    "<deep object>": '{"a":' * 900 + "1" + "}" * 900,
    "<not quite deep>": "[" * 800 + "]" * 800,
    "<surrogate>": '"\\ud800"',
    "<pair>": '"\\ud83d\\ude00"',
    "<repeated key>": '{"a": 1, "a": 2}',
    "<endless>": '["',
}
NASTY: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 7, 0.5, -0.0, 11.5, 1e-320, 1e308, -1e308, float("nan"), float("inf")),
    *(2**31, 2**32 - 1, 2**32, 2**63, 2**64, -(2**63)),
    *("", " ", "0", "1", "1e3", "nan", "a.png", "b.png", "./a.png", "../a.png", "sub/../../a.png", "/dev/zero"),
    *("C:\\a.png", "\\\\host\\a.png", "a.png\0", "a\nb.png", "\x1b[2J", "x" * 300, "x" * 5000, "http://a/b.png"),
    *("fifo.png", "folder.png", "loop.png", "L1", "oooo" * 400, "`" * 40, "0" * 40),
    *([], {}, [[]], [{}], [0, 0], [10, 12], [5, 5, 5, 5, 5, 5], [0] * 500, [[0, 0]] * 3, {"": ""}, {"a": {"a": {}}}),
    *({"size": [10, 12], "counts": [60, 20, 40]}, {"size": [10, 12], "counts": "l1d0"}),
    *({"size": [2**16, 2**16], "counts": [2**32]}, {"size": [10, 12], "counts": "o" * 3000}),
    *RAW,
)

STRANGE = (b"\xff\xfe", b"\xef\xbb\xbf", b"\0", b'"', b"\xed\xa0\x80", b"\r", b"{", b"<")


def mutated(document: Any, choose: Choose) -> bytes:
    """A JSON document with one to four changes at any depth, and now and then a change of its bytes."""
    root = [document]
    for _ in range(1 + choose(4)):
        root = _changed(root, choose)
    text = json.dumps(root[0])
    if '"<' in text:
        for name, raw in RAW.items():
            text = text.replace(json.dumps(name), raw)
    data = text.encode("utf-8", "surrogatepass")
    return mutated_bytes(data, choose) if choose(8) == 0 else data


def mutated_bytes(data: bytes, choose: Choose) -> bytes:
    """Bytes with one to four changes."""
    raw = bytearray(data)
    for _ in range(1 + choose(4)):
        place = choose(len(raw) + 1)
        match choose(8):
            case 0:
                del raw[place:]
            case 1:
                raw[place:place] = raw[: choose(len(raw) + 1)]
            case 2:
                raw[place : place + 1 + choose(8)] = b""
            case 3:
                raw[place:place] = STRANGE[choose(len(STRANGE))]
            case 4:
                raw[place : place + 4] = (b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\0\0\xff\x7f")[choose(4)]
            case _:
                raw[place : place + 1] = bytes([choose(256)])
    return bytes(raw)


def _changed(place: Any, choose: Choose, top: bool = True) -> Any:
    """A copy of a container with one value below it replaced, deleted, repeated or moved; the rest is shared."""
    made = dict(place) if isinstance(place, dict) else list(place)
    keys = list(made) if isinstance(made, dict) else range(len(made))
    key = keys[choose(len(keys))]
    inner = made[key]
    if isinstance(inner, dict | list) and inner and choose(5):
        made[key] = _changed(inner, choose, top=False)
        return made
    match choose(6):
        case 0 if not top:
            del made[key]
        case 1 if isinstance(made, list) and not top:
            made[key:key] = [inner] * (1 + choose(3))
        case 1:
            made[key] = [inner]
        case 2:
            made[key] = made[keys[choose(len(keys))]]
        case 3 if isinstance(made, dict):
            name = NASTY[choose(len(NASTY))]
            made[name if isinstance(name, str) else json.dumps(name)[:50]] = made.pop(key)
        case _:
            made[key] = NASTY[choose(len(NASTY))]
    return made
