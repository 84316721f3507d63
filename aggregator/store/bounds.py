"""What bounds a query in the engine, and which gives way to which: its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aggregator.store.engine import Limits

# Rows in a block of a streamed result: small enough that first rows come soon and a block is a few megabytes.
_STREAM_BLOCK_ROWS: Final = 8192
# The same where an expression may take its time with each row: a query ends between two blocks only, also one whose
# time is over or whose client has left. (480 trace ids without regard to case: half a millisecond a row.)
_SLOW_BLOCK_ROWS: Final = 512
_SLOW_EXPRESSION_CHARACTERS: Final = 512
# While an insert runs, queries stand still, block by block: the higher number gives way. But not for longer than so
# many milliseconds a block: they come to their end however much is inserted, and can be ended at any time.
_PRIORITY_INSERTS: Final = 1
FIRST: Final = f"priority={_PRIORITY_INSERTS}"
_PRIORITY_QUERIES: Final = 2
YIELD_MS: Final = 500


def limited(sql: str, mark: str, limits: Limits, parameters: Mapping[str, object] | None = None) -> str:
    """``sql``, which binds ``parameters``, with what bounds it, and the ``mark`` by which it is found when it runs."""
    is_slow = any(
        isinstance(value, str) and len(value) > _SLOW_EXPRESSION_CHARACTERS for value in (parameters or {}).values()
    )
    settings = {
        "log_comment": f"'{mark}'",
        "max_execution_time": limits.time_s,
        "max_memory_usage": limits.memory_bytes,
        # Sorting more than this goes through the disk, so that an answer of many large lines is slow, not refused.
        "max_bytes_before_external_sort": limits.memory_bytes // 4,
        "max_bytes_to_read": limits.read_bytes,
        "max_threads": limits.threads,
        "priority": _PRIORITY_QUERIES,
        "low_priority_query_wait_time_ms": YIELD_MS,
        "max_block_size": _SLOW_BLOCK_ROWS if is_slow else _STREAM_BLOCK_ROWS,
        "timeout_overflow_mode": "'throw'",
        "output_format_arrow_compression_method": "'none'",  # the result stays in this process
        "precise_float_parsing": 1,  # text to the nearest float, as Go reads it
        "output_format_json_escape_forward_slashes": 0,  # toJSONString: paths stay readable
    }
    return f"{sql}\nSETTINGS " + ", ".join(f"{name}={value}" for name, value in settings.items())


def in_one_part(rows: int) -> dict[str, int]:
    """The settings with which an insert of up to ``rows`` rows, all of one partition, is one block, hence one part."""
    return {
        "max_insert_threads": 1,
        "max_block_size": rows,
        "max_insert_block_size": rows,
        "min_insert_block_size_rows": rows,
        "min_insert_block_size_bytes": 0,
        "max_partitions_per_insert_block": 1,
        "async_insert": 0,
        "priority": _PRIORITY_INSERTS,
    }
