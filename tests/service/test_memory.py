from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from service.memory import limit_bytes

if TYPE_CHECKING:
    from pathlib import Path

MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
MIB = 1 << 20


@pytest.mark.parametrize(
    ("groups", "files", "limit"),
    [
        ("0::/\n", {}, MACHINE),
        ("0::/\n", {"memory.max": "536870912\n"}, 512 * MIB),
        ("0::/\n", {"memory.max": "max\n"}, MACHINE),
        (
            "0::/a/b/c\n",
            {"a/b/c/memory.max": "max", "a/b/memory.max": "1048576", "a/memory.max": "max"},
            MIB,
        ),
        ("0::/pods/a\n", {"pods/a/memory.max": f"{MACHINE * 2}"}, MACHINE),
        ("0::/host/path/of/the/container\n", {"memory.max": "1048576"}, MIB),
        ("5:cpu:/\n4:memory:/a\n0::/\n", {"memory/a/memory.limit_in_bytes": "2097152"}, 2 * MIB),
        ("4:cpu,memory:/a/b\n", {"memory/memory.limit_in_bytes": "2097152"}, 2 * MIB),
        ("4:memory:/a\n0::/a\n", {"unified/a/memory.max": "1048576", "memory/a/memory.limit_in_bytes": "2097152"}, MIB),
        ("4:memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712"}, MACHINE),
        ("1:name=systemd:/a:b\n", {}, MACHINE),
        ("", {}, MACHINE),
    ],
)
def test_the_least_limit_counts(tmp_path: Path, groups: str, files: dict[str, str], limit: int) -> None:
    (tmp_path / "groups").write_text(groups)
    for name, text in files.items():
        path = tmp_path / "mount" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert limit_bytes(tmp_path / "groups", tmp_path / "mount") == limit


def test_where_nothing_tells_it_is_the_machines(tmp_path: Path) -> None:
    assert limit_bytes(tmp_path / "none", tmp_path) == MACHINE


def test_of_this_process() -> None:
    assert 0 < limit_bytes() <= MACHINE
