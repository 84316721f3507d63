"""What is wrong with a store is found and named."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner

from aggregator.check.command import NOT_CHECKED_EXIT_CODE, NOT_CLEAN_EXIT_CODE, check
from aggregator.check.examine import examine
from aggregator.check.report import Report, render
from aggregator.config import command
from aggregator.store.engine import Engine
from aggregator.store.schema import LOGS, STREAMS
from tests.aggregator.records import DAY_S, NOW_NS, Part, Record, batch, part, source
from tests.aggregator.stand import open_stand

YESTERDAY_NS: Final = NOW_NS - DAY_S * 10**9
OF_A: Final = f"toUInt128('{int.from_bytes(source('a'), 'little')}')"


@pytest.fixture
async def store(tmp_path: Path) -> str:
    """A store whose records came in several inserts, of two days, some dropped, some joint; and the rest of the day."""
    async with open_stand(tmp_path / "store") as stand:
        await stand.commit(batch(part("a", 0, [10, 20], time=YESTERDAY_NS), part("b", 0, [7])))
        await stand.commit(batch(part("a", 20, [30, 45])), batch(Part(source("b"), 7, (), end=90)))
        await stand.commit(batch(part("a", 45, [60]), part("b", 90, [100])))
        await stand.commit(
            batch(Part(source("c"), 0, (Record(5),), 70, joint=True), Part(source("d"), 0, (Record(30),), 30))
        )
    return f"chdb://{tmp_path}/store"


async def changed(store: str, *statements: str) -> Report:
    """What is found after something was done to the store."""
    async with Engine.open(store, 1) as engine:
        for statement in statements:
            await engine.execute(statement)
    return await examine(store, lambda _, __: None)


async def test_a_store_that_is_well_is_clean(store: str) -> None:
    seen: list[tuple[int, int]] = []
    report = await examine(store, lambda done, total: seen.append((done, total)))
    assert report.is_clean
    assert (report.broken, report.set_aside, report.tears, report.unread) == ((), (), (), "")
    assert report.sources is not None
    assert (report.sources.files, report.sources.rows, report.sources.bytes) == (4, 10, 60 + 100 + 70 + 30)
    assert (report.sources.torn, report.sources.begun_late, report.sources.unframed) == (0, 0, 0)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == seen[-1][1] == 2 * report.bytes
    assert render(report).endswith("\nclean\n")


DELETE: Final = f"ALTER TABLE {LOGS} DELETE WHERE source = {OF_A} AND position IN ({{}}) SETTINGS mutations_sync = 2"
UPDATE: Final = f"ALTER TABLE {LOGS} UPDATE {{}} WHERE source = {OF_A} AND position = {{}} SETTINGS mutations_sync = 2"
INSERT: Final = f"INSERT INTO {LOGS} SELECT * FROM {LOGS} WHERE source = {OF_A} AND position IN ({{}})"  # noqa: S608 - constants


@pytest.mark.parametrize(
    ("statement", "tears"),
    [
        (DELETE.format("30"), [("missing", 20, 30)]),
        (DELETE.format("20, 45"), [("missing", 10, 20), ("missing", 30, 45)]),
        (INSERT.format("30"), [("twice", 20, 30)]),
        (INSERT.format("10, 60"), [("twice", 0, 10), ("twice", 45, 60)]),
        (UPDATE.format("framing = framing + 5", 30), [("twice", 15, 20)]),
        (UPDATE.format("body = ''", 30), [("missing", 20, 24)]),
    ],
)
async def test_what_is_missing_or_there_twice_is_named(
    store: str, statement: str, tears: list[tuple[str, int, int]]
) -> None:
    report = await changed(store, statement)
    assert not report.is_clean
    assert report.sources is not None
    assert report.sources.torn == 1
    assert [(tear.kind, tear.start, tear.end) for tear in report.tears] == tears
    assert {(tear.source, tear.node, tear.namespace, tear.pod, tear.container) for tear in report.tears} == {
        (source("a").hex(), "node-1", "shop", "web-0", "app")
    }
    assert f"bytes {tears[0][1]:,} to {tears[0][2]:,}" in render(report)
    assert report.positions


async def test_days_that_are_over_make_files_begin_late(store: str) -> None:
    day = (YESTERDAY_NS // 10**9) // DAY_S
    report = await changed(store, f"ALTER TABLE {LOGS} DROP PARTITION '{_date(day)}'")
    assert report.is_clean
    assert report.sources is not None
    assert (report.sources.begun_late, report.sources.begun_late_bytes) == (1, 20)
    assert "without their beginning, 20 bytes" in render(report)


async def test_records_without_labels_are_counted(store: str) -> None:
    report = await changed(store, f"TRUNCATE TABLE {STREAMS}")
    assert not report.is_clean
    assert report.unlabelled == 9


def data_files(store: str) -> list[Path]:
    """Of the parts of ``logs``, as the engine lays small ones out."""
    return sorted(
        path
        for path in Path(store.removeprefix("chdb://")).glob("engine/store/*/*/*/data.bin")
        if (path.parent / "positions.proj").is_dir()
    )


async def test_a_flipped_byte_is_named_with_its_part(store: str) -> None:
    file = data_files(store)[0]
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    report = await examine(store, lambda _, __: None)
    assert not report.is_clean
    (broken,) = report.broken
    assert (broken.table, broken.part) == ("logs", file.parent.name)
    assert "data.bin" in broken.reason
    assert f"broken     logs {file.parent.name}" in render(report)


async def test_a_part_that_lacks_a_file_is_set_aside_and_what_it_held_is_named(store: str) -> None:
    async with Engine.open(store, 1) as engine:
        (only,) = await engine.rows(
            f"SELECT DISTINCT _part AS name FROM {LOGS} WHERE source = {OF_A} AND position = 30",  # noqa: S608 - constants
            dict[str, str],
        )
    (file,) = [file for file in data_files(store) if file.parent.name == only["name"]]
    file.unlink()
    report = await examine(store, lambda _, __: None)
    (aside,) = report.set_aside
    assert (aside.table, aside.day) == ("logs", _date(NOW_NS // 10**9 // DAY_S))
    assert aside.part.endswith(only["name"])
    assert [(tear.kind, tear.start, tear.end) for tear in report.tears] == [("missing", 20, 45)]
    # It is told again the next time, until somebody sees to it.
    assert (await examine(store, lambda _, __: None)).set_aside == report.set_aside


def test_the_command_says_by_its_exit_code_what_is(store: str) -> None:
    main = command(lambda _: None)
    main.add_command(check)
    result = CliRunner().invoke(main, ["check", "--store", store])
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "clean")
    data_files(store)[0].unlink()
    result = CliRunner().invoke(main, ["check", "--store", store, "--json"])
    assert result.exit_code == NOT_CLEAN_EXIT_CODE
    assert json.loads(result.stdout)["set_aside"][0]["table"] == "logs"


@pytest.mark.parametrize("place", ["nothing", "directory"])
def test_where_there_is_no_store_none_is_made(tmp_path: Path, place: str) -> None:
    path = tmp_path / place
    if place == "directory":
        path.mkdir()
    result = CliRunner().invoke(check, ["--store", f"chdb://{path}"])
    assert result.exit_code == NOT_CHECKED_EXIT_CODE
    assert f"there is no store in {path}" in result.stderr
    assert not path.exists() or not list(path.iterdir())


def test_options_of_the_aggregator_stand_behind(store: str) -> None:
    main = command(lambda _: None)
    main.add_command(check)
    result = CliRunner().invoke(main, ["--store", store, "check"])
    assert result.exit_code == 2
    assert "options of check stand after it" in result.output


def _date(day: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)).date().isoformat()
