from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# Threads that are alive at once and allocate; then glibc says of every arena what is in it.
SCRIPT = """
import ctypes, sys, threading
from agent.memory import share_one_arena

if sys.argv[1] == "shared":
    assert share_one_arena()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
meet = threading.Barrier(4)

def allocate():
    libc.malloc(1 << 12)
    meet.wait()

threads = [threading.Thread(target=allocate) for _ in range(3)]
[thread.start() for thread in threads]
meet.wait()
[thread.join() for thread in threads]
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
libc.fflush(None)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no arenas")
@pytest.mark.parametrize(("setting", "is_one"), [("own", False), ("shared", True)])
def test_all_threads_share_one_arena(setting: str, *, is_one: bool) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT, setting], capture_output=True, text=True, check=True)
    assert done.stdout.count("<heap ") >= 1
    assert (done.stdout.count("<heap ") == 1) == is_one
