"""Numbers, durations and sizes are read and written as Go does."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.logql import units

H, M, S, MS, US = units.HOUR_NS, units.MINUTE_NS, units.SECOND_NS, units.MILLISECOND_NS, units.MICROSECOND_NS


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", 42.0),
        ("-.5", -0.5),
        ("5.", 5.0),
        ("+1e3", 1000.0),
        ("1_000.5", 1000.5),
        ("0x1p-2", 0.25),
        ("0x_1F.8p0", 31.5),
        ("inf", math.inf),
        ("-Infinity", -math.inf),
    ],
)
def test_numbers(text: str, value: float) -> None:
    assert units.parse_float(text) == value


@pytest.mark.parametrize("text", ["", " 1", "1 ", "1__0", "_1", "0x1", "\u0661", "1e", "e1", ".", "--1", "+nan", "1,5"])
def test_no_numbers(text: str) -> None:
    with pytest.raises(ValueError, match=r"strconv.ParseFloat: parsing .*: invalid syntax"):
        units.parse_float(text)


@pytest.mark.parametrize("text", ["1e309", "-1e309", "0x1p1024"])
def test_numbers_too_large(text: str) -> None:
    with pytest.raises(ValueError, match="value out of range"):
        units.parse_float(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"),
        (0.1, "0.1"),
        (1e21, "1000000000000000000000"),
        (1.5e-7, "0.00000015"),
        (-0.0, "-0"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (math.nan, "NaN"),
    ],
)
def test_numbers_as_text(value: float, text: str) -> None:
    assert units.float_text(value) == text


@given(st.floats(allow_nan=False))
def test_a_number_is_read_back_as_written(value: float) -> None:
    assert units.parse_float(units.float_text(value)) == value


@pytest.mark.parametrize(
    ("text", "duration_ns", "written"),
    [
        ("0", 0, "0s"),
        ("1h30m", H + 30 * M, "1h30m0s"),
        ("-1.5h", -90 * M, "-1h30m0s"),
        ("+5ms", 5 * MS, "5ms"),
        ("1.5s", 1500 * MS, "1.5s"),
        (".25m", 15 * S, "15s"),
        ("90s", 90 * S, "1m30s"),
        ("1.000001ms", MS + 1, "1.000001ms"),
        ("2us", 2 * US, "2\u00b5s"),
        ("2\u03bcs", 2 * US, "2\u00b5s"),
        ("7ns", 7, "7ns"),
        ("1m1m", 2 * M, "2m0s"),
        ("-9223372036854775808ns", -(1 << 63), "-2562047h47m16.854775808s"),
    ],
)
def test_durations(text: str, duration_ns: int, written: str) -> None:
    assert units.parse_duration(text) == duration_ns
    assert units.duration_text(duration_ns) == written


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", 'time: invalid duration ""'),
        ("-", 'time: invalid duration "-"'),
        ("1", 'time: missing unit in duration "1"'),
        ("1h5", 'time: missing unit in duration "1h5"'),
        ("1d", 'time: unknown unit "d" in duration "1d"'),
        ("1 h", 'time: unknown unit " h" in duration "1 h"'),
        (".s", 'time: invalid duration ".s"'),
        ("h", 'time: invalid duration "h"'),
        ("9223372036854775808ns", 'time: invalid duration "9223372036854775808ns"'),
        ("9" * 5000 + "h", "time: invalid duration "),
    ],
)
def test_no_durations(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match="^" + reason):
        units.parse_duration(text)


@given(st.integers(-(1 << 53), 1 << 53))
def test_a_duration_is_read_back_as_written(duration_ns: int) -> None:
    assert units.parse_duration(units.duration_text(duration_ns)) == duration_ns


@pytest.mark.parametrize(
    ("text", "duration_ns", "written"),
    [
        ("0", 0, "0s"),
        ("5m", 5 * M, "5m"),
        ("90s", 90 * S, "1m30s"),
        ("1h30m", H + 30 * M, "1h30m"),
        ("24h", 24 * H, "1d"),
        ("2w", 14 * 24 * H, "2w"),
        ("1y", 365 * 24 * H, "1y"),
        ("1y2w3d4h5m6s7ms", 382 * 24 * H + 4 * H + 5 * M + 6 * S + 7 * MS, "9172h5m6s7ms"),
    ],
)
def test_ranges(text: str, duration_ns: int, written: str) -> None:
    assert units.parse_range(text) == duration_ns
    assert units.range_text(duration_ns) == written


@pytest.mark.parametrize("text", ["", "5", "1.5h", "5s1h", "1us", "-5m", " 5m", "293y", "9" * 5000 + "s", "5m\n"])
def test_no_ranges(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        units.parse_range(text)


@given(st.integers(0, units.DURATION_MAX_NS // MS))
def test_a_range_is_read_back_as_written(duration_ms: int) -> None:
    assert units.parse_range(units.range_text(duration_ms * MS)) == duration_ms * MS


@pytest.mark.parametrize(
    ("text", "size_bytes", "written"),
    [
        ("0", 0, "0B"),
        ("42", 42, "42B"),
        ("5KB", 5000, "5KB"),
        ("5kb", 5000, "5KB"),
        ("1KiB", 1024, "1KiB"),
        ("1.5MiB", 1_572_864, "1536KiB"),
        ("1,000 K", 1_000_000, "1MB"),
        ("2.7", 2, "2B"),
        ("3G", 3_000_000_000, "3GB"),
        ("1EiB", 1 << 60, "1024PiB"),
    ],
)
def test_sizes(text: str, size_bytes: int, written: str) -> None:
    assert units.parse_size(text) == size_bytes
    assert units.size_text(size_bytes) == written
    assert units.parse_size(written) == size_bytes


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", 'strconv.ParseFloat: parsing "": invalid syntax'),
        ("B", 'strconv.ParseFloat: parsing "": invalid syntax'),
        ("1.2.3MB", 'strconv.ParseFloat: parsing "1.2.3": invalid syntax'),
        ("-1B", 'strconv.ParseFloat: parsing "": invalid syntax'),
        ("5 parrots", "unhandled size name: parrots"),
        ("16EiB", "too large: 16EiB"),
    ],
)
def test_no_sizes(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match="^" + reason + "$"):
        units.parse_size(text)
