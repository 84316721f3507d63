"""Records that go on in the next file are one record."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.parse.overlong import note
from agent.records.carry import DECIDED_WITHIN_S, HELD_ON_S
from agent.select.rules import Rule, Rules
from agent.ship.batch import halves
from tests.agent.rotated import ERR, LATE_NS, LIVE, OUT, ROTATED, WEB, WRITTEN_NS, Session, Writer
from tests.agent.tailing import Clock, pack
from wire.batch import Flag

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.agent.stand_in import Aggregator, Node

    Until = Callable[[Callable[[], bool]], Awaitable[None]]

HEAD = ["before", "boom", "java.lang.X: y", "\tat a.b(C.java:1)"]
REST = ["\tat a.c(C.java:2)", "\tat a.d(C.java:3)", "after"]
TRACE = "\n".join([*HEAD[1:], *REST[:2]])


@pytest.fixture(params=["cri", "docker"])
def writer(request: pytest.FixtureRequest) -> Writer:
    return Writer(request.param)


@pytest.fixture(params=[False, True], ids=["plain", "gz"])
def packed(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def session(tmp_path: Path, clock: Clock) -> Session:
    return Session(tmp_path / "pods", clock)


def put(session: Session, writer: Writer, rotated: bytes, live: bytes, *, packed: bool = False) -> None:
    """Two files of one run, in the places of the writer's runtime."""
    if writer.form == "docker":
        # The live file is a symlink to Docker's own, beside which the rotated one is.
        target = session.node.root / "containers"
        target.mkdir(parents=True, exist_ok=True)
        (target / "id-json.log.1").write_bytes(rotated)
        (target / "id-json.log").write_bytes(live)
        (session.node.root / "pods" / WEB).mkdir(parents=True, exist_ok=True)
        (session.node.root / "pods" / LIVE).symlink_to(target / "id-json.log")
        if packed:
            pack(target / "id-json.log.1")
        session.node.root /= "pods"
        session.node.restart()
        return
    path = session.node.write(ROTATED, rotated)
    if packed:
        pack(path)
    session.node.write(LIVE, live)


def bodies(session: Session) -> list[str]:
    return [row.body.decode() for row in session.records()]


def flags(session: Session) -> list[int]:
    return [row.flags for row in session.records()]


def p(writer: Writer, *texts: str, stream: str = OUT) -> bytes:
    """Partial lines."""
    return b"".join(writer.line(text, stream, partial=True) for text in texts)


def test_a_trace_goes_on_in_the_next_file(session: Session, writer: Writer, *, packed: bool) -> None:
    put(session, writer, writer.lines(HEAD), writer.lines(REST), packed=packed)
    session.drain()
    assert bodies(session) == ["before", TRACE, "after"]
    assert flags(session) == [0, Flag.JOINED, 0]
    assert session.finished()


def test_a_line_in_pieces_goes_on_in_the_next_file(session: Session, writer: Writer, *, packed: bool) -> None:
    rotated = writer.lines(["before"]) + p(writer, "one ", "two ")
    put(session, writer, rotated, p(writer, "three ") + writer.lines(["four", "after"]), packed=packed)
    session.drain()
    assert bodies(session) == ["before", "one two three four", "after"]
    assert flags(session) == [0, Flag.JOINED, 0]
    assert session.finished()


def test_the_first_line_of_the_next_file_may_be_all_of_it(session: Session, writer: Writer) -> None:
    put(session, writer, writer.lines(HEAD), writer.lines(REST[:2]))
    session.drain()
    assert bodies(session) == ["before", TRACE]
    assert session.finished()
    assert session.node.tail.unplaced() == []


def test_both_files_may_be_one_record(session: Session, writer: Writer) -> None:
    put(session, writer, p(writer, "one "), writer.lines(["two"]))
    session.drain()
    assert bodies(session) == ["one two"]
    # Nothing else stands at the end of the first file.
    assert [row.is_marker for rows in session.store.inserts for row in rows] == [True, False]


def test_both_compressed(session: Session) -> None:
    writer = Writer("cri")
    pack(session.node.write(ROTATED, writer.lines(HEAD)))
    pack(session.node.write(f"{WEB}/0.log.20230405-022935", writer.lines(REST)))
    session.node.write(LIVE, writer.lines(["last"]))
    session.drain()
    assert bodies(session) == ["before", TRACE, "after", "last"]


