"""The ``Accept`` header: which of the kinds that can be answered is wanted most."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from service.web import RefusedError
from wire.answers import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

_T = TypeVar("_T")


def accepted(accept: str, kinds: Mapping[str, _T], default: _T, hint: str) -> _T:
    """What of ``kinds``, by their media types, ``accept`` wants most. Raises `RefusedError` (406) if nothing of it."""
    if not accept.strip():
        return default
    ranked = sorted(((_quality(item), item.partition(";")[0].strip().lower()) for item in accept.split(",")), key=_rank)
    known = [kinds[kind] for quality, kind in ranked if quality > 0 and kind in kinds]
    if not known:
        raise RefusedError(406, Refusal("nothing that is accepted can be answered", "Accept", hint))
    return known[0]


def _rank(item: tuple[float, str]) -> float:
    return -item[0]


def _quality(item: str) -> float:
    for option in item.split(";")[1:]:
        name, _, value = option.strip().partition("=")
        if name.lower() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
