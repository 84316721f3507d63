"""Messages like those of real programs: plain, access logs, logfmt, JSON, stack traces, other scripts, colours.

A message is what stands before a line's mark, and behind it where the mark is a JSON value (see `lines`).
"""

from __future__ import annotations

import random
from typing import Final

# Different messages; each line has 16 hex digits, a number and a time of its own besides.
MESSAGES: Final = 4096
# The longest message, whatever is asked for: a few pieces in every runtime.
MESSAGE_BYTES_MAX: Final = 64 << 10


class Messages:
    """The messages that containers choose from; the same for the same seed."""

    def __init__(self, seed: int) -> None:
        draw = random.Random(seed)
        self.ordinary = [_KINDS[draw.randrange(len(_KINDS))](draw) for _ in range(MESSAGES)]
        self.binary = [b"INFO raw frame " + draw.randbytes(40).replace(b"\n", b"\r") + b"\xff\xc3( " for _ in range(64)]
        words = " ".join(draw.choice(_WORDS) for _ in range(MESSAGE_BYTES_MAX // 4))
        self._ascii = words.encode()
        self._unicode = " ".join(draw.choice(_FOREIGN) for _ in range(MESSAGE_BYTES_MAX // 4))

    def long(self, size: int, *, ascii_only: bool) -> bytes:
        """A message of ``size`` bytes."""
        head = b"DEBUG request body: "
        room = size - len(head)
        # Cut between characters, and filled up to the very size.
        text = self._ascii[:room] if ascii_only else self._unicode.encode()[:room].decode(errors="ignore").encode()
        return head + text.ljust(room, b".")


_LEVELS: Final = ("DEBUG", "INFO", "INFO", "INFO", "INFO", "WARN", "ERROR")
_WORDS: Final = (
    "accepted", "account", "backend", "batch", "cache", "checkout", "client", "closed", "commit", "config",
    "connection", "consumer", "customer", "deadline", "delivered", "dropped", "endpoint", "evicted", "exceeded",
    "expired", "fetched", "flush", "gateway", "handler", "healthy", "index", "inventory", "invoice", "leader",
    "lease", "listener", "merged", "message", "metrics", "missing", "object", "offset", "order", "partition",
    "payment", "pending", "pool", "processed", "producer", "queue", "rebalance", "received", "record", "refused",
    "replica", "request", "resolved", "response", "retry", "route", "scheduled", "session", "shard", "shipped",
    "slow", "snapshot", "started", "stopped", "stored", "stream", "timeout", "token", "topic", "transaction",
    "updated", "upstream", "user", "validated", "version", "worker", "written",
)  # fmt: skip
_FOREIGN: Final = (
    "Auftrag", "größer", "Überlauf", "déjà", "naïve", "señal", "порядок", "очередь", "順序", "キュー", "주문",
    "✓", "→", "€", "🚚", "🪵", "طلب", "e\u0301",
)  # fmt: skip
_PACKAGES: Final = ("com.example.checkout", "io.netty.channel", "java.util.concurrent", "org.acme.orders")


def _words(draw: random.Random, least: int, most: int) -> str:
    return " ".join(draw.choices(_WORDS, k=draw.randint(least, most)))


def _plain(draw: random.Random) -> tuple[bytes, bytes]:
    return f"{draw.choice(_LEVELS)} {_words(draw, 3, 9)} id={draw.randrange(10**6)} ".encode(), b""


def _timed(draw: random.Random) -> tuple[bytes, bytes]:
    """What somebody who looks for slow requests would look for."""
    what = draw.choice(("upstream timeout", "slow query", "request served"))
    return f"{draw.choice(_LEVELS)} {what}: {_words(draw, 1, 4)} took {draw.randrange(3000)}ms ".encode(), b""


def _access(draw: random.Random) -> tuple[bytes, bytes]:
    path = f"/api/v{draw.randint(1, 3)}/{draw.choice(_WORDS)}/{draw.randrange(10**5)}?q=<{draw.choice(_WORDS)}>&n=1"
    address = f"10.{draw.randrange(256)}.{draw.randrange(256)}.{draw.randrange(1, 255)}"
    status = draw.choice((200, 200, 200, 200, 204, 302, 404, 499, 500, 503))
    return f'{address} - - "GET {path} HTTP/1.1" {status} {draw.randrange(90_000)} "-" "curl/8.5.0" '.encode(), b""


def _logfmt(draw: random.Random) -> tuple[bytes, bytes]:
    level = draw.choice(_LEVELS).lower()
    text = f'level={level} msg="{_words(draw, 2, 7)}" took={draw.random() * 100:.3f}ms caller={draw.choice(_WORDS)}.go:'
    return f"{text}{draw.randint(10, 900)} ".encode(), b""


def _json(draw: random.Random) -> tuple[bytes, bytes]:
    level = draw.choice(_LEVELS).lower()
    text = f'{{"level":"{level}","logger":"{draw.choice(_WORDS)}","message":"{_words(draw, 2, 8)}"'
    return f'{text},"status":{draw.choice((200, 404, 500))},"took_ms":{draw.randrange(3000)},"trace":"'.encode(), b'"}'


def _stack(draw: random.Random) -> tuple[bytes, bytes]:
    name = draw.choice(_WORDS)
    where = f"{name.title()}.java:{draw.randint(10, 900)}"
    return f"\tat {draw.choice(_PACKAGES)}.{name.title()}.{draw.choice(_WORDS)}({where}) ".encode(), b""


def _foreign(draw: random.Random) -> tuple[bytes, bytes]:
    return f"{draw.choice(_LEVELS)} {' '.join(draw.choices(_FOREIGN, k=draw.randint(2, 8)))} ".encode(), b""


def _coloured(draw: random.Random) -> tuple[bytes, bytes]:
    return f'\x1b[32m{draw.choice(_LEVELS)}\x1b[0m "{_words(draw, 2, 6)}"\\ '.encode(), b""


# As often as each stands here.
_KINDS: Final = (
    (_plain,) * 4 + (_timed,) * 2 + (_access,) * 3 + (_logfmt,) * 3 + (_json,) * 5 + (_stack, _foreign, _coloured)
)
