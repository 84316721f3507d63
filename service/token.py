"""Bearer tokens from files, as a Kubernetes Secret mounts them."""

from __future__ import annotations

import enum
import hmac
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


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
    """The tokens a server accepts; read again when the file changes, so a secret can be rotated without a restart."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = self._stat()
        self._tokens = read_tokens(path)

    def check(self, authorization: str | None) -> Access:
        """What an ``Authorization`` header grants. Raises `TokenFileError` if the file has become unusable."""
        stamp = self._stat()
        if stamp != self._stamp:
            self._tokens = read_tokens(self._path)
            self._stamp = stamp
        scheme, _, given = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not given:
            return Access.MISSING
        candidate = given.strip().encode("utf-8", "surrogateescape")  # aiohttp decodes headers so
        granted = [hmac.compare_digest(candidate, token.encode()) for token in self._tokens]
        return Access.GRANTED if any(granted) else Access.WRONG

    def _stat(self) -> tuple[int, int, int]:
        try:
            found = self._path.stat()
        except OSError as error:
            raise TokenFileError(self._path, error.strerror or str(error)) from error
        return found.st_mtime_ns, found.st_ino, found.st_size
