from __future__ import annotations

import pytest

from aggregator.ingest.admission import Admission, MemoryFullError


def test_what_is_held_is_counted_until_it_is_released() -> None:
    admission = Admission(100)
    with admission.hold(60) as held:
        held.more(30)
        assert admission.held_bytes == 90
        with admission.hold(10):
            assert admission.held_bytes == 100
        held.release()
        assert admission.held_bytes == 0
    assert admission.held_bytes == 0, "released once, not twice"


def test_what_does_not_fit_is_refused_and_holds_nothing() -> None:
    admission = Admission(100)
    with admission.hold(60) as held:
        with pytest.raises(MemoryFullError) as first:
            admission.hold(41)
        with pytest.raises(MemoryFullError):
            held.more(41)
        assert admission.held_bytes == 60
        assert (first.value.wanted, first.value.held, first.value.limit) == (41, 60, 100)
        held.more(40)
    assert admission.held_bytes == 0


def test_an_error_releases_too() -> None:
    admission = Admission(100)
    with pytest.raises(MemoryFullError), admission.hold(60) as held:
        held.more(50)
    assert admission.held_bytes == 0
