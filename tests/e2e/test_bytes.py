"""Lines come back as the bytes they are."""

from __future__ import annotations

import datetime as dt
import re
from itertools import islice
from typing import TYPE_CHECKING

from simulator.lines import Manner
from simulator.pods import pods
from simulator.runtimes import Runtime

if TYPE_CHECKING:
    from tests.e2e.cluster import Cluster

# A lone surrogate, overlong, cut, NUL, CR, control characters: what text is not.
ODD = [
    b"\xff\xfe",
    b"caf\xc3",
    b"\xed\xa0\x80",
    b"\xc0\xaf",
    b"a\x00b",
    b"\x1b[31mred\x1b[0m",
    b"a\rb",
    b"tab\there",
    b"",
]
# Of now: what is older than the retention is not kept.
TIME = f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%S}".encode() + b".%09dZ"


async def test_lines_that_are_not_utf8_are_byte_exact_in_text(cluster: Cluster) -> None:
    with cluster.node(Manner(binary=0.2, long=0.01)) as node:
        for pod, runtime in zip(islice(pods(4, 1), 4), (Runtime.CONTAINERD, Runtime.CRIO) * 2, strict=True):
            [writer] = node.start(pod, runtime)
            writer.write(1500)
        await cluster.start()
        await cluster.settle()
        report = await cluster.compare(node, "text")
        assert report.exact, report
        lossy = await cluster.compare(node, "json")
        assert 500 < lossy.changed < 2000
        assert (lossy.twice, lossy.disordered, lossy.foreign) == (0, 0, 0)


async def test_odd_bytes_one_by_one(cluster: Cluster) -> None:
    directory = cluster.pods_dir / "shop_odd-1_0b3f2c11-8c1d-4f5e-8619-7a3ca92d951f" / "app"
    directory.mkdir(parents=True)
    (directory / "0.log").write_bytes(
        b"".join(TIME % number + b" stdout F " + text + b"\n" for number, text in enumerate(ODD))
    )
    await cluster.start()
    await cluster.settle()
    query = "/query?limit=0&start=0&namespace=shop"
    text = [line async for lines in cluster.answer(query) for line in lines]
    assert text == [TIME % number + b" shop/odd-1/app " + line for number, line in enumerate(ODD)]
    rows = [line.decode() async for lines in cluster.answer(f"{query}&format=json") for line in lines]
    # The engine puts one U+FFFD for a run of bytes that are not UTF-8.
    valid = [re.sub("\ufffd+", "\ufffd", line.decode(errors="replace")) for line in ODD]
    assert [cluster.line_of(row) for row in rows] == valid
