from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.lines import Container, Manner, Mark, Voice, read_mark
from simulator.messages import Messages

NOW_NS = 1_700_000_000_123_456_789
CONTAINER = Container("shop", "cart-1", "0b3f2c11-8c1d-4f5e-8619-7a3ca92d951f", "app")
MESSAGES = Messages(1)


def voice(*, exact: bool = True, container: Container = CONTAINER, marked: bool = True, **manner: float) -> Voice:
    return Voice(container, Manner(seed=1, marked=marked, **manner), MESSAGES, exact=exact)


def test_every_line_says_who_wrote_it_when_and_which_it_is() -> None:
    lines = voice(long=0.01, binary=0.05).speak(3000, NOW_NS)
    counts = [0, 0]
    for stderr, time, text in zip(lines.stderr.tolist(), lines.times.tolist(), lines.texts, strict=True):
        assert read_mark(text) == Mark("0b3f2c11/app", stderr, counts[stderr], time)
        counts[stderr] += 1
    assert min(counts) > 0


def test_sequences_and_times_go_on_from_call_to_call() -> None:
    speaker = voice()
    marks = [read_mark(text) for _ in range(5) for text in speaker.speak(100, NOW_NS).texts]
    found = [mark for mark in marks if mark]
    assert len(found) == 500
    times = [mark.time_ns for mark in found]
    assert times == sorted(set(times))
    for stderr in (False, True):
        sequences = [mark.sequence for mark in found if mark.stderr is stderr]
        assert sequences == list(range(len(sequences)))
    assert sum(speaker.counts) == 500


def test_lines_for_people_are_messages_and_no_more() -> None:
    marked, bare = voice().speak(500, NOW_NS), voice(marked=False).speak(500, NOW_NS)
    assert (bare.times.tolist(), bare.stderr.tolist()) == (marked.times.tolist(), marked.stderr.tolist())
    for text, whole in zip(bare.texts, marked.texts, strict=True):
        message = whole.partition(b" sim=")[0]
        end = b'"}' if whole.endswith(b'"}') else b""
        assert text == (message + end if end else message[:-16].rstrip(b" "))
        if end:
            assert len(json.loads(text)["trace"]) == 16


def test_the_same_seed_says_the_same_however_it_is_asked() -> None:
    whole = voice(long=0.01).speak(500, NOW_NS)
    parts = voice(long=0.01)
    texts = [text for count in (1, 0, 99, 400) for text in parts.speak(count, NOW_NS).texts]
    assert texts == whole.texts


def test_containers_and_seeds_differ() -> None:
    other = Container("shop", "cart-1", "0b3f2c11-8c1d-4f5e-8619-7a3ca92d951f", "proxy")
    said = {voice().speak(1, NOW_NS).texts[0][:40], voice(container=other).speak(1, NOW_NS).texts[0][:40]}
    assert len(said) == 2
    assert Messages(1).ordinary != Messages(2).ordinary


def test_nothing_said_is_no_lines() -> None:
    speaker = voice()
    assert speaker.speak(0, NOW_NS).texts == []
    assert speaker.counts == (0, 0)


@pytest.mark.parametrize("exact", [True, False])
def test_lines_have_no_line_end_and_are_utf8_where_the_runtime_needs_it(exact: bool) -> None:  # noqa: FBT001 - a table's column
    texts = voice(exact=exact, long=0.02, binary=0.1).speak(2000, NOW_NS).texts
    assert not any(b"\n" in text for text in texts)
    invalid = [text for text in texts if text.decode(errors="replace").encode() != text]
    assert bool(invalid) is exact
    assert any(len(text) > 16384 for text in texts)


def test_long_lines_have_the_lengths_at_which_runtimes_cut() -> None:
    lengths = {len(text) for text in voice(long=1.0).speak(300, NOW_NS).texts}
    assert {8191, 8192, 8193, 16383, 16384, 16385} <= lengths


def test_shares_are_kept() -> None:
    lines = voice(stderr=0.3).speak(20_000, NOW_NS)
    assert 0.28 < lines.stderr.mean() < 0.32
    assert not voice(stderr=0.0).speak(1000, NOW_NS).stderr.any()
    assert voice(stderr=1.0).speak(1000, NOW_NS).stderr.all()


@given(st.data())
@settings(deadline=None, max_examples=200)
def test_a_line_with_any_change_is_found_out(data: st.DataObject) -> None:
    texts = voice(binary=0.2).speak(50, NOW_NS).texts
    text = bytearray(data.draw(st.sampled_from(texts)))
    at = data.draw(st.integers(0, len(text) - 1))
    match data.draw(st.sampled_from(["change", "drop", "add", "cut"])):
        case "change":
            text[at] ^= data.draw(st.integers(1, 255))
        case "drop":
            del text[at]
        case "add":
            text.insert(at, data.draw(st.integers(0, 255)))
        case "cut":
            del text[at:]
    assert read_mark(bytes(text)) is None


@given(st.binary(max_size=300) | st.from_regex(rb"x sim=[^/]*/[^/]*/[^/]*/[^/]*/[^/]*/[^/]*/.*", fullmatch=True))
@settings(deadline=None, max_examples=200)
def test_other_text_has_no_mark(text: bytes) -> None:
    assert read_mark(text) is None
