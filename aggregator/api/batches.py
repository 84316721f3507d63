"""`POST /v1/batches`: an agent's batch, from its first header to its answer.

In this order, so that what costs memory comes after what allows it: token, headers, whether there is room for the
compressed bytes, the zstd header with the size the rest will have, whether there is room for that, the body, the rules,
the commit. What is declared can only keep its own request out; bytes are held as they arrive.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final, NoReturn

from aggregator.ingest.admission import MemoryFullError
from aggregator.ingest.committer import Hole, Stored, Unavailable
from aggregator.ingest.decoding import decoded_bytes, read_batch
from service.logs import fields
from service.web import RefusedError, json_response
from wire.answers import Committed, Refusal
from wire.codec import BATCH_BYTES_MAX, CONTENT_ENCODING, CONTENT_TYPE, RULES
from wire.errors import BatchError, BatchTooLargeError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import StreamReader, web

    from aggregator.ingest.admission import Admission, Held
    from aggregator.ingest.committer import Committer, Outcome
    from aggregator.metrics import Metrics

_log = logging.getLogger(__name__)

# zstd makes what it cannot compress larger by less than one part in 256 (ZSTD_compressBound).
COMPRESSED_BYTES_MAX: Final = BATCH_BYTES_MAX + (BATCH_BYTES_MAX >> 8)
# The largest header of a zstd frame (RFC 8878, 3.1.1): enough to read the declared size from.
_FRAME_HEADER_BYTES: Final = 18
# What a request costs beside its body: connection, buffers, objects. So that many tiny ones are bounded as well.
REQUEST_BYTES: Final = 64 << 10
# Taken from a connection at once, which itself keeps about as much (aiohttp's default).
_PIECE_BYTES: Final = 64 << 10
# An agent in the same cluster sends a batch in well under a second; slower than this is not sending.
BODY_TIME_S: Final = 30.0
_TOO_LARGE: Final = 413
_RETRY: Final = {"Retry-After": "1"}


class Batches:
    """Takes batches. Owns the commits that requests wait for, also those whose clients went away."""

    def __init__(
        self, committer: Committer, admission: Admission, metrics: Metrics, body_time_s: float = BODY_TIME_S
    ) -> None:
        self._committer = committer
        self._admission = admission
        self._metrics = metrics
        self._body_time_s = body_time_s
        self._commits: set[asyncio.Task[Outcome]] = set()
        metrics.held_limit_bytes.set(admission.limit_bytes)
        metrics.held_bytes.set_function(lambda: admission.held_bytes)

    async def close(self) -> None:
        """Wait for what is under way; the committer has to end, or to go on, for that."""
        if self._commits:
            await asyncio.wait(self._commits)

    async def post(self, request: web.Request) -> web.Response:
        """Answer one request: 200 or 409 with positions, or a `RefusedError`."""
        try:
            outcome = await self._outcome(request)
        except BatchError as error:
            raise self._malformed(request, error) from error
        except MemoryFullError as error:
            self._count("memory_full")
            refusal = Refusal(
                "the aggregator holds as many batches as it may", "ingest-memory", f"retry later: {error}"
            )
            raise RefusedError(503, refusal, _RETRY) from error
        match outcome:
            case Stored():
                return json_response(_committed(outcome.positions))
            case Hole():
                return json_response(_committed(outcome.positions), 409)
            case Unavailable():
                refusal = Refusal(outcome.reason, hint=outcome.hint)
                raise RefusedError(503, refusal, {"Retry-After": str(outcome.retry_s)})

    async def _outcome(self, request: web.Request) -> Outcome:
        size = self._size(request)
        with contextlib.ExitStack() as stack:
            held = stack.enter_context(self._admission.hold(REQUEST_BYTES))
            self._admission.check(size)
            async with self._in_time():
                head = await request.content.readexactly(min(size, _FRAME_HEADER_BYTES))
                decoded = decoded_bytes(head)
                self._admission.check(size + decoded)
                body = await _body(request.content, head, size, held)
                held.more(decoded)
            self._metrics.received_bytes.inc(size)
            # From here on the commit holds the bytes: it goes on when the client goes away.
            commit = asyncio.create_task(self._commit(body, decoded, held))
            stack.pop_all()
        self._commits.add(commit)
        commit.add_done_callback(self._commits.discard)
        return await asyncio.shield(commit)

    async def _commit(self, body: bytearray, decoded: int, held: Held) -> Outcome:
        with held:
            batch = await asyncio.to_thread(read_batch, body)
            outcome = await self._committer.commit(batch, decoded)
        self._count(type(outcome).__name__.lower())
        return outcome

    def _size(self, request: web.Request) -> int:
        """The compressed size, from headers that are as they have to be."""
        if request.content_type != CONTENT_TYPE:
            self._refuse(415, "Content-Type", f"expected {CONTENT_TYPE}, found {request.content_type}")
        encoding = request.headers.get("Content-Encoding", "")
        if encoding.strip().lower() != CONTENT_ENCODING:
            self._refuse(415, "Content-Encoding", f"expected {CONTENT_ENCODING}, found {encoding or 'none'}")
        size = request.content_length
        if size is None:
            self._refuse(411, "Content-Length", "expected the size of the body, found none")
        if size > COMPRESSED_BYTES_MAX:
            self._refuse(413, "size", f"at most {COMPRESSED_BYTES_MAX} compressed bytes, found {size}")
        return size

    def _refuse(self, status: int, parameter: str, error: str) -> NoReturn:
        self._count("too_large" if status == _TOO_LARGE else "malformed", parameter)
        hint = "send smaller batches" if status == _TOO_LARGE else "POST one batch as logboom agents do"
        raise RefusedError(status, Refusal(f"{parameter}: {error}", parameter, hint))

    @contextlib.asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._body_time_s):
                yield
        except TimeoutError as error:
            self._count("slow")
            refusal = Refusal(f"the body did not arrive within {self._body_time_s:g} s", "body", "send again")
            raise RefusedError(408, refusal, {"Connection": "close"}) from error
        except asyncio.IncompleteReadError as error:
            self._count("malformed", "body")
            raise RefusedError(400, Refusal("the body ended early", "body", "send again")) from error

    def _malformed(self, request: web.Request, error: BatchError) -> RefusedError:
        large = isinstance(error, BatchTooLargeError)
        self._count("too_large" if large else "malformed", error.rule)
        _log.warning("batch refused", extra=fields(rule=error.rule, detail=error.detail, client=request.remote))
        hint = RULES.get(error.rule, "the body is one zstd frame that declares its content size")
        return RefusedError(_TOO_LARGE if large else 400, Refusal(str(error), error.rule, hint))

    def _count(self, outcome: str, rule: str = "") -> None:
        self._metrics.batches.labels(outcome, rule).inc()


async def _body(content: StreamReader, head: bytes, size: int, held: Held) -> bytearray:
    """The ``size`` bytes that begin with ``head``, held as they come."""
    held.more(len(head))
    body = bytearray(head)
    while len(body) < size:
        piece = await content.read(min(size - len(body), _PIECE_BYTES))
        if not piece:
            raise asyncio.IncompleteReadError(b"", size)
        held.more(len(piece))
        body += piece
    return body


def _committed(positions: dict[bytes, int]) -> Committed:
    return Committed({source.hex(): position for source, position in positions.items()})
