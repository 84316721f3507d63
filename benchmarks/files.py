"""Log files as the benchmarks need them: lines of about 180 bytes in a given format, in as many files as it takes."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal

from simulator.messages import Messages

if TYPE_CHECKING:
    from pathlib import Path

Form = Literal["cri", "docker"]
LINE_BYTES: Final = 180
_LINES_PER_SECOND: Final = 1_000_000
# What a line has besides its message, and half of what one word too many adds.
_FRAME_BYTES: Final = {"cri": 86, "docker": 142}


class Speech:
    """Lines of ``form`` in the manner of real programs, about `LINE_BYTES` long each in the file."""

    def __init__(self, form: Form, seed: int = 1) -> None:
        self._form = form
        self._random = random.Random(seed)
        self._texts = [self._text(*ordinary) for ordinary in Messages(seed).ordinary]
        self._said = 0

    def lines(self, count: int, now_ns: int) -> bytes:
        """The next ``count`` lines, written at ``now_ns`` and after it."""
        written = []
        draw = self._random
        for number in range(count):
            at_ns = now_ns + number * (10**9 // _LINES_PER_SECOND)
            stamp = f"{datetime.fromtimestamp(at_ns // 10**9, UTC):%Y-%m-%dT%H:%M:%S}.{at_ns % 10**9:09}"
            before, after = draw.choice(self._texts)
            text = f"{before}{draw.getrandbits(64):016x} n={self._said}{after}"
            self._said += 1
            stream = "stderr" if draw.random() < 0.2 else "stdout"
            if self._form == "docker":
                written.append(f'{{"log":"{text}\\n","stream":"{stream}","time":"{stamp.rstrip("0")}Z"}}\n')
            else:
                written.append(f"{stamp.rstrip('0')}Z {stream} F {text}\n")
        return "".join(written).encode()

    def _text(self, before: bytes, after: bytes) -> tuple[str, str]:
        """A message, brought to the length at which its lines have `LINE_BYTES` on average."""
        room = LINE_BYTES - _FRAME_BYTES[self._form] - len(after)
        text = before.decode()
        while len(text.encode()) < room:
            text += f"{self._random.choice(text.split() or ['x']).strip('{}')} "
        if self._form == "cri":
            return text, after.decode()
        return json.dumps(text, ensure_ascii=False)[1:-1], json.dumps(after.decode())[1:-1]


def directory_of(pods_dir: Path, number: int, namespace: str = "shop") -> Path:
    """The directory of the container of pod ``number``, made if it is not there."""
    uid = f"00000000-0000-4000-8000-{number:012x}"
    directory = pods_dir / f"{namespace}_pod-{number}_{uid}" / "app"
    directory.mkdir(parents=True, exist_ok=True)
    return directory
