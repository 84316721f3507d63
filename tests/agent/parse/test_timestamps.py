"""Times as the runtimes write them."""

import datetime as dt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.parse import timestamps
from agent.parse.lines import Segment, cut
from wire.codec import TIME_NS_MAX

SECOND = 10**9


def parse(*texts: str) -> list[int | None]:
    """Each text alone in a line; None where it is no time."""
    body = "".join(text + "\n" for text in texts).encode()
    block = cut(body, [Segment(len(body), 0, 0)])
    times, ok = timestamps.parse(block, block.starts, block.ends - block.starts)
    return [time if good else None for time, good in zip(times.tolist(), ok.tolist(), strict=True)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.000000001Z", 1),
        ("1970-01-01T00:00:00.1Z", 100_000_000),
        ("1970-01-01T00:00:00.123456789Z", 123_456_789),
        ("1970-01-01T00:00:00.12345678Z", 123_456_780),
        ("2023-04-05T02:29:34.687797577Z", 1_680_661_774_687_797_577),
        ("2023-04-05T02:29:34.687797577+00:00", 1_680_661_774_687_797_577),
        ("2023-04-05T04:29:34.687797577+02:00", 1_680_661_774_687_797_577),
        ("2023-04-04T20:59:34-05:30", 1_680_661_774 * SECOND),
        ("2023-04-05T02:29:34.5-00:00", 1_680_661_774_500_000_000),
        ("2024-02-29T23:59:59Z", 1_709_251_199 * SECOND),
        ("2000-02-29T00:00:00Z", 951_782_400 * SECOND),
        ("1969-12-31T23:00:00-01:00", None),  # not before 1970 by its own date
        ("1970-01-01T00:00:00+00:01", None),
        ("1970-01-01T00:01:00+00:01", 0),
        ("2261-12-31T23:59:59.999999999Z", TIME_NS_MAX),
        ("2261-12-31T23:59:59.999999999-00:01", None),
        ("2262-01-01T00:00:00Z", None),
        ("9999-12-31T23:59:59Z", None),
        ("2100-02-29T00:00:00Z", None),
        ("2023-02-29T00:00:00Z", None),
        ("2023-04-31T00:00:00Z", None),
        ("2023-00-10T00:00:00Z", None),
        ("2023-13-10T00:00:00Z", None),
        ("2023-01-00T00:00:00Z", None),
        ("2023-01-32T00:00:00Z", None),
        ("2023-01-01T24:00:00Z", None),
        ("2023-01-01T23:60:00Z", None),
        ("2016-12-31T23:59:60Z", None),  # leap second
        ("2023-01-01T23:59:59.Z", None),
        ("2023-01-01T23:59:59.+01:00", None),
        ("2023-01-01T23:59:59.1234567890Z", None),
        ("2023-01-01T23:59:59.12345678901+00:00", None),
        ("2023-01-01T23:59:59.12a4Z", None),
        ("2023-01-01T23:59:59.12345678aZ", None),
        ("2023-01-01T23:59:59,1Z", None),
        ("2023-01-01T23:59:59", None),
        ("2023-01-01T23:59:59.123456789", None),
        ("2023-01-01T23:59:59z", None),
        ("2023-01-01t23:59:59Z", None),
        ("2023-01-01 23:59:59Z", None),
        ("2023-01-01T23:59:59+24:00", None),
        ("2023-01-01T23:59:59+01:60", None),
        ("2023-01-01T23:59:59+0100", None),
        ("2023-01-01T23:59:59*01:00", None),
        ("2023-1-01T23:59:59.1Z", None),
        ("-023-01-01T23:59:59Z", None),
        ("2023-01-01T23:59:5/Z", None),
        ("2023-01-01T23:59:/9Z", None),
        ("2023-01-01T23:59::9Z", None),
        ("\u0662023-01-01T23:59:59Z", None),
        ("", None),
        ("Z", None),
    ],
)
def test_a_text_is_a_time_or_none(text: str, expected: int | None) -> None:
    assert parse(text) == [expected]


def test_neighbours_of_other_minutes_keep_their_own() -> None:
    texts = ["2023-04-05T02:29:34Z", "2023-04-05T02:29:35Z", "2023-04-05T02:30:00Z", "2023-04-06T02:30:00Z", "x"]
    first = 1_680_661_774 * SECOND
    assert parse(*texts) == [first, first + SECOND, first + 26 * SECOND, first + 86_426 * SECOND, None]


def test_no_texts_give_no_times() -> None:
    block = cut(b"\n", [Segment(1, 0, 0)])
    times, ok = timestamps.parse(block, np.zeros(0, np.int64), np.zeros(0, np.int64))
    assert times.size == ok.size == 0


@given(
    st.lists(
        st.tuples(
            st.datetimes(dt.datetime(1970, 1, 2), dt.datetime(2261, 12, 30)),  # noqa: DTZ001 - the zone is drawn apart
            st.integers(0, SECOND - 1),
            st.integers(0, 9),
            st.none() | st.integers(-1439, 1439),
        ),
        min_size=1,
        max_size=8,
    )
)
@settings(deadline=None, max_examples=200)
def test_every_time_is_read_back(drawn: list[tuple[dt.datetime, int, int, int | None]]) -> None:
    texts, expected = [], []
    for local, nanoseconds, digits, east in drawn:
        fraction = f"{nanoseconds:09d}"[:digits]
        sign = "-" if (east or 0) < 0 else "+"
        zone = "Z" if east is None else f"{sign}{abs(east) // 60:02d}:{abs(east) % 60:02d}"
        texts.append(local.strftime("%Y-%m-%dT%H:%M:%S") + (f".{fraction}" if fraction else "") + zone)
        utc = local.replace(microsecond=0, tzinfo=dt.UTC) - dt.timedelta(minutes=east or 0)
        seconds = (utc - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(seconds=1)
        expected.append(seconds * SECOND + int(fraction.ljust(9, "0")))
    assert parse(*texts) == expected
