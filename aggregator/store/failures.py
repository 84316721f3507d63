"""The engine's error texts into our exceptions.

chDB raises one exception type whose text begins with ``Code: <n>. DB::Exception: …``; the codes are ClickHouse's
(`src/Common/ErrorCodes.cpp` there).
"""

from __future__ import annotations

import re
from typing import Final

from aggregator.errors import (
    QueryCancelledError,
    QueryDoubtError,
    QueryLengthError,
    QueryMemoryError,
    QueryRegexError,
    QueryRowsError,
    QueryTimeoutError,
    StoreBusyError,
    StoreColdError,
    StoreError,
    StoreFullError,
    StoreLockedError,
    StoreMemoryError,
    StoreUnreachableError,
)

_TYPES: Final[dict[int, type[StoreError]]] = {
    158: QueryRowsError,  # TOO_MANY_ROWS
    159: QueryTimeoutError,  # TIMEOUT_EXCEEDED
    167: QueryLengthError,  # TOO_DEEP_AST
    168: QueryLengthError,  # TOO_BIG_AST
    198: StoreColdError,  # DNS_ERROR; of these four, only the tier's server can be the reason
    209: StoreColdError,  # SOCKET_TIMEOUT
    210: StoreColdError,  # NETWORK_ERROR
    241: QueryMemoryError,  # MEMORY_LIMIT_EXCEEDED
    243: StoreFullError,  # NOT_ENOUGH_SPACE
    252: StoreBusyError,  # TOO_MANY_PARTS
    306: QueryLengthError,  # TOO_DEEP_RECURSION
    307: QueryRowsError,  # TOO_MANY_BYTES
    394: QueryCancelledError,  # QUERY_WAS_CANCELLED
    395: QueryDoubtError,  # FUNCTION_THROW_IF_VALUE_IS_NON_ZERO
    396: QueryRowsError,  # TOO_MANY_ROWS_OR_BYTES
    427: QueryRegexError,  # CANNOT_COMPILE_REGEXP
    499: StoreColdError,  # S3_ERROR
}
# What it is of servers, which ask one another, and Keeper, and may have disks in buckets of their own.
_TYPES_OF_SERVERS: Final = _TYPES | dict.fromkeys(
    (
        198,  # DNS_ERROR
        209,  # SOCKET_TIMEOUT
        210,  # NETWORK_ERROR
        225,  # NO_ZOOKEEPER
        242,  # TABLE_IS_READ_ONLY: its replica has lost Keeper
        279,  # ALL_CONNECTION_TRIES_FAILED
        285,  # TOO_FEW_LIVE_REPLICAS
        286,  # UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE
        289,  # REPLICA_IS_NOT_IN_QUORUM
        319,  # UNKNOWN_STATUS_OF_INSERT
        499,  # S3_ERROR
        999,  # KEEPER_EXCEPTION
    ),
    StoreUnreachableError,
)
_MEMORY_LIMIT: Final = 241
# How the message begins where the limit is that of the whole process; the second is that of older engines.
_OF_ALL: Final = ("(total) memory limit", "Memory limit (total)")
# How messages begin, of codes that stand for much else, where a statement is too long.
_TOO_LONG: Final = {36: "Query tree is too big", 62: "Max query size exceeded"}
_CANNOT_OPEN_FILE: Final = 76
_NO_SPACE: Final = "No space left on device"


def failure(error: BaseException, *, of_servers: bool = False) -> StoreError:
    """The exception of ours that says what ``error`` means, raised by the engine; ``of_servers``: by one of those."""
    text = str(error)
    match = re.search(r"Code: (\d+)\. (?:DB::)?(?:Exception: )?(.*)", text, re.DOTALL)
    code, message = (int(match[1]), match[2].strip()) if match else (0, text)
    if code == _MEMORY_LIMIT and message.startswith(_OF_ALL):
        return StoreMemoryError(message, code)
    if code in _TOO_LONG and message.startswith(_TOO_LONG[code]):
        return QueryLengthError(message, code)
    # The code first: a text may quote what a user wrote.
    types = _TYPES_OF_SERVERS if of_servers else _TYPES
    if code in types:
        return types[code](message, code)
    if _NO_SPACE in text:
        return StoreFullError(message, code)
    if code == _CANNOT_OPEN_FILE and "lock" in text.lower():
        return StoreLockedError(message, code)
    return StoreError(message, code)
