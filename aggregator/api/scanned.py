"""What an answer says of the work it took."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aggregator.store.scanned import Scanned

PREFIX: Final = "Logboom-Scanned-"


def scanned_headers(scanned: Scanned) -> dict[str, str]:
    """Headers: rows, bytes (uncompressed) and parts read, seconds that the engine spent, statements."""
    parts = {} if scanned.parts is None else {f"{PREFIX}Parts": str(scanned.parts)}
    return parts | {
        f"{PREFIX}Rows": str(scanned.rows),
        f"{PREFIX}Bytes": str(scanned.bytes),
        f"{PREFIX}Seconds": f"{scanned.seconds:.3f}",
        f"{PREFIX}Statements": str(scanned.statements),
    }
