"""What cannot be exported or imported is said in one line that names it, and changes nothing."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from typing import TYPE_CHECKING, Any, Final

import pytest
from click.testing import CliRunner

from aggregator.__main__ import main
from aggregator.moving.command import NOT_DONE_EXIT_CODE
from aggregator.store import arrivals
from aggregator.store.engine import Engine
from tests.aggregator.moving.stores import Moved, url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def run(*arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, and what is written where."""
    result = CliRunner().invoke(main, [str(each) for each in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.stdout, result.stderr


def refused(*arguments: str | Path) -> str:
    code, said, why = run(*arguments)
    assert (code, said) == (NOT_DONE_EXIT_CODE, "")
    return " ".join(why.split())


def change(out: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((out / "manifest.json").read_text())
    edit(manifest)
    (out / "manifest.json").write_text(json.dumps(manifest))


def test_a_flipped_byte_is_named_with_its_file(moved: Moved, tmp_path: Path) -> None:
    (damaged, *_) = sorted(moved.out.glob("logs-*.parquet"))
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    why = refused("import", "--store", url(tmp_path / "another"), moved.out)
    assert "1 files are not what was exported; nothing was imported" in why
    assert f"{damaged}: its SHA-256 is " in why
    assert not (tmp_path / "another").exists()


MANIFESTS: Final[dict[str, tuple[Callable[[dict[str, Any]], object], str]]] = {
    "newer": (lambda m: m.update(version=2), "was written by a newer logboom (version 2, this one knows up to 1)"),
    "newer tables": (lambda m: m.update(schema=99), "is of a newer logboom (schema 99, this one knows up to "),
    "not finished": (lambda m: m.update(finished=False), "is not finished; run `logboom-aggregator export` again"),
    "of others": (lambda m: m.update(format="x"), "is none of logboom's: its format is 'x'"),
    "no field": (lambda m: m.pop("files"), "is damaged: Object missing required field `files`"),
    "path": (lambda m: m["files"][0].update(name="../x.parquet"), "is damaged: '../x.parquet' cannot stand in it"),
    "statement": (lambda m: m["files"][0].update(day="' OR 1"), 'is damaged: "\' OR 1" cannot stand in it'),
    "as it was": (lambda m: m, ".parquet: it is not there"),
}


@pytest.mark.parametrize("what", MANIFESTS)
def test_a_manifest_that_is_of_no_use_is_refused(once_moved: Moved, tmp_path: Path, what: str) -> None:
    """Beside none of its files."""
    edit, reason = MANIFESTS[what]
    out = tmp_path / "out"
    out.mkdir()
    (out / "manifest.json").write_bytes((once_moved.out / "manifest.json").read_bytes())
    change(out, edit)
    assert reason in refused("import", "--store", url(tmp_path / "another"), out)
    assert not (tmp_path / "another").exists()


async def test_an_import_that_cannot_be_finished_is_told_of_until_it_is(moved: Moved, tmp_path: Path) -> None:
    """A file says other sums than its rows have; then the directory is another store's."""
    new = tmp_path / "another"
    change(moved.out, lambda m: [each.update(hashes="1") for each in m["files"] if each["kind"] == "logs"])
    why = await asyncio.to_thread(refused, "import", "--store", url(new), moved.out)
    assert "its rows are not those that were exported" in why
    assert f"{moved.out}/logs-2024-10-01-" in why
    change(moved.out, lambda m: m.update(store="other"))
    why = await asyncio.to_thread(refused, "import", "--store", url(new), moved.out)
    assert "an import of another store's export was begun and is not finished" in why
    for store, is_unfinished in ((new, True), (moved.new, False), (moved.old, False)):
        async with Engine.open(url(store), 1) as engine:
            assert await arrivals.is_unfinished(engine) is is_unfinished


def test_directories_of_others_are_refused(moved: Moved, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    assert "is no export of logboom: there is no manifest.json" in refused("import", "--store", url(moved.new), foreign)
    (foreign / "letter.txt").touch()
    why = refused("export", "--store", url(moved.old), foreign)
    assert "is not empty and no export of logboom (letter.txt is in it)" in why
    assert [path.name for path in foreign.iterdir()] == ["letter.txt"]
    assert "No such file or directory" in refused("import", "--store", url(moved.new), tmp_path / "nowhere")
    why = refused("export", "--store", url(moved.new), moved.out)
    assert "has the export of another store; name another directory" in why


def test_a_directory_that_cannot_be_written_is_refused(moved: Moved) -> None:
    assert "/proc/out: No such file or directory" in refused("export", "--store", url(moved.old), "/proc/out")


def test_where_there_is_no_store_nothing_is_exported(tmp_path: Path) -> None:
    why = refused("export", "--store", url(tmp_path / "nowhere"), tmp_path / "out")
    assert f"there is no store in {tmp_path}/nowhere" in why
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["export", "import"])
def test_a_store_in_use_is_refused(moved: Moved, name: str) -> None:
    async def use() -> str:
        async with Engine.open(url(moved.old), 1):
            return await asyncio.to_thread(refused, name, "--store", url(moved.old), moved.out)

    assert f"is in use by another process (pid {os.getpid()}); stop that" in asyncio.run(use())


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)  # noqa: S607 - from PATH


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that has room for a few files."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small file system")
    place = tmp_path / "small"
    place.mkdir()
    try:
        mount("-t", "tmpfs", "-o", "size=32k", "tmpfs", str(place))
    except subprocess.CalledProcessError as error:
        pytest.skip(f"nothing can be mounted here: {error.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)  # noqa: S607 - from PATH


def test_a_full_disk_is_said_and_the_export_goes_on_when_there_is_room(moved: Moved, small_disk: Path) -> None:
    assert f"no space is left in {small_disk}: make room" in refused("export", "--store", url(moved.old), small_disk)
    written = {path.name for path in small_disk.glob("*.parquet")}
    assert written
    assert not list(small_disk.glob("*.new"))
    mount("-o", "remount,size=1m", str(small_disk))
    code, said, _ = run("export", "--store", url(moved.old), small_disk)
    assert code == 0
    assert f"{len(written)} kept" in said


def test_what_will_not_fit_is_not_begun(moved: Moved, small_disk: Path) -> None:
    (small_disk / "full").write_bytes(b"x" * (28 << 10))
    (small_disk / "full").rename(small_disk / ".full")
    assert "the export needs about" in refused("export", "--store", url(moved.old), small_disk)


@pytest.mark.parametrize("name", ["export", "import"])
def test_the_commands_explain_themselves(name: str) -> None:
    code, said, _ = run(name, "--help")
    assert code == 0
    assert {"--store", "LOGBOOM_STORE", "DIRECTORY"} <= {
        each.strip("[],;:. ") for each in said.replace("env var:", "").split()
    }
    code, _, why = run(name)
    assert code == 2
    assert "Missing argument 'DIRECTORY'" in why
