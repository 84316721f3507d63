"""Data by chance, out of few names, words and numbers, so that queries made of the same ones meet it."""

from __future__ import annotations

import json
import random
from typing import Any, Final

from tests.logql.datasets import SECOND_NS, START_NS, stream
from tests.logql.labels import Record

DATASETS: Final = 24
RECORDS_A_DATASET: Final = 60
SPAN_S: Final = 180
_LEVELS: Final = ("", "info", "warn", "error")
WORDS: Final = ("error", "ok", "GET", "timeout", "Größe", "ログ", "a_b", "100%", "x", "", "two words", 'q"uote')
_NUMBERS: Final = ("0", "1", "2.5", "-3", "10", "1e2", "007", "", "NaN", "+Inf", "abc")
_DURATIONS: Final = ("100ms", "1.5s", "2m", "1h", "250us", "x", "")
_SIZES: Final = ("1KB", "1.5KiB", "500B", "3MB", "7", "big")
_ADDRESSES: Final = ("10.0.0.1", "10.0.0.77", "192.168.1.9", "2001:db8::1")


def records(number: int) -> list[Record]:
    """The records of a dataset, in namespace ``g<number>``; in the order of their files."""
    chance = random.Random(number)
    streams = [
        stream(f"g{number}", pod, container, name)
        for pod in ("p-0", "p-1")
        for container in ("app", "side")[: chance.randint(1, 2)]
        for name in ("stdout", "stderr")
    ]
    made = []
    for _ in range(RECORDS_A_DATASET):
        second = chance.choice((chance.randrange(SPAN_S), chance.randrange(0, SPAN_S, 15)))
        time = START_NS + second * SECOND_NS + chance.choice((0, 0, 1, 500_000_000))
        made.append(Record(time, chance.choice(streams), chance.choice(_LEVELS), _line(chance)))
    return made


def _line(chance: random.Random) -> bytes:
    kind = chance.choice((_logfmt, _logfmt, _json, _json, _access, _text, _packed))
    line = kind(chance).encode()
    if chance.random() < 0.05:
        line = line[: chance.randrange(len(line) + 1)]
    return line


def _fields(chance: random.Random) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "level": chance.choice(_LEVELS[1:]),
        "msg": chance.choice(WORDS),
        "value": chance.choice(_NUMBERS),
        "took": chance.choice(_DURATIONS),
        "size": chance.choice(_SIZES),
        "kind": chance.choice("abc"),
        "pod": "inner",
        "ip": chance.choice(_ADDRESSES),
    }
    return {name: value for name, value in fields.items() if chance.random() < 0.7}


def _logfmt(chance: random.Random) -> str:
    words = []
    for name, value in _fields(chance).items():
        quoted = chance.random() < 0.2 or any(letter in value for letter in ' "=')
        words.append(f"{name}={json.dumps(value, ensure_ascii=False) if quoted else value}")
    if chance.random() < 0.1:
        words.insert(chance.randrange(len(words) + 1), chance.choice(("flag", "=x", 'b"c', "empty=")))
    return " ".join(words)


def _json(chance: random.Random) -> str:
    fields = _fields(chance)
    if "value" in fields and chance.random() < 0.6:
        fields["value"] = chance.choice((0, 1, 2.5, -3, 10, 1e2, None, True, [1, "x"]))
    if chance.random() < 0.5:
        fields["user"] = {"name": chance.choice(WORDS), "id": chance.randrange(5), "deep": {"kind": "d"}}
    return json.dumps(fields, ensure_ascii=chance.random() < 0.2, separators=chance.choice(((",", ":"), (", ", ": "))))


def _access(chance: random.Random) -> str:
    return (
        f"{chance.choice(_ADDRESSES)} - - [04/Oct/2024:12:00:00 +0000] "
        f'"{chance.choice(("GET", "POST"))} /{chance.choice(("a", "b/c", "error"))} HTTP/1.1" '
        f"{chance.choice((200, 404, 500))} {chance.randrange(2000)}"
    )


def _text(chance: random.Random) -> str:
    return chance.choice(
        (
            "",
            " ",
            "plain error",
            "\x1b[31merror\x1b[0m ok",
            "first\n\tat second\nCaused by: error",
            "ПРИВЕТ Größe ログ 😀",
            "100% a_b \\ 'quoted'",
            "GET timeout",
        )
    )


def _packed(chance: random.Random) -> str:
    return json.dumps({"_entry": f"packed {chance.choice(WORDS)}", "kind": chance.choice("abc"), "pod": "inner"})
