"""In which order the files of a container follow each other, also those that are in no listing any more.

A listing is in order; a file that is not in it stands where it stood among the others. What was lost between two files
parts them: nothing goes on from the one in the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from agent.follow.discovery import Entry
    from agent.follow.logfile import LogFile


def in_order(before: Sequence[LogFile], listed: Sequence[LogFile]) -> list[LogFile]:
    """``listed``, and those of ``before`` that are not, all in order.

    A file stands in front of the next one of those that followed it, else behind the last one of those before it, else
    first: what is new is newer, or the compressed form of something that is there.
    """
    files = list(listed)
    for number, file in enumerate(before):
        if file in files:
            continue
        follower = next((each for each in before[number + 1 :] if each in files), None)
        if follower is not None:
            files.insert(files.index(follower), file)
            continue
        leader = next((each for each in reversed(before[:number]) if each in files), None)
        files.insert(0 if leader is None else files.index(leader) + 1, file)
    return files


def part(files: Iterable[LogFile], lost: Collection[LogFile]) -> None:
    """Have nothing go on across those of ``files`` that are ``lost``."""
    is_parted = False
    for file in files:
        if file in lost:
            is_parted = True
        elif is_parted and not file.is_copy:
            file.is_parted = True
            is_parted = False


def is_compressed_in(file: LogFile, fresh: Iterable[Entry]) -> bool:
    """Whether ``file``, which was never opened, may be one of the ``fresh`` files: its compressed form.

    That of the file that was written to has a name that was not known before.
    """
    own = file.entry.generation
    return any(
        entry.generation.gzip
        and entry.generation.restart == own.restart
        and (own.current or entry.generation.stamp == own.stamp)
        for entry in fresh
    )
