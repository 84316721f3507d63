"""A model of what docs/cluster.md says of one chain, small enough to be gone through as a whole.

One file of `LINES` lines, its agent, two aggregators, a shard of two replicas and Keeper. Whatever may happen at a
moment is a step; `explore` takes every step in every state that can be reached, and looks at what must always hold:

- no line is stored twice;
- what the agent was told is stored, is.

Steps: the agent sends some lines through either aggregator, stops waiting, starts anew and asks where to read on (one
replica says); an answer comes or is lost; an aggregator looks at one replica, sends an insert, hears of its end or not
and sends it again, looks for its mark on one replica, dies; somebody inserts lines of another file; an insert lands on
one replica, however late, unless Keeper knows its slot; a part comes to the other replica, in any order; a replica is
lost with what it alone had.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

LINES: Final = 2


class Rules(msgspec.Struct, frozen=True):
    """The protocol, and what becomes of it without some part. The first three are what the code does."""

    slots_are_numbers: bool = True  # else an insert's slot is its range of lines
    holes_are_seen: bool = True  # else the last link counts, whatever is missing before it
    marks_are_read: bool = True  # else an insert that the store takes counts as stored
    slots_stay: bool = True  # else a slot may be forgotten while an insert for it is under way
    quorum: bool = False  # inserts count, and are seen, when both replicas have them
    replica_lost: bool = False  # a replica may be lost
    sends: int = 2
    restarts: int = 1
    others: int = 1


class Insert(NamedTuple):
    """Lines ``after`` + 1 to ``to``, as number ``number`` of the chain.

    ``maker``: the aggregator that looks for its mark, `NOBODY` once it does not any more.
    """

    number: int
    after: int
    to: int
    maker: int


class Aggregator(NamedTuple):
    """Works on lines ``after`` + 1 to ``to`` (none: idle).

    ``sent``: its insert, if it has sent one; ``heard``: that the store took or dropped it.
    """

    after: int = 0
    to: int = 0
    sent: tuple[Insert, ...] = ()
    heard: bool = False


class State(NamedTuple):
    """``on``: for each insert that landed, which replicas have its part, as bits; 0: lost for ever."""

    at: int = 0
    told: int = 0
    waits_for: int = -1
    sends: int = 0
    restarts: int = 0
    others: int = 0
    aggregators: tuple[Aggregator, Aggregator] = (Aggregator(), Aggregator())
    flying: tuple[Insert, ...] = ()
    landed: tuple[Insert, ...] = ()
    on: tuple[int, ...] = ()
    forgotten: tuple[int, ...] = ()
    lost: bool = False


NOBODY: Final = -1
_SWAPPED: Final = {NOBODY: NOBODY, 0: 1, 1: 0}
_BOTH: Final = 3


def explore(rules: Rules) -> tuple[int, list[str]]:
    """How many states there are, and the steps to the first that must not be, if there is one."""
    first = State()
    came: dict[State, tuple[State, str] | None] = {first: None}
    met = {first}
    front = [first]
    while front:
        ahead = []
        for state in front:
            for step, found in _steps(state, rules):
                if found in met:  # cheaper than to find its plain form again
                    continue
                met.add(found)
                after = _plain(found)
                if after in came:
                    continue
                came[after] = (state, step)
                if _is_wrong(after):
                    return len(came), _way(came, after)
                ahead.append(after)
        front = ahead
    return len(came), []


def _plain(state: State) -> State:
    """The one of four states that differ in the names of replicas and aggregators only."""
    state = state._replace(on=min(state.on, tuple((0, 2, 1, 3)[on] for on in state.on)))
    first, second = state.aggregators
    swapped = state._replace(
        aggregators=(_renamed(second), _renamed(first)),
        waits_for=_SWAPPED[state.waits_for],
        flying=tuple(sorted(insert._replace(maker=_SWAPPED[insert.maker]) for insert in state.flying)),
        landed=tuple(insert._replace(maker=_SWAPPED[insert.maker]) for insert in state.landed),
    )
    return min(state, swapped)


def _renamed(aggregator: Aggregator) -> Aggregator:
    return aggregator._replace(sent=tuple(insert._replace(maker=_SWAPPED[insert.maker]) for insert in aggregator.sent))


def _way(came: dict[State, tuple[State, str] | None], state: State) -> list[str]:
    steps = []
    while (before := came[state]) is not None:
        state, step = before
        steps.append(step)
    return steps[::-1]


def _is_wrong(state: State) -> bool:
    lines = [
        line
        for insert, on in zip(state.landed, state.on, strict=True)
        if on
        for line in range(insert.after + 1, insert.to + 1)
    ]
    return len(lines) > len(set(lines)) or not set(range(1, state.told + 1)) <= set(lines)


def _seen(state: State, replica: int, rules: Rules) -> list[Insert]:
    """What a statement that meets ``replica`` reads."""
    wanted = _BOTH if rules.quorum and not state.lost else 1 << replica
    return [insert for insert, on in zip(state.landed, state.on, strict=True) if on & wanted == wanted]


def _position(seen: list[Insert]) -> int:
    return max((insert.to for insert in seen), default=0)


def _steps(state: State, rules: Rules) -> Iterator[tuple[str, State]]:
    yield from _agent(state, rules)
    for which in (0, 1):
        yield from _aggregator(state, which, rules)
    yield from _other(state, rules)
    yield from _store(state, rules)


def _agent(state: State, rules: Rules) -> Iterator[tuple[str, State]]:
    if state.waits_for >= 0:
        yield "the agent stops waiting", state._replace(waits_for=-1)
    elif state.sends < rules.sends and state.at < LINES:
        for which, aggregator in enumerate(state.aggregators):
            if aggregator.to:
                continue
            for to in range(state.at + 1, LINES + 1):
                after = _with(state, which, Aggregator(state.at, to))
                yield f"lines {state.at + 1}-{to} to {which}", after._replace(waits_for=which, sends=state.sends + 1)
    if state.restarts < rules.restarts:
        for replica in (0, 1):
            position = _position(_seen(state, replica, rules))
            after = state._replace(at=position, waits_for=-1, restarts=state.restarts + 1)
            yield f"the agent starts anew at {position}", after


def _aggregator(state: State, which: int, rules: Rules) -> Iterator[tuple[str, State]]:
    mine = state.aggregators[which]
    if not mine.to:
        return
    dead = _left(state, which, Aggregator())
    yield f"{which} dies", dead._replace(waits_for=-1 if state.waits_for == which else state.waits_for)
    for replica in (0, 1):
        seen = _seen(state, replica, rules)
        if not mine.sent:
            yield from _look(state, which, seen, rules)
        elif mine.heard:
            makers = {insert.maker for insert in seen if insert.number == mine.sent[0].number}
            if which in makers or not rules.marks_are_read:
                yield from _answers(state, which, mine.sent[0].to)
            elif makers:
                yield f"{which} was second", _left(state, which, Aggregator(mine.after, mine.to))


def _look(state: State, which: int, seen: list[Insert], rules: Rules) -> Iterator[tuple[str, State]]:
    mine = state.aggregators[which]
    head = _head(seen, rules)
    if head is None:
        return
    position = _position(seen)
    if mine.after > position or mine.to <= position:
        yield from _answers(state, which, position)
        return
    insert = Insert(head + 1, position, mine.to, which)
    after = _with(state, which, mine._replace(sent=(insert,)))
    yield f"{which} sends {insert}", after._replace(flying=_added(state.flying, insert))


def _answers(state: State, which: int, position: int) -> Iterator[tuple[str, State]]:
    after = _left(state, which, Aggregator())
    if state.waits_for == which:
        told = max(state.told, position)
        yield f"{which} says {position}", after._replace(waits_for=-1, at=position, told=told)
    else:
        yield f"{which} says {position} to nobody", after


def _store(state: State, rules: Rules) -> Iterator[tuple[str, State]]:
    for insert in state.flying:
        rest = state._replace(flying=tuple(one for one in state.flying if one != insert))
        if any(_same_slot(insert, one, rules) for n, one in enumerate(state.landed) if n not in state.forgotten):
            yield from _ends(f"{insert} is dropped", rest, insert)
            continue
        for replica in (0, 1):
            landed = rest._replace(landed=(*rest.landed, insert), on=(*rest.on, 1 << replica))
            yield from _ends(f"{insert} lands on {replica}", landed, insert)
    for number, on in enumerate(state.on):
        if on in {1, 2} and not state.lost:
            yield f"part {number} is replicated", state._replace(on=_put(state.on, number, _BOTH))
        if not rules.slots_stay and number not in state.forgotten:
            yield f"slot {number} is forgotten", state._replace(forgotten=(*state.forgotten, number))
    if rules.replica_lost and not state.lost:
        for replica in (0, 1):
            left = tuple(_BOTH if on & ~(1 << replica) else 0 for on in state.on)
            yield f"replica {replica} is lost", state._replace(on=left, lost=True)


def _ends(step: str, state: State, insert: Insert) -> Iterator[tuple[str, State]]:
    if insert.maker == NOBODY:
        yield step, state
        return
    mine = state.aggregators[insert.maker]
    yield step, _with(state, insert.maker, mine._replace(heard=True))
    yield f"{step}, the answer is lost, it is sent again", state._replace(flying=_added(state.flying, insert))


def _other(state: State, rules: Rules) -> Iterator[tuple[str, State]]:
    if state.others >= rules.others:
        return
    for replica in (0, 1):
        head = _head(_seen(state, replica, rules), rules)
        if head is not None:
            flying = _added(state.flying, Insert(head + 1, 0, 0, NOBODY))
            yield f"another file's insert {head + 1}", state._replace(flying=flying, others=state.others + 1)


def _head(seen: list[Insert], rules: Rules) -> int | None:
    """The last number of the chain; None if a replica does not have what is before it."""
    head = max((insert.number for insert in seen), default=0)
    return None if rules.holes_are_seen and head != len(seen) else head


def _same_slot(one: Insert, other: Insert, rules: Rules) -> bool:
    return one.number == other.number if rules.slots_are_numbers else one[1:3] == other[1:3]


def _left(state: State, which: int, aggregator: Aggregator) -> State:
    """``which`` has done with its insert, wherever that is."""
    return _with(state, which, aggregator)._replace(
        flying=tuple(sorted({_unknown(insert, which) for insert in state.flying})),
        landed=tuple(_unknown(insert, which) for insert in state.landed),
    )


def _unknown(insert: Insert, which: int) -> Insert:
    return insert._replace(maker=NOBODY) if insert.maker == which else insert


def _added(inserts: tuple[Insert, ...], insert: Insert) -> tuple[Insert, ...]:
    return tuple(sorted({*inserts, insert}))


def _with(state: State, which: int, aggregator: Aggregator) -> State:
    first, second = state.aggregators
    return state._replace(aggregators=(aggregator, second) if which == 0 else (first, aggregator))


def _put(values: tuple[int, ...], place: int, value: int) -> tuple[int, ...]:
    return (*values[:place], value, *values[place + 1 :])
