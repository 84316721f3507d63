"""The address of ClickHouse servers.

``clickhouse://user@host:port/database?cluster=name``, ``clickhouses://`` with TLS. What may be left out: the user
(``default``), the port (8123; 8443 with TLS), the database (``logboom``), and each of the parameters:

cluster  the name, as the servers know it, of the cluster whose shards and replicas hold the store
quorum   how many replicas have an insert before it counts: a number from 2, or ``auto`` for most of them
ca       file with the certificates of who vouches for the servers, instead of the system's

The password is never in it: addresses are logged, and seen in lists of processes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from aggregator.errors import StoreError
from aggregator.store.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Mapping

_SCHEMES: Final = {"clickhouse": 8123, "clickhouses": 8443}
_PARAMETERS: Final = frozenset({"cluster", "quorum", "ca"})
# They stand in statements.
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_QUORUM: Final = re.compile(r"auto|[2-9]|[1-9]\d")
_HINT: Final = "expected clickhouse://user@host:8123/database?cluster=name"


class Server(msgspec.Struct, frozen=True):
    """Where the servers are, and who is asking. ``authority``: file of certificates; empty for the system's."""

    host: str
    port: int
    secure: bool
    user: str
    layout: Layout
    quorum: str = ""
    authority: str = ""


def names_servers(url: str) -> bool:
    """Whether ``url`` is meant to be an address of servers."""
    return url.partition("://")[0] in _SCHEMES


def server_of(url: str) -> Server:
    """What ``url`` names. Raises `StoreError` saying what is wrong with it, without what may be a password."""
    try:
        parts = urlsplit(url)
        port = parts.port
        parameters = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise StoreError(f"the store's address cannot be understood; {_HINT}") from error
    if parts.password is not None:
        raise StoreError("the store's address has a password in it; name a file as --store-password-file instead")
    if parts.scheme not in _SCHEMES or not parts.hostname or parts.fragment:
        raise StoreError(f"store {url!r}: {_HINT}")
    given = dict(parameters)
    unknown = sorted(given.keys() - _PARAMETERS)
    if unknown or len(given) < len(parameters):
        wrong = f"there is no {unknown[0]!r}" if unknown else "a parameter is given twice"
        raise StoreError(f"store {url!r}: {wrong}; there are {', '.join(sorted(_PARAMETERS))}")
    database = unquote(parts.path.removeprefix("/")) or "logboom"
    _check(url, database, given)
    return Server(
        host=parts.hostname,
        port=port or _SCHEMES[parts.scheme],
        secure=parts.scheme == "clickhouses",
        user=unquote(parts.username or "default"),
        layout=Layout(database, shared=True, cluster=given.get("cluster", "")),
        quorum=given.get("quorum", ""),
        authority=given.get("ca", ""),
    )


def _check(url: str, database: str, given: Mapping[str, str]) -> None:
    for what, name in (("database", database), ("cluster", given.get("cluster", "c"))):
        if not _NAME.fullmatch(name):
            raise StoreError(f"store {url!r}: {name!r} is no name of a {what}")
    if "quorum" in given:
        if not _QUORUM.fullmatch(given["quorum"]):
            raise StoreError(f"store {url!r}: quorum is a number of replicas from 2 to 99, or auto")
        if "cluster" not in given:
            raise StoreError(f"store {url!r}: a quorum needs replicas, and so a cluster")
