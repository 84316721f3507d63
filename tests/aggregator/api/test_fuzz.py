"""Whatever is asked: no bug, no word of SQL in an answer, nothing but logs.

``LOGBOOM_FUZZ`` tells how many requests are tried, for each path and for each property.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import threading
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aggregator.api.openapi import document
from aggregator.api.parameters import HISTOGRAM, QUERY
from tests.aggregator.api.following import following

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EXAMPLES: Final = int(os.environ.get("LOGBOOM_FUZZ", "25"))
TIME_S: Final = 30
MANY: Final = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
DOCUMENT: Final = document(100_000)
# Endless answers are not waited for; what agents send is fuzzed beside its codec.
OTHERS: Final = ("/tail", "/loki/api/v1/tail", "/v1/batches", "/v1/heartbeats")
# What would be a leak: the engine's errors and statements, files, other tables.
LEAK: Final = re.compile(
    r"DB::|Code: \d|\bSELECT\b|\bFROM\b.*\blogboom\.|ClickHouse|chdb|Traceback|root:.*:0:0|internal error|/engine/store"
)
# Stands in a file beside the store.
UNSEEN: Final = "kept-out-of-sight"

SCHEMA: Final = schemathesis.openapi.from_dict(DOCUMENT).exclude(path=list(OTHERS))


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The application over a real store, in a thread of its own."""
    started, stop = threading.Event(), threading.Event()
    heard: list[str] = []

    async def serve(path: Path) -> None:
        async with following(path / "store") as stand:
            await stand.commit(b'{"level":"error","n":1}', b"level=info n=2 took=5ms", b"caf\xff", b"", log="a")
            (path / "secret.csv").write_text(f"a,{UNSEEN}\n")
            heard.append(stand.url)
            started.set()
            while not stop.is_set():
                await asyncio.sleep(0.05)

    thread = threading.Thread(target=lambda: asyncio.run(serve(tmp_path_factory.mktemp("fuzz"))))
    thread.start()
    assert started.wait(TIME_S)
    yield heard[0]
    stop.set()
    thread.join(TIME_S)


def check(status: int, content: bytes, asked: object) -> None:
    text, told = content.decode(errors="replace"), str(asked)
    assert status < 500 or status in {503, 504}, (told, text)
    found = LEAK.search(text)
    # What is asked may be repeated in a refusal; and explain=1 is there to show statements.
    assert found is None or found[0] in told or "'explain': '1'" in told, (told, text)
    assert UNSEEN not in text


def get(url: str, asked: object) -> None:
    answer = requests.get(url, timeout=TIME_S)
    check(answer.status_code, answer.content, asked)


@SCHEMA.parametrize()
@MANY
def test_every_path_by_its_description(case: Any, url: str) -> None:
    answer = case.call(base_url=url, timeout=TIME_S)
    check(answer.status_code, answer.content, (case.path_parameters, dict(case.query or {}), case.body))


# Parts of which dangerous texts are made, and those that are only strange.
PIECES: Final = st.sampled_from(
    (
        *("'", '"', "`", "\\", "\\'", "--", ";", "/*", "*/", "{", "}", "(", ")", "{p0:String}"),
        *(" UNION ALL SELECT 1 ", " OR 1=1 ", " FROM system.tables ", " INTO OUTFILE '/tmp/x' ", " FORMAT TSV"),
        *(
            "file('/etc/passwd')",
            "url('http://127.0.0.1:1/')",
            "remote('127.0.0.1')",
            "system.settings",
            "logboom.logs",
        ),
        *("SETTINGS max_threads=1", "sleep(3)", "\0", "\n", "\r\n", "\t", "\u202e", "é", "\U0001f600", "%", "*", "_"),
        *(
            "{namespace=~`.+`}",
            "| json",
            "| logfmt",
            "|= `x`",
            "[1m]",
            "rate(",
            "by (x)",
            "__error__",
            "0x7fffffff",
            "-1",
        ),
    )
)
TEXTS: Final = st.lists(PIECES | st.text(max_size=4), min_size=1, max_size=4).map("".join)
PLAIN: Final = tuple(dict.fromkeys(parameter.name for parameter in (*QUERY, *HISTOGRAM)))


@MANY
@given(
    path=st.sampled_from(("/query", "/histogram")), given_=st.dictionaries(st.sampled_from(PLAIN), TEXTS, max_size=3)
)
def test_plain_parameters_of_any_text(url: str, path: str, given_: dict[str, str]) -> None:
    with contextlib.suppress(UnicodeEncodeError):
        get(f"{url}{path}?{urlencode(given_)}", given_)


# Texts that stand where the language has a text, so that they get as far as the engine.
TEMPLATES: Final = st.sampled_from(
    (
        '{{namespace="shop"}} |= {0}',
        '{{namespace="shop"}} |~ {0}',
        '{{namespace="shop"}} |> {0}',
        "{{namespace={0}}}",
        '{{namespace=~"shop|.+"}} | json a={0} | a!=""',
        '{{namespace="shop"}} | logfmt | n={0} or level=~"e.*"',
        '{{namespace="shop"}} | regexp {0}',
        '{{namespace="shop"}} | pattern {0}',
        '{{namespace="shop"}} | line_format {0}',
        '{{namespace="shop"}} | label_format x={0}',
        'sum by (pod) (count_over_time({{namespace="shop"}} |= {0} [5m]))',
        'quantile_over_time(0.5, {{namespace="shop"}} | json a={0} | unwrap a [5m])',
        'label_replace(rate({{namespace="shop"}}[5m]), "x", {0}, "pod", "(.*)")',
        'label_replace(rate({{namespace="shop"}}[5m]), "x", "$1", "pod", {0})',
    )
)


def quoted(text: str) -> str:
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r"}
    return '"' + "".join(escapes.get(one, one) for one in text) + '"'


@MANY
@given(template=TEMPLATES, text=TEXTS)
def test_texts_inside_of_queries(url: str, template: str, text: str) -> None:
    query = template.format(quoted(text))
    now = time.time()
    for address in (
        f"/query?limit=10&q={quote(query, errors='surrogatepass')}",
        f"/loki/api/v1/query_range?query={quote(query, errors='surrogatepass')}&step=60",
        f"/loki/api/v1/query?query={quote(query, errors='surrogatepass')}&time={now:.3f}",
    ):
        get(url + address, query)


@MANY
@given(
    path=st.sampled_from(
        (
            "query_range",
            "query",
            "labels",
            "label/pod/values",
            "series",
            "index/stats",
            "format_query",
            "label/{}/values",
        )
    ),
    given_=st.dictionaries(
        st.sampled_from(
            ("query", "start", "end", "since", "step", "time", "limit", "direction", "interval", "match", "match[]")
        ),
        TEXTS | st.sampled_from(('{namespace="shop"}', "1", "1e999", "nan", "99999999999999999999", "5s", "-5s")),
    ),
    form=st.booleans(),
)
def test_lokis_parameters_of_any_text(url: str, path: str, given_: dict[str, str], form: bool) -> None:  # noqa: FBT001 - drawn
    with contextlib.suppress(UnicodeEncodeError):
        encoded = urlencode(given_)
        address = f"{url}/loki/api/v1/{path.format(quote(given_.get('query', 'x'), safe=''))}"
        if form:
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            answer = requests.post(address, encoded, headers=headers, timeout=TIME_S)
            check(answer.status_code, answer.content, given_)
        else:
            get(f"{address}?{encoded}", given_)
