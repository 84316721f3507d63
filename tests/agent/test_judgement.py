"""From what was found to problems: the rules that no test can bring about on a real machine."""

from __future__ import annotations

import msgspec
import pytest

from agent.doctor.judgement import _TOLD_MOST, LAG_MOST_S, judge
from agent.doctor.report import Aggregator, File, Limits, Lost, Obstacle, Owner, Problem, Report, Running
from agent.doctor.tables import render

LIMITS = Limits(
    directories=100,
    files=300,
    max_user_watches=8192,
    max_user_instances=128,
    max_queued_events=16384,
    instance="",
    open_files=1024,
    disk_bytes=1000,
    disk_free_bytes=500,
    disk_inodes=1000,
    disk_free_inodes=500,
)
AGENT = Running("http://127.0.0.1:8081", answers=True, node="n", cluster="c", aggregator="http://a", inotify=True)
FILE = File("/p/a_b_c/d/0.log", "a", "b", "c", "d", 0, "live", 90, 90, "00", 80, 90, 10, 1.0, "behind")
WELL = Report("0", "n", "c", "/p", 0, "", Aggregator("http://a", "s", ()), AGENT, LIMITS, (FILE,), ())


def limits(**changes: object) -> Report:
    return msgspec.structs.replace(WELL, limits=msgspec.structs.replace(LIMITS, **changes))


def agent(**changes: object) -> Report:
    return msgspec.structs.replace(WELL, agent=msgspec.structs.replace(AGENT, **changes))


def file(**changes: object) -> Report:
    return msgspec.structs.replace(WELL, files=(msgspec.structs.replace(FILE, **changes),))


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (WELL, []),
        (limits(directories=8193), ["problem inotify-watches"]),
        (limits(instance="Too many open files"), []),  # the agent that runs has one
        (agent(inotify=False), ["note inotify-off"]),
        (limits(max_queued_events=99), ["note inotify-queue"]),
        (limits(files=1024 - 63), ["problem open-files"]),
        (limits(files=1024 - 64), []),
        (limits(disk_free_bytes=99), ["problem disk"]),
        (limits(disk_free_bytes=100), []),
        (limits(disk_free_inodes=49), ["problem disk"]),
        # Some file systems make inodes as they need them, and say they have none.
        (limits(disk_inodes=0, disk_free_inodes=0), []),
        (limits(max_user_watches=None, max_queued_events=None, disk_bytes=None, disk_free_bytes=None), []),
        (agent(node="m"), ["problem agent-differs"]),
        (agent(cluster="", aggregator="http://b"), ["problem agent-differs", "problem agent-differs"]),
        (agent(pods_dir="/p"), []),
        (agent(pods_dir="/other"), ["problem agent-differs"]),
        (agent(trouble="503"), ["problem agent-trouble"]),
        (agent(refused="names: …"), ["problem agent-refused"]),
        (agent(lost=(Lost("a", "b", "d", 7), Lost("a", "b", "e", 9))), ["note lost", "note lost"]),
        (agent(answers=False), ["note agent-absent"]),
        (agent(answers=False, address=""), []),
        (file(lag_seconds=LAG_MOST_S), []),
        (file(lag_seconds=LAG_MOST_S + 1), ["problem behind"]),
        (file(state="not read"), ["problem not-read"]),
        (file(state="damaged"), ["note damaged"]),
        (file(state="empty", committed=None, lag_bytes=None, lag_seconds=None), []),
    ],
)
def test_what_is_a_problem(report: Report, expected: list[str]) -> None:
    assert [f"{problem.severity} {problem.kind}" for problem in judge(report, ())] == expected


def test_without_an_agent_an_instance_has_to_be_had() -> None:
    report = msgspec.structs.replace(limits(instance="Too many open files"), agent=Running("", answers=False))
    assert [problem.kind for problem in judge(report, ())] == ["inotify-instances"]


@pytest.mark.parametrize(
    ("owner", "user", "remedy"),
    [
        (Owner("/p/x", 0, 0, "-rw-------"), 65532, "run the agent as uid 0"),
        (Owner("/p/x", 1000, 1000, "-rw-------"), 0, "add the capability DAC_READ_SEARCH"),
        (Owner("/p/x", 0, 0, "-rw-------"), 0, "SELinux or AppArmor"),
        (None, 0, "look into the node's kernel log"),
    ],
)
def test_what_helps_depends_on_who_refuses_whom(owner: Owner | None, user: int, remedy: str) -> None:
    obstacle = Obstacle("/p/x", "unreadable", error="Permission denied", owner=owner)
    (problem,) = judge(msgspec.structs.replace(WELL, user=user), [obstacle])
    assert problem.do.startswith(remedy)


def test_problems_of_one_kind_are_counted_from_some_number_on() -> None:
    count = _TOLD_MOST + 7
    obstacles = [Obstacle(f"/p/a_b_{number}/c", "unreadable", error="I/O error") for number in range(count)]
    problems = judge(WELL, obstacles)
    assert len(problems) == _TOLD_MOST + 1
    assert problems[-1].what == "and 7 more like this, up to this"
    assert problems[-1].where == obstacles[-1].path


def test_problems_stand_before_notes() -> None:
    report = msgspec.structs.replace(agent(inotify=False), limits=msgspec.structs.replace(LIMITS, disk_free_bytes=0))
    assert [problem.severity for problem in judge(report, ())] == ["problem", "note"]


def test_a_name_cannot_change_the_table() -> None:
    odd = msgspec.structs.replace(FILE, path="/p/a_b_c/d/0.log\x1b[2J\n\udcff")
    problem = Problem("problem", "kind", odd.path, "what", "why", "do")
    text = render(msgspec.structs.replace(WELL, files=(odd,), problems=(problem,)))
    assert text.encode()
    assert "\x1b" not in text
    assert "0.log\\x1b[2J\\n\\udcff" in text
