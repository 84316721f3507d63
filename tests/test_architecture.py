"""What docs/architecture.md promises about who knows whom and where things stand."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
PACKAGES = ("agent", "aggregator", "service", "simulator", "wire")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
INITS = [*(path for path in MODULES if path.name == "__init__.py"), ROOT / "benchmarks/__init__.py"]
PYTHON_FILES = [
    *MODULES,
    *sorted(path for place in ("tests", "benchmarks") for path in (ROOT / place).rglob("*.py")),
]
MODULE_LINES_MAX = 400

# Who may say that an option is read from the environment.
ENVIRONMENT_READERS = {"agent/config.py", "aggregator/config.py", "service/options.py", "service/logs.py"}
# Who may look at all of it, for names that nobody reads.
ENVIRONMENT_WATCHERS = {"service/environment.py"}
# A process may set what a library reads before that library is imported.
ENVIRONMENT_SETTERS = {"agent/__main__.py", "aggregator/__main__.py"}
SQL_PLACES = ("aggregator/store/", "aggregator/logql/")
SQL = re.compile(
    r"\b(SELECT\b.*\bFROM|INSERT INTO|(CREATE|DROP|ALTER|OPTIMIZE|TRUNCATE) TABLE|KILL QUERY)\b", re.DOTALL
)


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_import_contracts_hold() -> None:
    done = _run("-c", "from importlinter.cli import lint_imports; import sys; sys.exit(lint_imports(no_cache=True))")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_agent_loads_no_engine() -> None:
    done = _run("-c", "import sys, agent.__main__; print(*sys.modules)")
    assert done.returncode == 0, done.stderr
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "wire" in loaded
    assert not loaded & {"chdb", "pyarrow", "pandas", "aggregator", "simulator"}


def _environment_uses(tree: ast.AST) -> Iterator[str]:
    """``environ``, ``getenv`` and ``envvar=`` as they occur; ``environ.setdefault(`` as ``set``."""
    sets = set()
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Attribute(attr="environ") as environ, attr="setdefault")):
                sets.add(environ)
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr="environ"):
                yield "set" if node in sets else "environ"
            case ast.Attribute(attr="getenv") | ast.alias(name="environ" | "getenv"):
                yield "getenv"
            case ast.keyword(arg="envvar" | "auto_envvar_prefix"):
                yield "envvar"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_only_config_reads_the_environment(path: Path) -> None:
    uses = set(_environment_uses(ast.parse(path.read_text())))
    allowed = {"envvar"} if _name(path) in ENVIRONMENT_READERS else set()
    allowed |= {"environ"} if _name(path) in ENVIRONMENT_WATCHERS else set()
    allowed |= {"set"} if _name(path) in ENVIRONMENT_SETTERS else set()
    assert uses <= allowed


def _docstrings(tree: ast.AST) -> set[ast.expr]:
    found = set()
    for node in ast.walk(tree):
        match node:
            case (
                ast.Module(body=[ast.Expr(value=text), *_])
                | ast.ClassDef(body=[ast.Expr(value=text), *_])
                | ast.FunctionDef(body=[ast.Expr(value=text), *_])
                | ast.AsyncFunctionDef(body=[ast.Expr(value=text), *_])
            ):
                found.add(text)
    return found


def _sql_in(source: str) -> list[str]:
    tree = ast.parse(source)
    docstrings = _docstrings(tree)
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node not in docstrings
        and SQL.search(node.value)
    ]


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_sql_is_written_in_store_and_logql_only(path: Path) -> None:
    if not _name(path).startswith(SQL_PLACES):
        assert _sql_in(path.read_text()) == []


def test_the_search_for_sql_finds_it() -> None:
    assert any(_sql_in(path.read_text()) for path in MODULES if _name(path).startswith(SQL_PLACES))


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_a_module_is_short_enough_to_read(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MODULE_LINES_MAX


@pytest.mark.parametrize("path", INITS, ids=_name)
def test_a_package_is_a_map_of_its_modules(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert len(tree.body) == 1, "it holds its docstring and imports nothing"
    the_map = (ast.get_docstring(tree) or "").split("\n\n")[-1]
    names = [line.split()[0].removesuffix("/") for line in the_map.splitlines() if not line.startswith(" ")]
    here = {
        entry.stem
        for entry in path.parent.iterdir()
        if (entry.suffix == ".py" and not entry.name.startswith("__")) or (entry / "__init__.py").exists()
    }
    assert sorted(names) == sorted(here)


def _ignores(text: str) -> list[str]:
    """The lines of ``text`` that silence a check without saying why."""
    return [
        line.strip()
        for line in text.splitlines()
        if re.search(r"#\s*(noqa|type:\s*ignore)", line)
        and not re.search(r"#\s*(noqa: [A-Z0-9, ]+|type:\s*ignore\[[a-z, -]+\])(  #| -) \w.*", line)
    ]


@pytest.mark.parametrize("path", PYTHON_FILES, ids=_name)
def test_a_silenced_check_says_why(path: Path) -> None:
    if path != Path(__file__):
        assert _ignores(path.read_text()) == []


@pytest.mark.parametrize(
    ("line", "silent"),
    [
        ("x = 1  # noqa", True),
        ("x = 1  # noqa: S104", True),
        ("x = 1  # noqa: S104 - compared, not bound", False),
        ("x = 1  # type: ignore", True),
        ("x = 1  # type: ignore[arg-type]", True),
        ("x = 1  # type: ignore[arg-type]  # only read", False),
        ("x = 1  # a comment", False),
    ],
)
def test_the_search_for_silenced_checks_finds_them(line: str, silent: bool) -> None:  # noqa: FBT001 - a table's column
    assert bool(_ignores(line)) is silent


def test_every_ignore_in_the_settings_says_why() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    lines = re.findall(r'^\s+"[A-Z]+[0-9]*",.*$', text, re.MULTILINE)
    assert lines
    assert [line for line in lines if not re.search(r",\s+# \w", line)] == []