def test_what_stands_between_in_the_other_stream_comes_before_it(session: Session, writer: Writer) -> None:
    rotated = p(writer, "one ") + writer.lines(["e1"], ERR)
    live = writer.lines(["e2"], ERR) + p(writer, "two ") + writer.lines(["e3"], ERR) + writer.lines(["three", "after"])
    put(session, writer, rotated, live)
    session.drain()
    assert bodies(session) == ["e1", "e2", "e3", "one two three", "after"]
    # All of them lie in the first line, in the first file; so the end of that file has no record.
    assert sum(row.is_marker for rows in session.store.inserts for row in rows) == 1


def test_both_streams_go_on(session: Session, writer: Writer) -> None:
    rotated = p(writer, "one ") + p(writer, "e1 ", stream=ERR)
    put(session, writer, rotated, writer.lines(["e2"], ERR) + writer.lines(["two", "after"]))
    session.drain()
    assert bodies(session) == ["e1 e2", "one two", "after"]


def test_a_line_that_is_open_where_the_first_ends_is_read_from_its_beginning(session: Session, writer: Writer) -> None:
    live = p(writer, "e1 ", stream=ERR) + writer.lines(["two"]) + writer.lines(["e2"], ERR) + writer.lines(["after"])
    put(session, writer, p(writer, "one "), live)
    session.drain()
    assert bodies(session) == ["one two", "e1 e2", "after"]
    assert session.finished()


def test_what_does_not_go_on_is_delivered_by_itself(session: Session, writer: Writer, *, packed: bool) -> None:
    put(session, writer, writer.lines(HEAD), writer.lines(["after"]), packed=packed)
    session.drain()
    assert bodies(session) == ["before", "\n".join(HEAD[1:]), "after"]
    assert session.finished()


def test_what_goes_on_too_late_is_another_record(session: Session, writer: Writer) -> None:
    put(session, writer, writer.lines(HEAD), writer.line(REST[0], after_ns=300_000_000))
    session.drain()
    assert bodies(session) == ["before", "\n".join(HEAD[1:]), REST[0]]


@pytest.mark.parametrize(("after_s", "joined"), [(4, True), (6, False)])
def test_a_line_whose_pieces_lie_far_apart_is_two(
    session: Session, writer: Writer, after_s: int, *, joined: bool
) -> None:
    put(session, writer, p(writer, "one "), writer.line("two", after_ns=after_s * 10**9))
    session.drain()
    assert bodies(session) == (["one two"] if joined else ["one ", "two"])


def test_a_record_that_goes_on_into_the_next_day_is_one(session: Session) -> None:
    writer = Writer("cri", LATE_NS - 1500)
    put(session, writer, p(writer, "one "), writer.lines(["two", "after"]))
    session.drain()
    assert bodies(session) == ["one two", "after"]


def test_records_of_the_next_day_between_keep_it_apart(session: Session) -> None:
    """An insert has one day."""
    writer = Writer("cri", LATE_NS - 1500)
    put(session, writer, p(writer, "one "), writer.lines(["e1"], ERR) + writer.lines(["two"]))
    session.drain()
    assert bodies(session) == ["one ", "e1", "two"]
    assert flags(session) == [Flag.UNFINISHED, Flag.STDERR, 0]


def test_the_end_of_a_line_in_pieces_is_not_awaited_for_long(session: Session, writer: Writer) -> None:
    """The lines behind it, of the other stream, wait for it."""
    put(session, writer, p(writer, "one"), writer.lines(["e1"], ERR))
    session.look()
    session.place()
    assert session.read(3) is None
    session.clock.forward(DECIDED_WITHIN_S)
    batch = session.read(3)
    assert batch is not None
    assert [chunk.joint for chunk in batch.chunks] == [False, False]
    session.send(batch)
    assert bodies(session) == ["one", "e1"]
    assert flags(session)[0] == Flag.UNFINISHED
    assert session.node.metric("unfinished_records_total", reason="rotated") == 1


def test_a_line_too_long_to_go_on_is_delivered_in_two(session: Session, writer: Writer) -> None:
    pieces = [("x" * 16_000) for _ in range(100)]
    put(session, writer, p(writer, "one "), p(writer, *pieces) + writer.lines(["end"]))
    session.drain()
    found = bodies(session)
    assert found[0] == "one "
    assert flags(session) == [Flag.UNFINISHED, Flag.JOINED | Flag.TRUNCATED]


def test_a_long_line_goes_on_as_far_as_records_may(session: Session, writer: Writer) -> None:
    pieces = [("x" * 16_000) for _ in range(70)]
    put(session, writer, p(writer, "one "), p(writer, *pieces) + writer.lines(["end", "after"]))
    session.drain()
    assert [len(body) for body in bodies(session)] == [(1 << 20) + len(note(71_431)), len("after")]
    assert flags(session) == [Flag.JOINED | Flag.TRUNCATED, 0]


