"""Whatever ends between two files, and wherever: each line is stored once.

The agent is the real one, and so is what the aggregator plans; the store keeps the inserts that were made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.agent.rotated import ERR, LATE_NS, LIVE, OUT, WEB, Session, Store, Writer
from tests.agent.tailing import Clock, pack
from wire.batch import Flag

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# A line: its text, its stream, whether it is partial, and ns after the one before.
Line = tuple[str, str, bool, int]
ROTATED: Final = f"{WEB}/0.log.20230405-02290"


def o(text: str, *, partial: bool = False) -> Line:
    return text, OUT, partial, 1000


def e(text: str, *, partial: bool = False) -> Line:
    return text, ERR, partial, 1000


# Two files, and the record that is made of both, if nothing goes wrong before both are there.
CONTENTS: dict[str, tuple[list[Line], list[Line], bytes | None]] = {
    "a trace": (
        [o("before"), o("boom"), o("\tat a")],
        [o("\tat b"), o("\tat c"), o("after")],
        b"boom\n\tat a\n\tat b\n\tat c",
    ),
    "a line in pieces": (
        [o("one "), o("two ", partial=True)],
        [o("three ", partial=True), o("four"), o("after")],
        b"two three four",
    ),
    "nothing else": ([o("one ", partial=True)], [o("two")], b"one two"),
    "lines between": (
        [o("one ", partial=True), e("e1"), e("e2")],
        [e("e3"), o("two ", partial=True), e("e4"), o("three"), e("e5"), o("after")],
        b"one two three",
    ),
    "both streams": (
        [o("one ", partial=True), e("e1 ", partial=True)],
        [o("two"), e("e2"), o("after")],
        b"one two",
    ),
    "another line open": (
        [o("one ", partial=True)],
        [e("e1 ", partial=True), o("two "), o("\tat x"), e("e2"), o("after")],
        b"one two \n\tat x",
    ),
    "does not go on": ([o("one"), o("boom"), o("\tat a")], [o("two"), e("e1"), o("three")], None),
}


class Faulty:
    """A session of which the step ``at`` fails in one of `WAYS`; the steps are counted."""

    def __init__(self, session: Session, way: str, at: int) -> None:
        self.session = session
        self.way = way
        self.at = at
        self.step = 0

    def next(self) -> bool:
        """Whether this step is to fail."""
        self.step += 1
        return self.step - 1 == self.at

    def pause(self) -> None:  # noqa: C901 - the ways
        """Between two steps: something ends, and begins anew."""
        if not self.next():
            return
        session = self.session
        match self.way:
            case "agent":
                session.end_agent()
            case "store":
                session.store.restart()
            case "both":
                session.store.restart()
                session.end_agent()
            case "rewind":
                session.node.tail.rewind()
            case "wiped":
                session.store = Store()
                session.displace()
            case "older" | "much older":
                session.store.fall_back(1 if self.way == "older" else 2)
                session.displace()
            case "sent again":
                for batch in session.sent:
                    session.store.take(batch)
                session.end_agent()
            case "late line":
                session.node.write(f"{ROTATED}0", Writer("cri", 50 * 10**9).line("late"))


WAYS: Final = ("agent", "store", "both", "rewind", "wiped", "older", "much older", "sent again", "late line")


def play(faulty: Faulty, before: bytes, behind: bytes, times: int) -> None:
    """Two files are written, read, and stored, step by step."""
    session = faulty.session
    session.node.write(f"{ROTATED}0", before)
    session.node.write(LIVE, behind)
    for _ in range(4):
        session.look()
        faulty.pause()
        session.place()
        faulty.pause()
        batch = session.read(times)
        faulty.pause()
        if batch is not None:
            session.send(batch)
            faulty.pause()


def written(lines: list[Line], stream: str) -> bytes:
    return b"".join(text.encode() for text, its, _, _ in lines if its == stream)


def text_of(writer: Writer, lines: list[Line]) -> bytes:
    return b"".join(
        writer.line(text, stream, partial=partial, after_ns=after) for text, stream, partial, after in lines
    )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("content", CONTENTS)
def test_it_is_one_record_stored_once_wherever_something_ends(
    way: str, content: str, tmp_path: Path, clock: Clock
) -> None:
    before, behind, made = CONTENTS[content]
    for times in (1, 3):
        at = 0
        while True:
            session = Session(tmp_path / f"{times}-{at}", clock)
            faulty = Faulty(session, way, at)
            writer = Writer("cri")
            play(faulty, text_of(writer, before), text_of(writer, behind), times)
            session.drain()
            where = (times, at)
            late = b"late" if way == "late line" and at < faulty.step else b""
            found = session.messages(OUT)
            assert found.replace(b"late", b"") == written([*before, *behind], OUT), where
            assert found.count(b"late") == bool(late), where
            assert session.messages(ERR) == written([*before, *behind], ERR), where
            if made is not None and not late:
                assert made in [row.body for row in session.records()], where
            assert session.finished(), where
            session.node.tail.close()
            if at >= faulty.step:
                break
            at += 1
        assert at > 8


@pytest.mark.parametrize("content", CONTENTS)
def test_a_store_that_ends_at_any_insert_of_any_batch(content: str, tmp_path: Path, clock: Clock) -> None:
    """The agent goes on, or ends too; a record of the day before stands in the batch as well."""
    before, behind, made = CONTENTS[content]
    for number, (nth, inserts, ends) in enumerate(
        (nth, inserts, ends) for nth in range(3) for inserts in range(4) for ends in (False, True)
    ):
        session = Session(tmp_path / str(number), clock)
        writer = Writer("cri", LATE_NS - 500)
        first = [o("the day before"), *before]
        session.node.write(f"{ROTATED}0", text_of(Writer("cri"), first[:1]), text_of(writer, first[1:]))
        session.node.write(LIVE, text_of(writer, behind))
        count = 0
        for _ in range(4):
            session.look()
            session.place()
            batch = session.read(5)
            if batch is None:
                continue
            if count == nth:
                session.store.take(batch, inserts)
                if ends:
                    session.end_agent()
                    count += 1
                    continue
            session.send(batch)
            count += 1
        session.drain()
        where = (nth, inserts, ends)
        assert session.messages(OUT) == written([*first, *behind], OUT), where
        assert session.messages(ERR) == written([*first, *behind], ERR), where
        if made is not None:
            assert made in [row.body for row in session.records()], where
        session.node.tail.close()


LINES = st.lists(
    st.tuples(
        st.sampled_from(["boom", "java.lang.X: y", *["\tat a.b(C.java:1)"] * 5, "", "  indented", "Caused by: x"]),
        st.sampled_from([OUT] * 6 + [ERR]),
        st.sampled_from([False] * 5 + [True]),
        st.sampled_from([1000] * 12 + [300_000_000, 40 * 10**9]),
    ),
    min_size=1,
    max_size=6,
)
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("look")),
        st.tuples(st.just("place"), st.sampled_from([None, None, 1])),
        st.tuples(
            st.just("send"),
            st.integers(1, 3),
            st.sampled_from(["given", "given", "given", "lost", "lost and ended"]),
            st.none() | st.integers(0, 2),
            st.booleans(),
        ),
        st.tuples(st.just("send"), st.integers(1, 3), st.just("given"), st.none(), st.just(value=False)),
        st.tuples(st.just("agent")),
        st.tuples(st.just("store")),
        st.tuples(st.just("rewind")),
        st.tuples(st.just("older"), st.integers(1, 3)),
        st.tuples(st.just("again"), st.integers(0, 5)),
        st.tuples(st.just("write")),
        st.tuples(st.just("late")),
        st.tuples(st.just("rotate")),
        st.tuples(st.just("pack")),
        st.tuples(st.just("overdue")),
        st.tuples(st.just("pass"), st.sampled_from([0.1, 0.5, 2.0, 40.0])),
    ),
    max_size=30,
)


class Container:
    """Writes lines, rotates, compresses; remembers each line that was written."""

    def __init__(self, session: Session, form: str, files: list[list[Line]]) -> None:
        self.session = session
        self.writer = Writer(form)
        self.pending = [list(lines) for lines in files]
        self.rotated: list[Path] = []
        self.written: dict[str, list[str]] = {OUT: [], ERR: []}
        self._number = 0

    def write(self, count: int) -> None:
        for line in self.pending[0][:count]:
            self._write(f"{LIVE}", line)
        del self.pending[0][:count]

    def write_late(self) -> None:
        """As the runtime does that has not yet opened the next file."""
        if self.rotated and self.rotated[-1].exists():
            self._write(str(self.rotated[-1].relative_to(self.session.node.root)), ("late", OUT, False, 1000))

    def _write(self, path: str, line: Line) -> None:
        text, stream, partial, after_ns = line
        self._number += 1
        text = f"{text}#{self._number};"
        self.written[stream].append(text)
        data = self.writer.line(text, stream, partial=partial, after_ns=after_ns)
        self.session.node.write(path, data)

    def rotate(self) -> None:
        if len(self.pending) > 1:
            self.write(len(self.pending[0]))
            del self.pending[0]
            target = self.session.node.root / f"{ROTATED}{len(self.rotated)}"
            self.rotated.append((self.session.node.root / LIVE).rename(target))
            self.session.look()

    def pack(self) -> None:
        for path in self.rotated[:-1]:
            if path.exists():
                pack(path)

    def finish(self) -> None:
        while len(self.pending) > 1:
            self.rotate()
        self.write(len(self.pending[0]))


def act(session: Session, container: Container, kind: str, how: list[Any]) -> None:  # noqa: C901, PLR0912 - the events
    match kind:
        case "look":
            session.look()
        case "place":
            session.look()
            session.place(how[0])
        case "send" | "overdue":
            times, answer, inserts, halved = how or (0, "given", None, False)
            batch = session.read(times) if times else session.overdue()
            if batch is None:
                return
            if inserts is not None:
                session.store.take(batch, inserts)
            if answer == "given":
                session.send(batch, halved=halved)
                return
            session.store.take(batch, inserts)
            if answer == "lost":
                session.send(batch)
            else:
                session.end_agent()
        case "agent":
            session.end_agent()
        case "store":
            session.store.restart()
            session.displace()
        case "rewind":
            session.node.tail.rewind()
        case "older":
            session.store.fall_back(how[0])
            session.displace()
        case "again":
            for batch in session.sent[-how[0] :]:
                session.store.take(batch)
            session.end_agent()
        case "write":
            container.write(1)
        case "late":
            container.write_late()
        case "rotate":
            container.rotate()
        case "pack":
            container.pack()
        case _:
            session.clock.forward(how[0])


def pieces_of(session: Session, stream: str) -> Iterator[str]:
    for row in session.records():
        if bool(row.flags & Flag.STDERR) == (stream == ERR) and not row.flags & Flag.GAP:
            yield from (text + ";" for text in row.body.decode().replace("\n", "").split(";") if text)


@pytest.mark.parametrize("form", ["cri", "docker"])
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LINES, min_size=2, max_size=4), EVENTS)
def test_every_line_is_stored_once_whatever_happens(
    form: str,
    tmp_path_factory: pytest.TempPathFactory,
    files: list[list[Line]],
    events: list[tuple[Any, ...]],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        session = Session(tmp_path_factory.mktemp("pods"), Clock(patch))
        container = Container(session, form, files)
        container.rotate()
        container.write(2)
        for kind, *how in events:
            act(session, container, kind, how)
        container.finish()
        session.drain()
        for stream in (OUT, ERR):
            assert sorted(pieces_of(session, stream)) == sorted(container.written[stream])
        assert session.finished()
        session.node.tail.close()
