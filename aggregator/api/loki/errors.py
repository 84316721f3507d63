"""Errors as Loki says them: a status, and its reason as plain text."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from aiohttp import web

from aggregator.api.refusals import answered
from aggregator.errors import MetricError
from service.web import RefusedError
from wire.answers import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggregator.store.engine import Limits


class LokiError(RefusedError):
    """A request that is refused with ``text``."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(status, Refusal(text))


@contextlib.contextmanager
def in_lokis_terms(limits: Limits) -> Iterator[None]:
    """Turn what goes wrong with a query inside into an error that has a status."""
    with answered(limits):
        try:
            yield
        except MetricError as error:
            raise LokiError(400, str(error)) from error  # the text is Loki's, and has no hint


def plain(error: RefusedError) -> web.Response:
    """The answer: Loki's clients show the body as it is."""
    told = error.refusal
    text = told.error if not told.hint or isinstance(error, LokiError) else f"{told.error}; {told.hint}"
    return web.Response(status=error.status, text=text + "\n", headers=error.headers)
