"""What both programs have in common on the command line."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest
from click.testing import CliRunner

from agent.__main__ import main as agent
from aggregator.__main__ import main as aggregator

if TYPE_CHECKING:
    from pathlib import Path

    import click

PROGRAMS: Final = pytest.mark.parametrize("program", [agent, aggregator], ids=["agent", "aggregator"])
DEADLINE_S: Final = 60.0


@PROGRAMS
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_both_explain_themselves(program: click.Command, flag: str) -> None:
    result = CliRunner().invoke(program, [flag])
    assert result.exit_code == 0
    assert "--listen" in result.output


BAD_TOKEN_FILES: Final = (
    ("none", "No such file or directory"),
    (".", "Is a directory"),
    ("empty", "is empty"),
    ("spaces", "a token has a space in it"),
    ("binary", "is not plain ASCII text"),
)


@PROGRAMS
@pytest.mark.parametrize(("name", "reason"), BAD_TOKEN_FILES)
def test_both_refuse_a_bad_token_file_alike(program: click.Command, tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "spaces").write_text("two words")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    result = CliRunner().invoke(program, ["--token-file", str(tmp_path / name)])
    assert result.exit_code == 2
    told = " ".join(result.output.split())
    assert f"token file {tmp_path / name}: {reason}; write one token a line" in told
    assert "Errno" not in told


@pytest.mark.parametrize("module", ["agent", "aggregator"])
def test_both_say_on_one_line_that_an_address_is_taken(tmp_path: Path, module: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = subprocess.run(
            [sys.executable, "-m", module, "--listen", address],
            env={"LOGBOOM_STORE": f"chdb://{tmp_path}/store"},
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE_S,
        )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1:] == [f"logboom-{module}: cannot listen on {address}: Address already in use"]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("module", ["agent", "aggregator"])
def test_both_warn_of_variables_that_nobody_reads(tmp_path: Path, module: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = subprocess.run(
            [sys.executable, "-m", module, "--listen", f"127.0.0.1:{taken.getsockname()[1]}"],
            env={"LOGBOOM_STORE": f"chdb://{tmp_path}/store", "LOGBOOM_TOKENFILE": "x", "LOGBOOM_XYZZY": "y"},
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE_S,
        )
    said = [line.partition(" service.environment ")[2] for line in done.stderr.splitlines()]
    told = "an environment variable is not known and is ignored variable"
    assert [line for line in said if line] == [
        f"{told}=LOGBOOM_TOKENFILE did_you_mean=LOGBOOM_TOKEN_FILE",
        f"{told}=LOGBOOM_XYZZY",
    ]


@pytest.mark.parametrize("arguments", [["--nonsense"], ["check", "--nonsense"], ["--help"]])
def test_options_are_looked_at_before_the_engine_is_loaded(arguments: list[str]) -> None:
    code = f"import sys; sys.argv[1:] = {arguments}; from aggregator.__main__ import main\n"
    code += "try: main()\nfinally: print(*({'chdb', 'pyarrow'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == [""]
