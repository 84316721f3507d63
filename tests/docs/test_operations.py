from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics import MetricWrapperBase

from agent.__main__ import main as agent
from agent.config import Config
from agent.doctor.command import doctor
from agent.doctor.report import StepName
from agent.follow.generations import Container
from agent.metrics import Metrics as AgentMetrics
from agent.select.readymade import READY_MADE
from aggregator.__main__ import main as aggregator
from aggregator.api.accounting import QueryMetrics, TailMetrics
from aggregator.api.turnstile import Turnstile
from aggregator.metrics import Metrics as AggregatorMetrics
from aggregator.nodes import Nodes
from service.web import add_metrics, errors_as_json

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")), ROOT / "benchmarks/README.md"]


def registries() -> list[CollectorRegistry]:
    registry = CollectorRegistry()
    AggregatorMetrics(registry)
    Nodes(registry)
    add_metrics(web.Application(), registry)
    QueryMetrics(registry, Turnstile(1, 1, 1.0))
    TailMetrics(registry, ())
    errors_as_json(registry)
    return [registry, AgentMetrics().registry]


def exported() -> set[str]:
    """Names of every metric, as Prometheus sees them."""
    text = b"".join(map(generate_latest, registries()))
    return set(re.findall(r"^# HELP (\S+)", text.decode(), re.MULTILINE))


def labels() -> dict[str, set[str]]:
    """The names of the labels of each of our metrics, under every name it goes by."""
    return {
        name: set(collector._labelnames)
        for registry in registries()
        for name, collector in registry._names_to_collectors.items()
        if isinstance(collector, MetricWrapperBase)
    }


def test_metrics_in_the_pages_exist() -> None:
    named = {
        name for page in PAGES for name in re.findall(r"logboom_(?:agent|aggregator|http)_[a-z_]+", page.read_text())
    }
    assert len(named) > 10
    assert named - exported() == set()
    shortened = {name for page in PAGES for name in re.findall(r"`…(_[a-z_]+)`", page.read_text())}
    assert shortened
    assert {name for name in shortened if not any(known.endswith(name) for known in exported())} == set()


# How much there is to do and how long it takes: figures to plan with, none of which is wrong by itself.
AMOUNTS = {
    "agent": {
        *("answer_seconds", "batches_in_flight", "committed_bytes_total", "committed_records_total", "files"),
        *("open_files", "read_bytes_total", "scan_seconds", "sent_bytes_total"),
    },
    "aggregator": {
        *("bytes_committed_total", "group_requests", "inserts_total", "positions_cached", "queries_running"),
        *("query_bytes_total", "query_duration_seconds", "query_rows_total", "queued_requests"),
        *("received_bytes_total", "rows_committed_total", "rows_trimmed_total", "store_parts", "store_rows"),
        *("tail_lines_total", "tails"),
    },
}


def test_whatever_may_tell_of_trouble_is_among_what_to_watch() -> None:
    section = (ROOT / "docs/operations.md").read_text().partition("## What to watch")[2].partition("\n## ")[0]
    endings = re.findall(r"`(?:logboom|…)(_[a-z_]+)", section.partition("| metric")[2].partition("\n\n")[0])
    ours = {name for name in exported() if name.startswith("logboom_") and not name.endswith("_created")}
    missing = {name for name in ours if not name.endswith(tuple(endings))}
    assert missing == {f"logboom_{program}_{name}" for program, names in AMOUNTS.items() for name in names}


def test_labels_in_the_pages_exist() -> None:
    known = labels()
    named = [
        (name, set(found.split(",")))
        for page in PAGES
        for name, found in re.findall(r"(logboom_\w+)\{([\w,]+)\}", page.read_text())
    ]
    assert len(named) > 3
    assert [(name, found) for name, found in named if found != known[name]] == []


def test_options_in_the_pages_exist() -> None:
    known = {
        flag
        for command in (agent, doctor, aggregator, *aggregator.commands.values())
        for option in command.params
        for flag in (*option.opts, *option.secondary_opts)
    }
    pattern = r"(?<![\w-])--[a-z][a-z-]+"
    others = {"--help", "--target", "--from-file"}  # click's own; docker's; kubectl's
    for page in (ROOT / "docs" / name for name in ("operations.md", "architecture.md", "moving.md")):
        assert set(re.findall(pattern, page.read_text())) - known - others == set(), page.name


def test_the_page_lists_every_kind_of_problem() -> None:
    source = (ROOT / "agent/doctor/judgement.py").read_text()
    kinds = set(re.findall(r'Problem\(\s*(?:"problem"|"note"|severity),\s*"([a-z-]+)"', source))
    kinds |= {f"aggregator-{step}" for step in get_args(StepName)}
    page = (
        (ROOT / "docs/operations.md").read_text().partition("problems have a `kind`:")[2].partition(" Of one kind")[0]
    )
    assert len(kinds) > 20
    assert set(re.findall(r"`([a-z-]+)`", page)) == kinds


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / link).exists(), link


def test_the_example_of_rules_does_what_it_says(tmp_path: Path) -> None:
    [text] = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "operations.md").read_text(), re.DOTALL)
    (tmp_path / "agent.toml").write_text(text)
    context = agent.make_context("agent", ["--config", str(tmp_path / "agent.toml"), "--node-name", "n"])
    rules = Config(**context.params).all_rules()
    app = Container("shop", "cart-1", "uid", "app")
    assert rules.collects(app)
    assert not rules.collects(Container("kube-system", "dns", "uid", "app"))
    cart = rules.treatment(app)
    assert cart.multiline_start is not None
    assert cart.multiline_start.expression.alone.match(b"2024-05-06 07:08 x")
    assert [each.text for each in cart.drop] == ["^DEBUG", "level=debug"]
    text_left = b"user=jane a@b.de session=x1 4111111111111111"
    for redaction in cart.redact:
        text_left, _ = redaction.replace(text_left)
    assert text_left == b"user=[user] [redacted:email] [redacted] [redacted:card]"
    batch = rules.treatment(Container("batch", "job", "uid", "app"))
    assert (batch.rate_bytes_per_s, batch.redact) == (1 << 20, ())
    assert batch.drop[0].alone.search(b'"GET /healthz HTTP/1.1"')
    assert rules.treatment(Container("blog", "web", "uid", "app")).redact == tuple(READY_MADE.values())
    assert not rules.collects(Container("kube-system", "dns", "uid", "dns"))
    assert not rules.collects(Container("blog", "web", "uid", "istio-proxy"))


def test_every_ready_made_redaction_is_in_the_page() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    assert [name for name in READY_MADE if f"`{name}`" not in page] == []
