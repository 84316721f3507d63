from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.api.times import duration_ns, time_ns

S = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", 90 * S),
        ("15m", 900 * S),
        ("2h", 7200 * S),
        ("3d", 3 * 86400 * S),
        ("1w", 7 * 86400 * S),
        ("250ms", S // 4),
        ("1h30m", 5400 * S),
        ("1.5h", 5400 * S),
    ],
)
def test_durations(text: str, expected: int) -> None:
    assert duration_ns(text) == expected


@pytest.mark.parametrize("text", ["", "15", "m", "15 m", "-1h", "1y", "0s", "1h-1m", "٣d", "nan", "1e3s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        duration_ns(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("1769860800", 1769860800 * S),
        ("1769860800.25", 1769860800 * S + S // 4),
        ("1769860800123", 1769860800123 * 10**6),
        ("1769860800123456", 1769860800123456 * 10**3),
        ("1769860800123456789", 1769860800123456789),
        ("2026-01-31T12:00:00Z", 1769860800 * S),
        ("2026-01-31t12:00:00z", 1769860800 * S),
        ("2026-01-31 12:00:00", 1769860800 * S),
        ("2026-01-31T12:00Z", 1769860800 * S),
        ("2026-01-31", 1769817600 * S),
        ("2026-01-31T12:00:00.123456789Z", 1769860800123456789),
        ("2026-01-31T13:00:00.5+01:00", 1769860800 * S + S // 2),
        ("2026-01-31T13:00:00 01:00", 1769860800 * S),
        ("2026-01-31T07:00:00-05:00", 1769860800 * S),
    ],
)
def test_times(text: str, expected: int) -> None:
    assert time_ns(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "-5",
        "2026-02-30",
        "2026-01-31T25:00:00Z",
        "2026-01-31T12:00:00+99:00",
        "1969-12-31T23:59:59Z",
        "2263-01-01",
        "9999999999999999999",
        "99999999999999999999",
        "1e9",
        "٢٠٢٦-01-31",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a time|is before"):
        time_ns(text)


@settings(deadline=None)
@given(st.datetimes(dt.datetime(1971, 1, 1), dt.datetime(2262, 1, 1)), st.integers(-1439, 1439))  # noqa: DTZ001 - made aware below
def test_any_offset_means_the_same_instant(moment: dt.datetime, minutes: int) -> None:
    zone = dt.timezone(dt.timedelta(minutes=minutes))
    aware = moment.replace(tzinfo=dt.UTC)
    expected = (aware - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1) * 1000
    assert time_ns(aware.astimezone(zone).isoformat()) == expected
