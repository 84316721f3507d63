"""Stores of every older version become stores of today's, wherever that ends, and keep what they have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import pytest

from aggregator.errors import StoreError
from aggregator.store import migrations
from aggregator.store.embedded import Embedded
from aggregator.store.migrations import migrate, version
from aggregator.store.schema import COMMENT, FRAMING_UNKNOWN, LOGS, VERSION, create
from tests.aggregator.records import NOW_NS, batch, part, source
from tests.aggregator.stand import open_stand

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aggregator.store.engine import Engine

# What each version made of a new store, as it was then.
SCHEMAS: Final = Path(__file__).parent / "schemas"
OLDER: Final = range(1, VERSION)


class Column(msgspec.Struct, frozen=True):
    """As the engine describes it."""

    name: str
    type: str
    default_expression: str
    compression_codec: str


class Row(msgspec.Struct, frozen=True):
    """Of ``logs``."""

    position: int
    framing: str
    body: str


@pytest.fixture(params=OLDER)
async def older(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Embedded]:
    """A store of an older version, with two rows."""
    async with Embedded.start(f"chdb://{tmp_path}/store", 6) as engine:
        for statement in (SCHEMAS / f"{request.param}.sql").read_text().split(";\n"):
            if statement.strip():
                await engine.execute(statement)
        of = f"toUInt128('{int.from_bytes(source('a'), 'little')}')"
        await engine.execute(
            f"INSERT INTO {LOGS} (namespace, stream_id, ts, source, position, flags, body) SELECT 'shop', 1, "  # noqa: S608 - constants
            f"fromUnixTimestamp64Nano({NOW_NS}, 'UTC'), {of}, number, 0, 'line' "
            "FROM numbers(1, 2)"
        )
        yield engine


async def columns(engine: Engine) -> list[Column]:
    return await engine.rows(
        "SELECT * FROM system.columns WHERE database = currentDatabase() AND table = {table:String} ORDER BY position",
        Column,
        {"table": LOGS},
    )


async def rows(engine: Engine) -> list[Row]:
    return await engine.rows(f"SELECT position, toString(framing) AS framing, body FROM {LOGS} ORDER BY position", Row)  # noqa: S608 - a table name


def test_the_tables_of_every_older_version_are_kept() -> None:
    assert sorted(int(path.stem) for path in SCHEMAS.iterdir()) == list(OLDER)


async def test_an_older_store_becomes_one_of_today(older: Embedded, tmp_path: Path) -> None:
    await migrate(older)
    found = await columns(older)
    assert await version(older) == VERSION
    await older.close()
    async with Embedded.start(f"chdb://{tmp_path}/new", 6) as new:
        await create(new)
        assert await version(new) == VERSION
        assert found == await columns(new)


async def test_records_stay_and_others_follow_them(older: Embedded, tmp_path: Path) -> None:
    await migrate(older)
    await older.close()
    async with open_stand(tmp_path / "store") as stand:
        assert await stand.positions.of([source("a")]) == {source("a"): 2}
        await stand.commit(batch(part("a", 2, [9])))
        unknown = str(FRAMING_UNKNOWN)
        assert await rows(stand.engine) == [Row(1, unknown, "line"), Row(2, unknown, "line"), Row(9, "4", "a@9")]


async def test_it_may_end_behind_any_statement(older: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    began = await version(older)
    execute = older.execute
    left = 0
    runs = 0

    async def counted(sql: str) -> None:
        nonlocal left
        if not left:
            raise KeyboardInterrupt
        left -= 1
        await execute(sql)

    monkeypatch.setattr(older, "execute", counted)
    while await version(older) < VERSION:
        left = runs
        runs += 1
        try:
            await migrate(older)
        except KeyboardInterrupt:
            continue
    assert runs > VERSION - began
    assert [row.body for row in await rows(older)] == ["line", "line"]


async def test_todays_store_is_left_alone(engine: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "_STEPS", {})
    await migrate(engine)
    assert await version(engine) == VERSION


@pytest.mark.parametrize(
    ("comment", "reason"),
    [(COMMENT.format(VERSION + 1), "written by a newer logboom"), ("my logs", "does not say its version: 'my logs'")],
)
async def test_other_tables_are_refused(engine: Embedded, comment: str, reason: str) -> None:
    await engine.execute(f"ALTER TABLE {LOGS} MODIFY COMMENT '{comment}'")
    with pytest.raises(StoreError, match=reason):
        await migrate(engine)


async def test_no_tables_are_refused(tmp_path: Path) -> None:
    async with Embedded.start(f"chdb://{tmp_path}/store", 6) as engine:
        with pytest.raises(StoreError, match=r"no table logboom\.logs"):
            await version(engine)
