"""The command line: `write` and `check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from click.testing import CliRunner

from simulator.__main__ import main
from simulator.ledger import Ledger

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A directory with pods and their ledger."""
    run("write", "--pods-dir", str(tmp_path / "pods"), "--lines", "500", "--ledger", str(tmp_path / "ledger.json"))
    return tmp_path


def run(*arguments: str, text: bytes = b"", code: int = 0) -> str:
    result = CliRunner().invoke(main, arguments, input=text)
    assert result.exit_code == code, result.output
    return result.stdout


def answer(pods_dir: Path) -> bytes:
    """What a store would answer, as text."""
    lines = []
    for path in pods_dir.glob("*/*/0.log"):
        namespace, pod, _ = path.parent.parent.name.split("_")
        for line in path.read_bytes().splitlines(keepends=True):
            time, _, _, text = line.split(b" ", 3)
            lines.append(b"%b %b %b" % (time, f"{namespace}/{pod}/{path.parent.name}".encode(), text))
    return b"".join(lines)


def test_write_writes_as_many_lines_as_asked(written: Path) -> None:
    assert Ledger.load(written / "ledger.json").lines == 500
    assert answer(written / "pods").count(b"\n") == 500


def test_write_stops_when_the_time_is_over(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.json"
    pods_dir = str(tmp_path / "pods")
    run("write", "--pods-dir", pods_dir, "--rate", "100", "--seconds", "500ms", "--ledger", str(ledger))
    assert 10 <= Ledger.load(ledger).lines <= 60


def test_write_takes_the_place_of_a_former_run(written: Path) -> None:
    run("write", "--pods-dir", str(written / "pods"), "--lines", "10", "--runtime", "cri-o")
    assert answer(written / "pods").count(b"\n") == 10


def test_write_leaves_others_files_alone(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    run("write", "--pods-dir", str(tmp_path), "--lines", "1", code=1)


def test_check_is_content_with_what_was_written(written: Path) -> None:
    output = run("check", "--ledger", str(written / "ledger.json"), "--format", "text", text=answer(written / "pods"))
    assert msgspec.json.decode(output)["lines"] == 500


def test_check_fails_when_a_line_is_missing(written: Path) -> None:
    some = answer(written / "pods").partition(b"\n")[2]
    output = run("check", "--ledger", str(written / "ledger.json"), "--format", "text", text=some, code=1)
    assert msgspec.json.decode(output)["missing"] == 1


def test_check_says_that_an_answer_breaks_off(written: Path) -> None:
    assert not run("check", "--ledger", str(written / "ledger.json"), text=b'{"ts": "2023', code=1)


def test_demo_says_why_its_directory_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = CliRunner().invoke(
        main, ["demo", "--pods-dir", str(tmp_path), "--run-dir", str(tmp_path / "file" / "run")]
    )
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert str(tmp_path / "file" / "run") in result.stderr
    assert len(result.stderr.splitlines()) == 1
