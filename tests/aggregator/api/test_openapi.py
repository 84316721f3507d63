from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from openapi_spec_validator import validate
from prometheus_client import CollectorRegistry

from aggregator.api.following import CONTEXT, TAIL
from aggregator.api.loki.asked import LIMIT_DEFAULT, LIMIT_MAX
from aggregator.api.openapi import document
from aggregator.api.parameters import CATALOGUE, QUERY, Parameter
from aggregator.api.queries import QueryLimits, add_queries
from aggregator.config import Config, command
from aggregator.query.live import Live
from aggregator.sizing import sizes
from aggregator.store.commits import Commits

if TYPE_CHECKING:
    from aggregator.store.engine import Engine

DOCUMENT = document(100_000)
PAGE = Path(__file__).parents[3] / "docs" / "http-api.md"


def test_the_description_is_valid() -> None:
    validate(DOCUMENT)


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("/query", QUERY),
        ("/labels", CATALOGUE),
        ("/labels/{name}/values", CATALOGUE),
        ("/streams", CATALOGUE),
    ],
)
def test_described_parameters_are_the_accepted_ones(path: str, known: tuple[object, ...]) -> None:
    described = [one["name"] for one in DOCUMENT["paths"][path]["get"]["parameters"] if one["in"] == "query"]
    assert described == [parameter.name for parameter in QUERY if parameter in known]


@pytest.mark.parametrize(("path", "known"), [("/tail", TAIL), ("/context", CONTEXT)])
def test_what_follows_is_described_in_both_places(path: str, known: tuple[Parameter, ...]) -> None:
    described = [one["name"] for one in DOCUMENT["paths"][path]["get"]["parameters"] if one["in"] == "query"]
    assert described == [parameter.name for parameter in known]
    section = PAGE.read_text("utf-8").partition(f"| parameter of `{path}` |")[2].partition("\n\n")[0]
    for parameter in known:
        if parameter in QUERY:
            continue
        (row,) = [row for row in section.splitlines() if f"`{parameter.name}`" in row.split(" | ")[0]]
        assert not parameter.default or f"`{parameter.default}`" in row
        assert all(f"`{choice}`" in row for choice in parameter.choices)


# Added to the application elsewhere (`aggregator.api.routes`, `aggregator.api.deletions`, `service.web`).
ELSEWHERE = {"/v1/batches", "/v1/positions", "/healthz", "/readyz", "/metrics", "/delete", "/delete/{id}"}


def test_what_loki_limits_is_described() -> None:
    (limit,) = [
        one["description"]
        for one in DOCUMENT["paths"]["/loki/api/v1/query_range"]["get"]["parameters"]
        if one["name"] == "limit"
    ]
    assert f"{LIMIT_DEFAULT} by default" in limit
    assert f"at most {LIMIT_MAX}" in limit


async def test_every_path_is_described(engine: Engine) -> None:
    app = web.Application()
    add_queries(app, engine, QueryLimits(), CollectorRegistry(), live=Live(engine, Commits(0)))
    assert {resource.canonical for resource in app.router.resources()} == set(DOCUMENT["paths"]) - ELSEWHERE


@pytest.mark.parametrize("path", sorted(DOCUMENT["paths"]))
def test_the_page_has_every_path(path: str) -> None:
    assert re.search(rf"`(?:GET |POST )?{re.escape(path)}`", PAGE.read_text("utf-8"))


@pytest.mark.parametrize("parameter", QUERY, ids=lambda parameter: parameter.name)
def test_the_page_has_every_parameter_with_its_default_and_choices(parameter: object) -> None:
    (known,) = [one for one in QUERY if one is parameter]
    section = PAGE.read_text("utf-8").partition("## Parameters")[2].partition("\n## ")[0]
    (row,) = re.findall(rf"^\| `{known.name}` \|.*$", section, re.MULTILINE)
    assert not known.default or f"`{known.default}`" in row
    assert all(f"`{choice}`" in row for choice in known.choices)
    assert ("repeatable" in row) == known.repeatable


def test_the_page_has_no_parameter_that_is_not_accepted() -> None:
    section = PAGE.read_text("utf-8").partition("## Parameters")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [parameter.name for parameter in QUERY]


def test_the_page_names_the_limits_there_are_by_default() -> None:
    heard: list[Config] = []
    command(heard.append).main((), standalone_mode=False)
    (config,) = heard
    limits = " ".join(PAGE.read_text("utf-8").partition("Limits, and what changes them:")[2].split())
    enough, less, little = sizes(4 << 30), sizes((4 << 30) - 1), sizes((1 << 30) - 1)
    assert f"{config.query_time_s:g} s for a query (`--query-time`)" in limits
    assert (
        f"{enough.query >> 30} GiB of memory a query (`--query-memory`), a quarter of the memory below 4 GiB" in limits
    )
    assert less.query == ((4 << 30) - 1) // 4
    assert (
        f"{enough.concurrent} queries at once (`--query-concurrent`), {less.concurrent} below 4 GiB of memory and "
        f"{little.concurrent} below 1 GiB"
    ) in limits
    assert f"while {QueryLimits().waiting} more wait" in limits
    assert f"{QueryLimits().answer_bytes >> 20} MiB for an answer" in limits
