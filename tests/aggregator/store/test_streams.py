from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.store.schema import STREAMS
from aggregator.store.streams import Stream, Streams, stream_id
from tests.aggregator.engines import BOTH

if TYPE_CHECKING:
    from aggregator.store.engine import Engine

LABELS = st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=4)


class Row(msgspec.Struct):
    day: str
    number: str
    labels: dict[str, str]


async def stored(engine: Engine) -> list[Row]:
    return await engine.rows(
        f"SELECT toString(day) AS day, toString(stream_id) AS number, labels FROM {STREAMS} ORDER BY ALL",  # noqa: S608 - a table name
        Row,
    )


def test_the_id_is_what_the_format_says() -> None:
    # BLAKE2b-64 over 01000000 'a' 01000000 'x' 01000000 'b' 00000000, little-endian; kept from the first release on.
    assert stream_id({"b": "", "a": "x"}) == stream_id({"a": "x", "b": ""}) == 18060500097686367555


@settings(deadline=None, max_examples=200)
@given(LABELS, LABELS)
def test_different_labels_have_different_ids(one: dict[str, str], other: dict[str, str]) -> None:
    assert (stream_id(one) == stream_id(other)) == (one == other)


@BOTH
async def test_a_stream_is_written_once_a_day(engine: Engine) -> None:
    plain, odd = Stream.of({"pod": "a"}), Stream.of({"pod": "it's\n\0\\ ż", "empty": ""})
    first = Streams(engine)
    await first.write(0, [plain, odd, plain])
    await first.write(0, [plain])
    await first.write(100_000, [plain])
    await Streams(engine).write(0, [odd])  # another process knows nothing, and asks
    expected = [Row("1970-01-01", str(one.number), dict(one.labels)) for one in (plain, odd)]
    expected.append(Row("2243-10-17", str(plain.number), {"pod": "a"}))
    assert sorted(await stored(engine), key=repr) == sorted(expected, key=repr)


async def test_after_forgetting_the_store_is_asked(engine: Engine) -> None:
    streams = Streams(engine)
    await streams.write(0, [Stream.of({"pod": "a"})])
    await engine.execute(f"ALTER TABLE {STREAMS} DROP PARTITION '1970-01-01'")
    streams.forget()
    await streams.write(0, [Stream.of({"pod": "a"})])
    assert len(await stored(engine)) == 1
