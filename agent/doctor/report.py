"""What is found, as types. `Report`, encoded, is the JSON of ``--json``; new fields may come, none goes or changes."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Severity: TypeAlias = Literal["problem", "note"]
StepName: TypeAlias = Literal["name", "connect", "tls", "status", "token", "protocol"]
State: TypeAlias = Literal["stored", "behind", "not read", "empty", "unreadable", "damaged", "excluded", "unknown"]


def encodable(text: str) -> str:
    """``text`` as JSON can hold it: Python keeps bytes of a file's name that are no UTF-8 as surrogates."""
    return text.encode("utf-8", "backslashreplace").decode()


class Owner(msgspec.Struct, frozen=True):
    """Who may do what with ``path``; ``mode`` as `stat.filemode` shows it."""

    path: str
    uid: int
    gid: int
    mode: str


class Obstacle(msgspec.Struct, frozen=True):
    """Something below the pods directory that cannot be used.

    ``what``: ``absent`` (no pods directory), ``unreadable`` (``error`` says why; ``owner``: of what refuses, where that
    can be told), ``dangling`` (a symlink to ``target``, of which ``exists`` is the longest part that is there),
    ``name`` (of no pod), ``kind`` (no regular file). ``logs``: whether log files may lie there.
    """

    path: str
    what: Literal["absent", "unreadable", "dangling", "name", "kind"]
    error: str = ""
    owner: Owner | None = None
    target: str = ""
    exists: str = ""
    logs: bool = True


class File(msgspec.Struct, frozen=True):
    """One log file: live, rotated or gzipped. Sizes and positions are bytes of the file uncompressed.

    ``generation``: ``live``, ``rotated`` or ``gzip``. ``size``: as on disk. ``complete``: up to the end of its last
    line, as far as that is known. ``source``: 32 hexadecimal digits, empty before its first line is complete.
    ``committed``: what the store has, null where it could not be asked. ``read``: where the running agent stands, null
    if none follows the file. ``lag_bytes``: complete lines not committed; ``lag_seconds``: for how long, at least.

    ``state``: ``stored`` (every complete line), ``behind``, ``not read`` (there is more, and the running agent does not
    follow the file), ``empty`` (no complete line yet), ``unreadable``, ``damaged`` (the running agent could not unpack
    it further: a gap record stands for the rest, which does not lag), ``excluded`` (the options say that the container
    is not to be collected: nothing was looked at but the file's name and size), ``unknown`` (the store was not asked).
    """

    path: str
    namespace: str
    pod: str
    uid: str
    container: str
    restart: int
    generation: Literal["live", "rotated", "gzip"]
    size: int
    complete: int
    source: str
    committed: int | None
    read: int | None
    lag_bytes: int | None
    lag_seconds: float | None
    state: State


class Step(msgspec.Struct, frozen=True):
    """One step on the way to the aggregator; ``ok`` is null where an earlier one failed, or it is not needed."""

    name: StepName
    ok: bool | None
    detail: str


class Aggregator(msgspec.Struct, frozen=True):
    """The aggregator at ``url``; ``store``: what it calls its store, empty if it was not reached."""

    url: str
    store: str
    steps: tuple[Step, ...]


class Lost(msgspec.Struct, frozen=True):
    """A container of which ``lost_bytes`` are known to be lost since the running agent began to follow it."""

    namespace: str
    pod: str
    container: str
    lost_bytes: int


class Running(msgspec.Struct, frozen=True):
    """The agent at ``address``; ``answers`` is false if none does, and then ``error`` says why.

    ``pods_dir``: empty if it does not say. ``lost``: the containers of which it knows something to be lost.
    """

    address: str
    answers: bool
    error: str = ""
    node: str = ""
    cluster: str = ""
    aggregator: str = ""
    trouble: str = ""
    refused: str = ""
    inotify: bool | None = None
    pods_dir: str = ""
    lost: tuple[Lost, ...] = ()


class Limits(msgspec.Struct, frozen=True):
    """What kernel and disk allow; null where that could not be asked. Sizes in bytes.

    ``directories``: to be watched; 0 with ``--no-inotify``. ``instance``: why inotify gives none, empty if it does.
    ``open_files``: hard limit of open files; ``files``: as many may be open at once. ``disk_*``: of the pods directory.
    """

    directories: int
    files: int
    max_user_watches: int | None
    max_user_instances: int | None
    max_queued_events: int | None
    instance: str
    open_files: int
    disk_bytes: int | None
    disk_free_bytes: int | None
    disk_inodes: int | None
    disk_free_inodes: int | None


class Problem(msgspec.Struct, frozen=True):
    """Something wrong: ``what`` it is, ``why``, what to ``do``; ``kind`` is for machines and stays the same.

    ``severity``: ``problem``, for which the exit code is 1, or ``note``.
    """

    severity: Severity
    kind: str
    where: str
    what: str
    why: str
    do: str


class Report(msgspec.Struct, frozen=True):
    """Everything `logboom-agent doctor` finds. ``pods_dir``: an absolute path."""

    version: str
    node: str
    cluster: str
    pods_dir: str
    user: int
    capabilities: str
    aggregator: Aggregator
    agent: Running
    limits: Limits
    files: tuple[File, ...]
    problems: tuple[Problem, ...]
