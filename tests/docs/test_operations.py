from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics import MetricWrapperBase

from agent.__main__ import main as agent
from agent.metrics import Metrics as AgentMetrics
from aggregator.__main__ import main as aggregator
from aggregator.api.accounting import QueryMetrics
from aggregator.api.turnstile import Turnstile
from aggregator.metrics import Metrics as AggregatorMetrics

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def registries() -> list[CollectorRegistry]:
    registry = CollectorRegistry()
    AggregatorMetrics(registry)
    QueryMetrics(registry, Turnstile(1, 1, 1.0))
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
    known = {flag for command in (agent, aggregator) for option in command.params for flag in option.opts}
    pattern = r"(?<![\w-])--[a-z][a-z-]+"
    others = {"--help", "--target"}  # click's own; docker's
    for page in (ROOT / "docs" / "operations.md", ROOT / "docs" / "architecture.md"):
        assert set(re.findall(pattern, page.read_text())) - known - others == set(), page.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / link).exists(), link
