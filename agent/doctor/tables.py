"""The report for people: aligned tables, a summary, and each problem with what, why, and what to do. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.doctor.report import File, Problem, Report

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")
_THOUSAND: Final = 1024.0
_MINUTE_S: Final = 60.0
_HOUR_S: Final = 3600.0


def render(report: Report) -> str:
    """The report as text, each line ended."""
    return "".join(f"{line.rstrip()}\n" for line in _lines(report))


def _lines(report: Report) -> Iterator[str]:
    cluster = f" of cluster {report.cluster}" if report.cluster else ""
    yield f"logboom {report.version} on node {report.node}{cluster}, pods in {report.pods_dir}, uid {report.user}"
    yield ""
    yield f"AGGREGATOR {report.aggregator.url}"
    marks = {True: "ok", False: "FAILED", None: "-"}
    yield from _table([(f"  {step.name}", marks[step.ok], step.detail) for step in report.aggregator.steps])
    yield ""
    yield from _agent(report)
    yield ""
    yield from _node(report)
    yield ""
    yield from _files(report)
    yield ""
    yield _summary(report)
    for number, problem in enumerate(report.problems, 1):
        yield ""
        yield from _problem(number, problem)


def _agent(report: Report) -> Iterator[str]:
    agent = report.agent
    if not agent.answers:
        yield f"AGENT {agent.address or '--listen'} does not answer: {agent.error}"
        return
    yield f"AGENT {agent.address} answers"
    inotify = {True: "on", False: "off", None: "not known"}[agent.inotify]
    lost = sum(each.lost_bytes for each in agent.lost)
    yield from _table(
        [
            ("  trouble", agent.trouble or "none"),
            ("  inotify", inotify),
            ("  lost", f"{_size(lost)} of {_count(len(agent.lost), 'container')}" if lost else "nothing known"),
        ]
    )


def _node(report: Report) -> Iterator[str]:
    limits = report.limits
    yield "NODE"
    yield from _table(
        [
            ("  inotify watches", f"{limits.directories} needed", f"{_known(limits.max_user_watches)} allowed"),
            ("  inotify instances", limits.instance or "1 to be had", f"{_known(limits.max_user_instances)} allowed"),
            ("  inotify queue", f"{limits.directories} at once", f"{_known(limits.max_queued_events)} allowed"),
            ("  open files", f"{limits.files} needed", f"{limits.open_files} allowed"),
            ("  disk", f"{_size(limits.disk_free_bytes)} free", f"of {_size(limits.disk_bytes)}"),
        ]
    )


def _files(report: Report) -> Iterator[str]:
    if not report.files:
        yield "FILES none"
        return
    yield "FILES"
    head = ("  STATE", "POD", "CONTAINER", "FILE", "LINES", "STORED", "READ", "LAG", "SINCE")
    rows = [_row(file) for file in report.files]
    yield from _table([head, *rows], right=frozenset(range(4, len(head))))


def _row(file: File) -> tuple[str, ...]:
    return (
        f"  {file.state}",
        f"{file.namespace}/{file.pod}",
        file.container,
        file.path.rsplit("/", 1)[-1],
        _size(None if file.state in {"unreadable", "excluded"} else file.complete),
        _size(file.committed),
        _size(file.read),
        _size(file.lag_bytes),
        "-" if not file.lag_seconds else _time(file.lag_seconds),
    )


def _summary(report: Report) -> str:
    states: dict[str, int] = {}
    for file in report.files:
        states[file.state] = states.get(file.state, 0) + 1
    lag = sum(file.lag_bytes or 0 for file in report.files)
    told = ", ".join(f"{count} {state}" for state, count in states.items())
    problems = sum(problem.severity == "problem" for problem in report.problems)
    notes = len(report.problems) - problems
    return (
        f"SUMMARY {_count(len(report.files), 'file')}{f' ({told})' if told else ''}, {_size(lag)} behind; "
        f"{_count(problems, 'problem')}, {_count(notes, 'note')}"
    )


def _problem(number: int, problem: Problem) -> Iterator[str]:
    yield f"{number}. {problem.severity.upper()} {problem.what}: {_shown(problem.where)}"
    yield f"   why: {_shown(problem.why)}"
    yield f"   do:  {_shown(problem.do)}"


def _table(rows: Sequence[tuple[str, ...]], right: frozenset[int] = frozenset()) -> Iterator[str]:
    """``rows`` with aligned columns, those in ``right`` to the right."""
    widths = [max(len(_shown(cell)) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            _shown(cell).rjust(width) if number in right else _shown(cell).ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells)


def _shown(text: str) -> str:
    """``text`` as a terminal may have it: names of files may hold anything."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)


def _known(number: int | None) -> str:
    return "not known" if number is None else str(number)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _size(size: int | None) -> str:
    if size is None:
        return "-"
    value = float(size)
    for unit in _UNITS:
        if value < _THOUSAND or unit == _UNITS[-1]:
            break
        value /= _THOUSAND
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def _time(seconds: float) -> str:
    if seconds < _MINUTE_S:
        return f"{seconds:.0f} s"
    if seconds < _HOUR_S:
        return f"{seconds / _MINUTE_S:.0f} min"
    return f"{seconds / _HOUR_S:.1f} h"
