"""The manifest's format: what one version wrote, every later one reads."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from aggregator.moving import manifest
from aggregator.moving.manifest import File, Manifest, decode, encode
from aggregator.store.contents import Column, Sum

GOLDEN_1: Final = b"""{
 "format": "logboom export",
 "version": 1,
 "store": "00ff",
 "schema": 2,
 "logboom": "0.1.0",
 "columns": {
  "logs": [
   {
    "name": "ts",
    "type": "DateTime64(9, 'UTC')"
   }
  ]
 },
 "finished": true,
 "files": [
  {
   "name": "logs-2026-11-24-0123456789abcdef-00001.parquet",
   "kind": "logs",
   "day": "2026-11-24",
   "content": "0123456789abcdef",
   "number": 1,
   "of": 1,
   "rows": 3,
   "bytes": 4096,
   "sha256": "aa",
   "hashes": "18446744073709551615",
   "first_ns": 1,
   "last_ns": 2
  }
 ]
}
"""
READ_1: Final = Manifest(
    "logboom export",
    1,
    "00ff",
    2,
    "0.1.0",
    {"logs": (Column("ts", "DateTime64(9, 'UTC')"),)},
    finished=True,
    files=(
        File(
            "logs-2026-11-24-0123456789abcdef-00001.parquet",
            "logs",
            "2026-11-24",
            "0123456789abcdef",
            1,
            1,
            3,
            4096,
            "aa",
            "18446744073709551615",
            1,
            2,
        ),
    ),
)


def test_version_1_is_written_and_read_as_ever() -> None:
    assert encode(READ_1) == GOLDEN_1
    assert decode(GOLDEN_1, Path("manifest.json")) == READ_1


def test_fields_of_later_versions_of_logboom_are_left_out() -> None:
    later = msgspec.json.decode(GOLDEN_1) | {"more": 1}
    assert decode(msgspec.json.encode(later), Path("manifest.json")) == READ_1


def test_every_field_is_described() -> None:
    for field in (*Manifest.__struct_fields__, *File.__struct_fields__):
        assert f"``{field}``" in str(manifest.__doc__)


def test_sums_of_files_are_those_of_the_day() -> None:
    both = msgspec.structs.replace(READ_1, files=READ_1.files * 2)
    assert both.days("logs") == {"2026-11-24": Sum(6, (1 << 64) - 2)}
