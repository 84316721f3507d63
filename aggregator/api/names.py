"""Names of labels, where a request gives one alone; in LogQL the parser sees to them."""

from __future__ import annotations

from aggregator.logql.checks import LABEL_NAME
from service.web import RefusedError
from wire.answers import Refusal


def label_named(parameter: str, name: str) -> str:
    """``name``, given as ``parameter``, if it can be a label's. Raises `RefusedError` (400)."""
    if LABEL_NAME.fullmatch(name) is None:
        hint = "a name has letters A-Z, a-z, digits and _, and no digit first"
        raise RefusedError(400, Refusal(f"{name!r} is no name of a label", parameter, hint))
    return name