def test_records_that_go_on_are_counted(session: Session, writer: Writer) -> None:
    def counted() -> float:
        return session.node.metric("carried_records_total")

    # Both streams have one; the line between goes along, and goes on in nothing.
    both = p(writer, "one ") + p(writer, "two ", stream=ERR)
    put(session, writer, both, writer.lines(["1"]) + writer.lines(["2"], ERR) + writer.lines(["after"]))
    session.drain()
    assert bodies(session) == ["one 1", "two 2", "after"]
    assert counted() == 2


def test_records_that_do_not_go_on_are_not_counted(session: Session, writer: Writer) -> None:
    put(session, writer, writer.lines(["one"]), writer.lines(["two"]))
    session.drain()
    assert bodies(session) == ["one", "two"]
    assert session.node.metric("carried_records_total") == 0


def test_nothing_is_carried_into_a_file_of_which_something_is_stored(session: Session, writer: Writer) -> None:
    put(session, writer, writer.lines(HEAD), writer.lines(REST))
    session.look()
    live = session.node.file("/0.log")
    assert live.source is not None
    first = len(writer.lines(REST[:1]))
    session.store.reached[live.source] = first
    session.drain()
    assert bodies(session) == ["before", "\n".join(HEAD[1:]), *REST[1:]]
    assert session.finished()


def test_a_file_waits_until_it_is_known_where_the_one_before_it_stands(session: Session, writer: Writer) -> None:
    put(session, writer, writer.lines(HEAD), writer.lines(REST))
    session.look()
    live = session.node.file("/0.log")
    assert live.source is not None
    session.node.tail.place({live.source: 0})
    assert session.read(2) is None
    session.drain()
    assert bodies(session) == ["before", TRACE, "after"]


def test_lines_written_to_the_rotated_file_afterwards_are_read_once(session: Session) -> None:
    writer = Writer("cri")
    put(session, writer, writer.lines(HEAD), writer.lines(REST))
    session.look()
    session.place()
    batches = [session.read(), session.read()]
    session.node.write(ROTATED, writer.line("late"))
    batches += [session.read(), session.read()]
    for batch in batches:
        if batch is not None:
            session.send(batch)
    session.drain()
    assert bodies(session) == ["before", "late", TRACE, "after"]


def test_lines_written_to_the_rotated_file_just_before_go_first(session: Session) -> None:
    writer = Writer("cri")
    put(session, writer, p(writer, "one "), b"")
    session.look()
    session.place()
    assert session.read(2) is None
    end = writer.lines(["two"])
    session.node.write(LIVE, writer.lines(["after"]))
    session.look()
    session.place()
    session.node.write(ROTATED, end)
    assert session.node.tail.read_round() == [], "it has not been looked at since"
    session.drain()
    assert bodies(session) == ["one two", "after"]


def test_another_run_is_another_program(session: Session) -> None:
    writer = Writer("cri")
    session.node.write(LIVE, writer.lines(HEAD))
    session.node.write(f"{WEB}/1.log", writer.lines(REST))
    session.drain()
    assert bodies(session) == ["before", "\n".join(HEAD[1:]), "\n".join(REST[:2]), "after"]


def test_a_tail_that_no_file_follows_is_delivered_after_a_while(session: Session) -> None:
    writer = Writer("cri")
    put(session, writer, writer.lines(HEAD), b"")
    session.drain()
    assert bodies(session) == ["before", "\n".join(HEAD[1:])]


