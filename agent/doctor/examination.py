"""Everything that is looked at, put together to one report. Changes nothing, neither here nor there."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import time
from typing import TYPE_CHECKING

import aiohttp
import msgspec

from agent.doctor import running
from agent.doctor.aggregator import Way
from agent.doctor.judgement import judge
from agent.doctor.limits import capabilities, limits
from agent.doctor.report import File, Report, encodable
from agent.doctor.sources import read_gzip, read_plain
from agent.doctor.survey import Found, Survey, obstacle_of
from agent.errors import UnavailableError
from agent.follow.identity import source_of
from agent.ship.batch import Origin
from agent.ship.client import Client
from agent.ship.trust import Trust
from wire.answers import SOURCES_PER_REQUEST_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from agent.config import Config
    from agent.doctor.report import State
    from agent.doctor.running import Followed


class _Identified(msgspec.Struct, frozen=True):
    """A file with what its content says: its source, and up to where its lines are complete."""

    found: Found
    source: bytes | None
    complete: int
    is_readable: bool


async def examine(config: Config) -> Report:
    """Look at everything that an agent with this ``config`` depends on."""
    origin = Origin(config.cluster, config.node_name, "doctor")
    async with aiohttp.ClientSession() as session:
        trust = Trust(config.ca_file)
        client = Client(session, config.aggregator_url, origin, config.token_file, trust=trust)
        aggregator = await Way(config.aggregator_url, session, trust, client, origin).go()
        agent, followed = await running.ask(session, config.listen)
        survey = Survey(str(config.pods_dir), config.all_rules().collects)
        files = await asyncio.to_thread(_look, survey, config.cluster)
        # After the files: what was written meanwhile does not look as if it lagged.
        sources = [file.source for file in files if file.source]
        committed = await _committed(client, sources) if aggregator.store else {}
    by_name = running.by_name(followed)
    now_s = time.time()
    watched = len(survey.directories) if config.inotify else 0
    listed = tuple(_file(file, committed, by_name, now_s, has_agent=agent.answers) for file in files)
    report = Report(
        importlib.metadata.version("logboom"),
        config.node_name,
        config.cluster,
        _absolute(config.pods_dir),
        os.geteuid(),
        capabilities(),
        aggregator,
        agent,
        limits(str(config.pods_dir), watched, sum(file.found.is_collected for file in files)),
        listed,
        (),
    )
    return msgspec.structs.replace(report, problems=judge(report, survey.obstacles))


def _absolute(path: Path) -> str:
    return encodable(str(path.absolute()))


def _look(survey: Survey, cluster: str) -> list[_Identified]:
    survey.look()
    return [_identified(survey, found, cluster) for found in survey.files]


def _identified(survey: Survey, found: Found, cluster: str) -> _Identified:
    """What ``found`` holds; what cannot be read is added to the survey's obstacles, where it is not one yet."""
    if not found.is_collected:
        return _Identified(found, None, 0, is_readable=True)
    try:
        content = (read_gzip if found.generation.gzip else read_plain)(found.path)
    except OSError as error:
        if all(obstacle.path != found.path for obstacle in survey.obstacles):
            survey.obstacles.append(obstacle_of(found.path, error))
        return _Identified(found, None, 0, is_readable=False)
    source = None
    if content.line is not None:
        source = source_of(cluster, found.container, found.generation.restart, content.line)
    return _Identified(found, source, content.complete, is_readable=True)


async def _committed(client: Client, sources: Sequence[bytes]) -> dict[bytes, int]:
    """What the store has of ``sources``; of fewer, if it stops answering."""
    committed: dict[bytes, int] = {}
    for first in range(0, len(sources), SOURCES_PER_REQUEST_MAX):
        try:
            answer = await client.positions(sources[first : first + SOURCES_PER_REQUEST_MAX])
        except UnavailableError:
            break
        committed |= answer.committed
    return committed


def _file(
    file: _Identified,
    committed: Mapping[bytes, int],
    followed: Mapping[str, Followed],
    now_s: float,
    *,
    has_agent: bool,
) -> File:
    found, generation = file.found, file.found.generation
    source = file.source.hex() if file.source else ""
    position = committed.get(file.source) if file.source else None
    told = followed.get(source) or followed.get(found.path)
    is_damaged = file.is_readable and told is not None and told.damaged
    # How much there would be in a damaged file nobody knows; what can be had of it the agent has read.
    complete = min(file.complete, told.read) if told is not None and is_damaged else file.complete
    lag_bytes = None if position is None else max(0, complete - position)
    lag_s: float | None = 0.0 if lag_bytes == 0 else None
    if lag_bytes:
        # Its last line was there when it was written last; an agent that runs may know of older ones.
        lag_s = round(max(0.0, now_s - found.modified_s, (told.lag_seconds if told else None) or 0.0), 1)
    return File(
        encodable(found.path),
        found.container.namespace,
        found.container.pod,
        found.container.uid,
        found.container.name,
        generation.restart,
        "gzip" if generation.gzip else "live" if generation.current else "rotated",
        found.size,
        complete,
        source,
        position,
        told.read if told else None,
        lag_bytes,
        lag_s,
        "damaged" if is_damaged else _state(file, lag_bytes, is_followed=told is not None or not has_agent),
    )


def _state(file: _Identified, lag_bytes: int | None, *, is_followed: bool) -> State:
    if not file.found.is_collected:
        return "excluded"
    if not file.is_readable:
        return "unreadable"
    if file.source is None:
        return "empty"
    if lag_bytes is None:
        return "unknown"
    if lag_bytes == 0:
        return "stored"
    return "behind" if is_followed else "not read"
