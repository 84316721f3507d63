from __future__ import annotations

import pytest

from aggregator.errors import StoreError
from aggregator.store.layout import Layout
from aggregator.store.server import Server, server_of

PLAIN, TLS = False, True


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("clickhouse://ch", Server("ch", 8123, PLAIN, "default", Layout("logboom", shared=True))),
        ("clickhouses://ch", Server("ch", 8443, TLS, "default", Layout("logboom", shared=True))),
        (
            "clickhouse://me%40here@[::1]:9/db?cluster=all-of-them&quorum=auto",
            Server("::1", 9, PLAIN, "me@here", Layout("db", shared=True, cluster="all-of-them"), quorum="auto"),
        ),
        (
            "clickhouses://u@ch/?cluster=c&quorum=2&ca=%2Fca.pem",
            Server("ch", 8443, TLS, "u", Layout("logboom", shared=True, cluster="c"), "2", "/ca.pem"),
        ),
    ],
)
def test_an_address_says_where_and_who(url: str, expected: Server) -> None:
    assert server_of(url) == expected


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("clickhouse://", "expected clickhouse://"),
        ("clickhouse://ch:port/db", "cannot be understood"),
        ("clickhouse://ch/a`b", "no name of a database"),
        ("clickhouse://ch/db?cluster=a'b", "no name of a cluster"),
        ("clickhouse://ch/db?cluster=", "no name of a cluster"),
        ("clickhouse://ch/db?clustre=a", "there is no 'clustre'"),
        ("clickhouse://ch/db?cluster=a&cluster=b", "given twice"),
        ("clickhouse://ch/db?cluster=a&quorum=1", "quorum is a number"),
        ("clickhouse://ch/db?quorum=2", "a quorum needs replicas"),
        ("clickhouse://ch/db#x", "expected clickhouse://"),
    ],
)
def test_what_is_no_address_says_why(url: str, reason: str) -> None:
    with pytest.raises(StoreError, match=reason):
        server_of(url)


def test_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(StoreError, match="store-password-file") as raised:
        server_of("clickhouse://me:hunter2@ch/db?clustre=x")
    assert "hunter2" not in str(raised.value)