def test_lines_of_a_file_just_rotated_are_held_until_the_next_one_is_placed(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer("cri")
    session.node.write(LIVE, writer.lines(HEAD))
    now_ns = WRITTEN_NS + 1000 * len(HEAD)
    monkeypatch.setattr("time.time_ns", lambda: now_ns)
    session.look()
    session.place()
    batch = session.read(2)
    assert batch is not None
    session.send(batch)
    assert bodies(session) == ["before"]
    (session.node.root / LIVE).rename(session.node.root / ROTATED)
    session.node.write(LIVE, writer.lines(REST))
    session.look()
    now_ns += 10**9
    session.clock.forward(1.0)
    assert session.read(2) is None, "the file that is live now is not placed yet"
    session.drain()
    assert bodies(session) == ["before", TRACE, "after"]


def test_lines_of_a_rotated_file_are_not_held_for_ever(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer("cri")
    session.node.write(ROTATED, writer.lines(HEAD))
    session.node.write(LIVE, writer.lines(REST))
    monkeypatch.setattr("time.time_ns", lambda: WRITTEN_NS)
    session.look()
    rotated = session.node.file(ROTATED)
    assert rotated.source is not None
    session.node.tail.place({rotated.source: 0})
    batch = session.read(2)
    assert batch is not None
    session.send(batch)
    session.clock.forward(HELD_ON_S + 0.3)
    batch = session.read(2)
    assert batch is not None
    session.send(batch)
    assert bodies(session) == ["before", "\n".join(HEAD[1:])]


def test_what_goes_on_is_not_parted_by_halving(session: Session, writer: Writer) -> None:
    rotated = p(writer, "one ") + writer.lines(["e1"], ERR)
    put(session, writer, rotated, writer.lines(["e2"], ERR) + writer.lines(["two", "after", "last"]))
    session.look()
    session.place()
    batch = session.read(6)
    assert batch is not None
    pieces, whole = [batch], []
    while pieces:
        piece = pieces.pop()
        parts = halves(piece)
        if parts is None:
            whole.append([(chunk.joint, chunk.rows) for chunk in piece.chunks])
        else:
            pieces += parts
    assert [(True, 2), (False, 1)] in whole
    assert sum(rows for chunks in whole for _, rows in chunks) == len(batch.flags)
    for _ in range(2):
        session.send(batch, halved=True)
    session.drain()
    assert bodies(session) == ["e1", "e2", "one two", "after", "last"]


@pytest.mark.parametrize("others", [["after"], []])
def test_what_is_dropped_as_one_record_stays_dropped(session: Session, writer: Writer, others: list[str]) -> None:
    """Also when the aggregator has forgotten what it took without rows: the end of the first file says less alone."""
    session.node.rules = Rules(rules=[Rule("*", drop=("C.java:3",))])
    session.node.restart()
    put(session, writer, writer.lines(HEAD[1:]), writer.lines([*REST[:2], *others]))
    for _ in range(2):
        session.drain()
        assert bodies(session) == others
        session.store.restart()
        session.end_agent()


async def test_an_agent_joins_what_is_rotated_while_it_reads(node: Node, aggregator: Aggregator, until: Until) -> None:
    writer = Writer("cri")
    expected: list[bytes] = []
    async with node.agent():
        for number in range(3):
            node.write(LIVE, writer.line(f"one {number} ", partial=True)[:-1])
            (node.root / LIVE).rename(node.root / f"{WEB}/0.log.20230405-02293{number}")
            node.write(LIVE, writer.line("two")[:-1])
            expected.append(f"one {number} two".encode())
            await until(lambda: aggregator.bodies() == expected)


def rotated_away(session: Session, stamp: str) -> Path:
    """The live file gets the name of a rotated one."""
    live = session.node.root / LIVE
    return live.rename(live.with_name(f"{live.name}.20230405-{stamp}"))


@pytest.mark.parametrize("restart_after", [None, 0, 1, 2, 3])
def test_generations_stay_in_order_while_their_files_are_compressed(
    session: Session, restart_after: int | None
) -> None:
    """The store is away for several rotations, each of which compresses the file of the one before it."""
    writer = Writer("cri")
    session.node.write(LIVE, writer.lines(["first"]) + p(writer, "left "))
    session.look()
    before = rotated_away(session, "020000")
    session.node.write(LIVE, writer.lines(["right", "B"]))
    for number, text in enumerate(("C", "D", "E")):
        session.look()
        if number == restart_after:
            session.end_agent()
            session.look()
        session.clock.forward(10.0)
        rotated = rotated_away(session, f"02000{number + 1}")
        pack(before)
        before = rotated
        session.node.write(LIVE, writer.lines([text]))
    session.look()
    if restart_after == 3:
        session.end_agent()
    session.drain()
    assert bodies(session) == ["first", "left right", "B", "C", "D", "E"]
    assert session.finished()
    assert session.node.lost_bytes() == 0


def test_nothing_goes_on_behind_a_file_that_is_lost(session: Session) -> None:
    writer = Writer("cri")
    session.node.write(LIVE, writer.lines(["first"]) + p(writer, "left "))
    session.look()
    rotated_away(session, "020000")
    session.node.write(LIVE, writer.lines(["right"]))
    for listing in session.node.discovery.scan():
        session.node.tail.update(listing)  # listed, but not opened
    rotated_away(session, "020001").unlink()
    session.node.write(LIVE, writer.lines(["last"]))
    session.drain()
    assert [body for body in bodies(session) if "bytes" not in body] == ["first", "left ", "last"]
    assert session.node.lost_bytes() > 0


def test_nothing_goes_on_in_a_file_that_was_truncated(session: Session) -> None:
    writer = Writer("cri")
    put(session, writer, p(writer, "left "), writer.lines(["right", "after"]))
    session.look()
    (session.node.root / LIVE).write_bytes(writer.lines(["new"]))
    session.drain()
    assert [body for body in bodies(session) if "bytes" not in body] == ["left ", "new"]
