"""The engine's settings, sized for one small process beside others."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

    from aggregator.sizing import Sizes

_log = logging.getLogger(__name__)

# Of the disk, kept free for merges, for labels, and for whoever else writes there: a full disk stops more than logs.
_RESERVE_SHARE: Final = 20
RESERVE_BYTES_MAX: Final = 1 << 30
_OWNER_ONLY: Final = 0o600

# Server-level settings. Caches and pools are sized for one small process beside others, not for a database host:
# the defaults reserve gigabytes and tens of threads. Memory in numbers: chDB 4 does not see every limit of a container.
_CONFIG: Final = """<clickhouse>
  <max_server_memory_usage>{engine}</max_server_memory_usage>
  <mark_cache_size>{marks}</mark_cache_size>
  <index_mark_cache_size>33554432</index_mark_cache_size>
  <uncompressed_cache_size>0</uncompressed_cache_size>
  <query_condition_cache_size>16777216</query_condition_cache_size>
  <mmap_cache_size>64</mmap_cache_size>
  <compiled_expression_cache_size>0</compiled_expression_cache_size>
  <background_pool_size>2</background_pool_size>
  <background_merges_mutations_concurrency_ratio>2</background_merges_mutations_concurrency_ratio>
  <background_move_pool_size>1</background_move_pool_size>
  <background_fetches_pool_size>1</background_fetches_pool_size>
  <background_common_pool_size>2</background_common_pool_size>
  <background_schedule_pool_size>4</background_schedule_pool_size>
  <background_message_broker_schedule_pool_size>1</background_message_broker_schedule_pool_size>
  <background_distributed_schedule_pool_size>1</background_distributed_schedule_pool_size>
  <merge_tree>
    <min_free_disk_bytes_to_perform_insert>{reserve}</min_free_disk_bytes_to_perform_insert>
    <number_of_free_entries_in_pool_to_execute_mutation>1</number_of_free_entries_in_pool_to_execute_mutation>
    <number_of_free_entries_in_pool_to_lower_max_size_of_merge>1</number_of_free_entries_in_pool_to_lower_max_size_of_merge>
    <number_of_free_entries_in_pool_to_execute_optimize_entire_partition>1</number_of_free_entries_in_pool_to_execute_optimize_entire_partition>
  </merge_tree>
{storage}</clickhouse>
"""


def config(sizes: Sizes, reserve_bytes: int, storage: str = "") -> str:
    """The configuration file: memory as in ``sizes``; inserts refused while less than ``reserve_bytes`` are free.

    ``storage``: what `aggregator.store.tier.storage` says of disks.
    """
    return _CONFIG.format(engine=sizes.engine, marks=sizes.marks, reserve=reserve_bytes, storage=storage)


def write(file: Path, text: str) -> None:
    """Have ``text`` in ``file``, for nobody else to read: a key may be in it.

    On a full disk an older text stays, which must not keep a store shut. Raises OSError if there is none.
    """
    if file.exists() and file.read_text() == text:
        file.chmod(_OWNER_ONLY)  # an older version let others read it
        return
    made = file.with_suffix(".new")
    try:
        made.unlink(missing_ok=True)
        with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY), "w") as opened:
            opened.write(text)
        made.replace(file)
    except OSError:
        made.unlink(missing_ok=True)
        if not file.exists():
            raise
        _log.warning("the engine's settings could not be written, those of the last start hold", exc_info=True)


def reserve_of(path: Path) -> int:
    """What is kept free of the disk of ``path`` if nobody says how much: a twentieth of it, at most 1 GiB."""
    disk = os.statvfs(path)
    return min(RESERVE_BYTES_MAX, disk.f_blocks * disk.f_frsize // _RESERVE_SHARE)
