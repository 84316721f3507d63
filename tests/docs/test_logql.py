"""The page on LogQL: what it lists is what the code knows, and its queries run."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aggregator.logql.metric import MetricQuery, RangeOp, VectorOp
from aggregator.logql.parser import parse
from aggregator.logql.tree import LineOp, LogExpression, Query
from aggregator.query import logs, metrics
from aggregator.query.budget import Budget
from aggregator.store import schema
from aggregator.store.engine import Engine, Limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PAGE = (Path(__file__).parents[2] / "docs" / "logql.md").read_text("utf-8")
QUERIES = re.findall(r"```logql\n(.*?)\n```", PAGE, re.DOTALL)
NAMES = [op.value for op in (*RangeOp, *VectorOp)] + ["json", "logfmt", "regexp", "pattern", "unpack"]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Engine]:
    async with Engine.open(f"chdb://{tmp_path}/store") as opened:
        await schema.create(opened)
        yield opened


@pytest.mark.parametrize("name", NAMES)
def test_everything_there_is_stands_on_the_page(name: str) -> None:
    assert f"`{name}" in PAGE


@pytest.mark.parametrize("op", LineOp)
def test_every_line_filter_stands_on_the_page(op: LineOp) -> None:
    assert f"`{op.value.replace('|', chr(92) + '|')}`" in PAGE


def test_there_is_a_cookbook() -> None:
    assert len(QUERIES) >= 15


async def test_every_query_of_the_cookbook_runs(store: Engine) -> None:
    now_ns = time.time_ns()
    hour_ns = 3600 * 10**9
    for text in QUERIES:
        expression = parse(text)
        budget = Budget(Limits(), 1 << 20)
        if isinstance(expression, LogExpression):
            query = Query(expression.selector, expression.stages, now_ns - hour_ns, now_ns, 10)
            found: list[Any] = [one async for some in logs.entries(store, query, budget, now_ns) for one in some]
            assert found == []
        else:
            asked = MetricQuery(expression, now_ns - hour_ns, now_ns, 60 * 10**9)
            result = await metrics.evaluate(store, asked, budget, now_ns)
            assert len(result.times) == 61, text
