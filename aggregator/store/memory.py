"""Rows in memory as something that the engine inside this process selects from."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@contextlib.contextmanager
def in_memory(stream: bytes, types: Mapping[str, str]) -> Iterator[str]:
    """What a statement selects the rows of an Arrow ``stream`` from: the engine reads them as a file.

    ``types``: the engine's type of each column, so that what is brought is read as that and never guessed.
    """
    with os.fdopen(os.memfd_create("rows", os.MFD_CLOEXEC), "wb") as file:
        file.write(stream)
        file.flush()
        listed = ", ".join(f"{name} {kind}" for name, kind in types.items())
        quoted = listed.replace("\\", "\\\\").replace("'", "\\'")
        yield f"file('/proc/self/fd/{file.fileno()}', 'ArrowStream', '{quoted}')"
