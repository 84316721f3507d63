from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from aggregator.store.engine import Engine

texts = st.text(max_size=12) | st.text(alphabet="'\"\\{}[],nt0x:\0\t\n\r`%", max_size=12)


class Echo(msgspec.Struct):
    text: str
    texts: list[str]
    numbers: list[str]


@settings(deadline=None, max_examples=75, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts, st.lists(texts, max_size=4), st.lists(st.integers(0, 2**128 - 1), max_size=3))
async def test_every_value_arrives_as_it_was(engine: Engine, text: str, several: list[str], numbers: list[int]) -> None:
    (echo,) = await engine.rows(
        "SELECT {a:String} AS text, {b:Array(String)} AS texts, "
        "arrayMap(n -> toString(n), {c:Array(UInt128)}) AS numbers",
        Echo,
        {"a": text, "b": several, "c": numbers},
    )
    assert echo == Echo(text, several, [str(number) for number in numbers])
