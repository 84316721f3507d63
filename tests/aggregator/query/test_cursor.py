from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.logql.tree import TIME_MAX_NS, Place
from aggregator.query.cursor import Cursor, Cursors, ForeignCursorError

STORE = Cursors("0123456789abcdef" * 2)
PLACES = st.builds(
    Place,
    st.integers(0, TIME_MAX_NS),
    st.integers(0, (1 << 64) - 1),
    st.binary(min_size=16, max_size=16),
    st.integers(0, (1 << 64) - 1),
)
CURSORS = st.one_of(
    st.builds(Cursor, st.integers(0, TIME_MAX_NS), st.none() | PLACES),
    st.builds(Cursor, st.integers(0, TIME_MAX_NS), PLACES, st.integers(0, TIME_MAX_NS)),
)


@given(CURSORS)
def test_what_was_given_away_is_read_back(cursor: Cursor) -> None:
    text = STORE.text(cursor)
    assert STORE.read(text) == cursor
    assert not set(text) & set("+/=&# ")


@given(CURSORS)
def test_another_store_is_noticed(cursor: Cursor) -> None:
    with pytest.raises(ForeignCursorError):
        Cursors("f" * 32).read(STORE.text(cursor))


@given(st.text() | st.binary(max_size=80).map(lambda data: data.decode("latin-1")))
def test_anything_else_is_no_cursor(text: str) -> None:
    with pytest.raises(ValueError, match="no cursor"):
        STORE.read(text)


@given(CURSORS, st.data())
def test_a_changed_or_lost_letter_is_noticed(cursor: Cursor, data: st.DataObject) -> None:
    text = STORE.text(cursor)
    at = data.draw(st.integers(0, len(text) - 2))
    letter = data.draw(st.sampled_from(["", *sorted({"A", "b", "7", "_"} - {text[at]})]))
    with pytest.raises(ValueError, match="no cursor"):
        STORE.read(text[:at] + letter + text[at + 1 :])


def test_the_format_is_the_one_that_was_given_away() -> None:
    golden = "mALECAEjRWeJq83vBQcIxBAAAAAAAAAAAAAAAAAAAAAACQCj2qOy"
    cursor = Cursor(5, Place(7, 8, bytes(16), 9))
    assert (STORE.text(cursor), STORE.read(golden)) == (golden, cursor)
