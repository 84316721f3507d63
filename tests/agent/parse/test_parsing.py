"""Lines of blocks in both formats, taken together."""

from __future__ import annotations

from agent.parse import cri, docker
from agent.parse.assemble import Assembly, assemble
from agent.parse.lines import Segment
from agent.parse.parsing import together

CRI = b"1970-01-01T00:01:00Z stdout F a\n1970-01-01T00:01:00Z stdout P b\n1970-01-01T00:01:00Z stderr F c\n"
DOCKER = b"".join(
    b'{"log":"%b","stream":"stdout","time":"1970-01-01T00:01:00Z"}\n' % text
    for text in (rb"say \"d\"\n", b"begun, ", rb"ended\n")
)


def test_lines_of_both_formats_are_assembled_as_those_of_one_block() -> None:
    segments = [Segment(len(CRI), 10, 0), Segment(0, 5, 0), Segment(len(DOCKER), 20, 0)]
    lines = together([cri.parse(CRI, segments[:2]), docker.parse(DOCKER, segments[2:])])
    assemblies = [Assembly(segment.position) for segment in segments]
    found = assemble(lines, assemblies, segments, 1 << 20).records()
    assert bytes(found.body) == b'acsay "d"begun, ended'
    assert found.lengths.tolist() == [1, 1, 7, 12]
    assert found.rows.tolist() == [2, 0, 2]
    # That of the second record is inside the piece that is open.
    assert found.positions.tolist() == [42, 43, 20 + DOCKER.index(b"\n") + 1, 20 + len(DOCKER)]
    assert found.ends.tolist() == [43, 5, 20 + len(DOCKER)]


def test_lines_of_one_block_are_passed_on() -> None:
    lines = cri.parse(CRI, [Segment(len(CRI), 0, 0)])
    assert together([lines]) is lines
