"""Bearer tokens from files, as a Kubernetes Secret mounts them."""

from __future__ import annotations

import asyncio
import enum
import hmac
import logging
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from service.logs import fields

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_log = logging.getLogger(__name__)

# How long a removed token may still be accepted.
RECHECK_S: Final = 1.0
# A request waits for the file so long; a file system that answers does so in a millisecond.
_ANSWER_S: Final = 0.5


class TokenFileError(ValueError):
    """A token file that holds no usable token."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"token file {path}: {reason}; write one token a line, without spaces")
        self.path = path


class Access(enum.Enum):
    """What a request's credentials are worth."""

    GRANTED = "granted"
    MISSING = "missing"
    WRONG = "wrong"


class _Read(NamedTuple):
    """What a file held when it had this time of change, inode and size."""

    stamp: tuple[int, int, int]
    tokens: tuple[str, ...]


def read_tokens(path: Path) -> tuple[str, ...]:
    """The tokens in ``path``: one a line, lines that begin with ``#`` left out. Raises `TokenFileError`."""
    try:
        lines = [line.strip() for line in path.read_text("ascii").splitlines()]
    except OSError as error:
        raise TokenFileError(path, error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise TokenFileError(path, "is not plain ASCII text") from error
    tokens = tuple(line for line in lines if line and not line.startswith("#"))
    if not tokens:
        raise TokenFileError(path, "is empty")
    if any(len(token.split()) > 1 for token in tokens):
        raise TokenFileError(path, "a token has a space in it")
    return tokens


class Tokens:
    """The tokens a server accepts; read again when the file changes, so a secret can be rotated without a restart.

    The file is looked at in a thread, at most every `RECHECK_S`. One that does not answer leaves the tokens as they
    are: a mount that hangs must not take the server with it.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._read = _read(path)
        self._error: TokenFileError | None = None
        self._reading: asyncio.Task[_Read] | None = None
        self._again_s = clock() + RECHECK_S

    async def check(self, authorization: str | None) -> Access:
        """What an ``Authorization`` header grants. Raises `TokenFileError` if the file has become unusable."""
        if self._reading is None and self._clock() >= self._again_s:
            await self._read_again()
        if self._error is not None:
            raise self._error.with_traceback(None)
        scheme, _, given = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not given:
            return Access.MISSING
        candidate = given.strip().encode("utf-8", "surrogateescape")  # aiohttp decodes headers so
        granted = [hmac.compare_digest(candidate, token.encode()) for token in self._read.tokens]
        return Access.GRANTED if any(granted) else Access.WRONG

    async def _read_again(self) -> None:
        self._again_s = self._clock() + RECHECK_S
        self._reading = asyncio.create_task(asyncio.to_thread(_read, self._path, self._read))
        self._reading.add_done_callback(self._take)
        done, _ = await asyncio.wait([self._reading], timeout=_ANSWER_S)
        if not done:
            _log.warning("token file does not answer, tokens stay as they are", extra=fields(path=self._path))

    def _take(self, reading: asyncio.Task[_Read]) -> None:
        self._reading = None
        if reading.cancelled():
            return
        error = reading.exception()
        if error is None:
            self._read, self._error = reading.result(), None
        elif isinstance(error, TokenFileError):
            self._error = error
        else:
            raise error


def _read(path: Path, before: _Read | None = None) -> _Read:
    """The file's tokens; ``before`` if it is as it was then. Raises `TokenFileError`."""
    try:
        found = path.stat()
    except OSError as error:
        raise TokenFileError(path, error.strerror or str(error)) from error
    stamp = found.st_mtime_ns, found.st_ino, found.st_size
    return before if before is not None and stamp == before.stamp else _Read(stamp, read_tokens(path))
