"""The files around the code: lock files, the Makefile, the licence, the changelog."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK_FILES = sorted((ROOT / "requirements").glob("*.txt"))


def _pins(path: Path) -> dict[str, tuple[str, int]]:
    """Package to version and number of hashes."""
    entries = re.findall(
        r"^([a-z0-9.-]+)==(\S+) \\\n((?: +--hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", path.read_text(), re.MULTILINE
    )
    return {name: (version, hashes.count("--hash")) for name, version, hashes in entries}


def _names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower() for requirement in requirements}


@pytest.mark.parametrize("path", LOCK_FILES, ids=lambda path: path.name)
def test_a_lock_file_is_hashes_and_no_index(path: Path) -> None:
    text = path.read_text()
    assert not re.search(
        r"https?:|file://|--(extra-)?index-url|--find-links|--trusted-host|^-i|^-f| @ ", text, re.MULTILINE
    )
    pinned = [line for line in text.splitlines() if line and line[0] not in "# "]
    assert len(pinned) == len(_pins(path)) > 0


@pytest.mark.parametrize("extra", ["agent", "aggregator", "dev"])
def test_a_lock_file_covers_what_the_project_asks_for(extra: str) -> None:
    wanted = _names(PROJECT["dependencies"] + PROJECT["optional-dependencies"][extra])
    assert wanted <= set(_pins(ROOT / "requirements" / f"{extra}.txt"))


@pytest.mark.parametrize("extra", ["agent", "aggregator"])
def test_what_is_tested_is_what_runs(extra: str) -> None:
    tested = _pins(ROOT / "requirements/dev.txt")
    for name, pin in _pins(ROOT / "requirements" / f"{extra}.txt").items():
        assert tested[name] == pin


def test_the_agent_installs_no_engine() -> None:
    assert not set(_pins(ROOT / "requirements/agent.txt")) & {"chdb", "chdb-core", "pyarrow", "pandas"}


def test_the_licence_is_the_whole_apache_licence() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert PROJECT["license"] == "Apache-2.0"
    for part in ("Version 2.0, January 2004", "9. Accepting Warranty", "END OF TERMS AND CONDITIONS", "APPENDIX"):
        assert part in text


def test_the_changelog_has_a_place_for_what_is_next() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"


def _make(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    return subprocess.run([make, "-C", str(directory), *arguments], capture_output=True, text=True, check=False)


def test_make_alone_lists_every_task() -> None:
    text = _make(ROOT, "--no-print-directory").stdout
    tasks = set(re.findall(r"^make (\S+)", text, re.MULTILINE))
    assert tasks == {"help", "run", "test", "lint", "bench", "chaos", "fuzz", "compose-test", "lock", "clean"}


def test_who_contributes_is_told_of_every_task() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    tasks = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)`", text)) == tasks - {"help", "clean"}


def test_make_says_which_python_it_needs(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    old = tmp_path / "python-of-yesterday"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = _make(tmp_path, f"PYTHON={old}", ".venv/bin/python")
    assert done.returncode != 0
    assert "needs Python 3.11, 3.12 or 3.13" in done.stderr
    assert str(old) in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_continuous_integration_runs_what_people_run() -> None:
    script = (ROOT / ".ci/run").read_text()
    assert script.startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail" in script
    assert script.rstrip().endswith("make test")
    assert (ROOT / ".ci/run").stat().st_mode & 0o111
