"""Markers say where the store stands, and are seen by nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aggregator.logql.tree import TIME_MAX_NS, Matcher, MatchOp, Query, Selector
from aggregator.query.budget import Budget
from aggregator.query.logs import pieces
from aggregator.store import disk
from aggregator.store.catalogue import Scope, label_values, stream_labels
from aggregator.store.engine import Limits
from aggregator.store.rendering import Format, Rendering
from aggregator.store.schema import LOGS, MARKER_NAMESPACE, STREAMS
from aggregator.store.windows import Window
from tests.aggregator.records import NOW_NS, Part, Record, batch, part, source
from tests.aggregator.stand import Stand, open_stand

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SELECTORS: dict[str, tuple[Matcher, ...]] = {
    "all": (),
    "all but one namespace": (Matcher("namespace", MatchOp.NOT_EQUAL, "other"),),
    "all but one pod": (Matcher("pod", MatchOp.NOT_EQUAL, "other"),),
}


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    """A store with three records and five markers, two of them of chunks whose records were all dropped."""
    async with open_stand(tmp_path / "store") as opened:
        pairs = [
            Part(source("a"), 0, (), 70, joint=True),
            Part(source("b"), 0, (Record(20),), 30),
            Part(source("c"), 0, (), 70, joint=True),
            Part(source("d"), 0, (Record(30),), 30),
            Part(source("f"), 0, (), 70, joint=True),
            Part(source("g"), 0, (), 30),
        ]
        await opened.commit(batch(*pairs, part("e", 0, [1])))
        yield opened


@pytest.mark.parametrize("limit", [0, 100])
@pytest.mark.parametrize("form", list(Format))
@pytest.mark.parametrize("selector", SELECTORS)
async def test_no_query_gives_them(stand: Stand, limit: int, form: Format, selector: str) -> None:
    query = Query(Selector(SELECTORS[selector]), (), 0, TIME_MAX_NS, limit=limit)
    budget = Budget(Limits(), 1 << 20)
    rendering = Rendering(form)
    given = pieces(stand.engine, query, rendering, budget, NOW_NS)
    rows = 0
    async for piece in given:
        rows += piece.rows
        assert MARKER_NAMESPACE.encode() not in bytes(piece.data)
    assert rows == 3
    assert await stand.count(LOGS) == 8


async def test_nor_one_that_asks_for_them(stand: Stand) -> None:
    theirs = Selector((Matcher("namespace", MatchOp.EQUAL, MARKER_NAMESPACE),))
    query = Query(theirs, (), 0, TIME_MAX_NS)
    budget = Budget(Limits(), 1 << 20)
    assert [piece async for piece in pieces(stand.engine, query, Rendering(), budget, NOW_NS)] == []


async def test_they_are_no_stream_and_no_label(stand: Stand) -> None:
    scope = Scope(Selector(), Window(0, TIME_MAX_NS))
    assert (await label_values(stand.engine, "namespace", scope, 10, Limits())).texts == ("shop",)
    assert len((await stream_labels(stand.engine, scope, 10, Limits())).streams) == 1


async def test_they_are_not_counted(stand: Stand) -> None:
    assert {table.name: table.rows for table in await disk.tables(stand.engine)} == {"logs": 3, "streams": 1}
    assert stand.metric("rows_committed_total") == 3


async def test_they_are_where_the_store_stands_also_for_the_next_process(tmp_path: Path) -> None:
    pairs = [Part(source("f"), 0, (), 70, joint=True), Part(source("g"), 0, (), 30)]
    async with open_stand(tmp_path / "store") as opened:
        await opened.commit(batch(*pairs))
    async with open_stand(tmp_path / "store") as opened:
        assert await opened.positions.of([source("f"), source("g")]) == {source("f"): 70, source("g"): 30}
        assert await opened.count(LOGS) == 2
        assert await opened.count(STREAMS) == 0
