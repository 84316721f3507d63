"""Whose certificates the agent trusts: the system's authorities, or those in a file of one's own."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from agent.errors import UnavailableError

if TYPE_CHECKING:
    from pathlib import Path


class Trust:
    """The authorities in ``ca_file``; read again when it changes, so that a mounted one can be replaced."""

    def __init__(self, ca_file: Path | None) -> None:
        self._ca_file = ca_file
        self._stamp: tuple[int, int, int] | None = None
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext | bool:
        """What aiohttp takes as ``ssl``; blocks. Raises `UnavailableError` if the file has no certificate."""
        if self._ca_file is None:
            return True
        try:
            found = self._ca_file.stat()
            stamp = found.st_mtime_ns, found.st_ino, found.st_size
            if self._context is None or stamp != self._stamp:
                self._context = ssl.create_default_context(cafile=str(self._ca_file))
                self._stamp = stamp
        except OSError as error:  # ssl's errors are OSErrors as well
            raise UnavailableError(f"{self._ca_file} has no certificates to trust: {error}; see --ca-file") from error
        return self._context
