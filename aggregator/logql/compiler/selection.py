"""Which streams: a selector as conditions on rows of ``logs`` and of ``streams``.

A stream's labels are those it was written with and, joined by its ``uid`` at query time, those of its pod, whose names
are made fit for LogQL: every character outside ``[A-Za-z0-9_]`` becomes ``_``. Its own labels win. A label that only a
stream has is looked up without the pods.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aggregator.logql.patterns import literals
from aggregator.logql.tree import Matcher, MatchOp, Selector
from aggregator.store.schema import PODS, STREAMS
from wire.batch import DAY_NS

if TYPE_CHECKING:
    from aggregator.logql.compiler.statement import Parameters

NAMESPACE: Final = "namespace"
# Labels that every stream of a pod has: no label of a pod can stand in for them.
OWN_LABELS: Final = frozenset({NAMESPACE, "pod", "container", "node", "stream", "cluster", "uid"})

# What selectors say that mean every stream; an engine that has to match each value takes its time.
_SOMETHING: Final = ".+"

_POD_LABELS: Final = (
    "SELECT uid, CAST(mapApply((name, value) -> (replaceRegexpAll(name, '[^A-Za-z0-9_]', '_'), value), "  # noqa: S608 - a table name
    f"argMax(labels, seen_at)) AS Map(LowCardinality(String), String)) AS pod_labels FROM {PODS} GROUP BY uid"
)


def days(start_ns: int, end_ns: int, parameters: Parameters) -> str:
    """The condition on ``day`` of the streams that may have records from ``start_ns`` to before ``end_ns``."""
    first = parameters.bind(start_ns // DAY_NS, "Int32")
    last = parameters.bind(max(start_ns, end_ns - 1) // DAY_NS, "Int32")
    return f"day BETWEEN toDate32({first}) AND toDate32({last})"


def known_streams(day: str, *, pods: bool) -> str:
    """What to select ``stream_id`` and ``labels`` from; with ``pods``, the labels of the streams' pods are in them.

    ``day``: what `days` gave.
    """
    if not pods:
        return f"(SELECT stream_id, labels FROM {STREAMS} WHERE {day})"  # noqa: S608 - own words
    return (
        "(SELECT stream_id, mapUpdate(pod_labels, own_labels) AS labels "  # noqa: S608 - own words
        f"FROM (SELECT stream_id, labels AS own_labels, labels['uid'] AS uid FROM {STREAMS} WHERE {day}) AS own "
        f"ANY LEFT JOIN ({_POD_LABELS}) AS pods USING uid)"
    )


def needs_pods(selector: Selector) -> bool:
    """Whether a label may be a pod's."""
    return any(matcher.label not in OWN_LABELS for matcher in selector.matchers)


def streams(selector: Selector, parameters: Parameters) -> str:
    """The condition on a row of `known_streams` for its labels to match; ``1`` if every row does."""
    held = [holds(f"labels[{parameters.text(matcher.label)}]", matcher, parameters) for matcher in selector.matchers]
    return " AND ".join(held) or "1"


def selection(selector: Selector, start_ns: int, end_ns: int, parameters: Parameters) -> list[str]:
    """What the selector asks of a row of ``logs``.

    A row whose stream's labels are missing must stay visible to whoever does not ask for labels; therefore what a
    matcher excludes is what is known to be excluded.
    """
    conditions = [holds(NAMESPACE, matcher, parameters) for matcher in selector.matchers if matcher.label == NAMESPACE]
    others = [matcher for matcher in selector.matchers if matcher.label != NAMESPACE]
    wanted = Selector(tuple(matcher for matcher in others if not matcher.op.negative))
    if wanted.matchers:
        conditions.append(f"stream_id IN {_ids(wanted, start_ns, end_ns, parameters)}")
    # Those of pods apart: the others are looked up without the pods.
    for pods in (False, True):
        unwanted = Selector(tuple(one for one in others if one.op.negative and needs_pods(Selector((one,))) is pods))
        if unwanted.matchers:
            found = known_streams(days(start_ns, end_ns, parameters), pods=pods)
            conditions.append(
                f"stream_id NOT IN (SELECT stream_id FROM {found} WHERE NOT ({streams(unwanted, parameters)}))"  # noqa: S608 - own words
            )
    return conditions


def _ids(selector: Selector, start_ns: int, end_ns: int, parameters: Parameters) -> str:
    found = known_streams(days(start_ns, end_ns, parameters), pods=needs_pods(selector))
    return f"(SELECT stream_id FROM {found} WHERE {streams(selector, parameters)})"  # noqa: S608 - own words


def labelled(name: str, start_ns: int, end_ns: int, parameters: Parameters) -> str:
    """The ids, as a subquery, of the streams that have the label ``name``."""
    found = known_streams(days(start_ns, end_ns, parameters), pods=name not in OWN_LABELS)
    return f"(SELECT stream_id FROM {found} WHERE mapContains(labels, {parameters.text(name)}))"  # noqa: S608 - own words


def matching(matcher: Matcher, start_ns: int, end_ns: int, parameters: Parameters) -> str:
    """The ids, as a subquery, of the streams whose label the matcher holds for."""
    return _ids(Selector((matcher,)), start_ns, end_ns, parameters)


def holds(subject: str, matcher: Matcher, parameters: Parameters) -> str:
    """The condition that ``matcher`` holds for the text ``subject`` (SQL)."""
    negation = "NOT " if matcher.op.negative else ""
    if matcher.op in {MatchOp.EQUAL, MatchOp.NOT_EQUAL}:
        return f"{negation}({subject} = {parameters.text(matcher.value)})"
    if matcher.value == _SOMETHING:
        return f"{negation}({subject} != '')"
    values = literals(matcher.value)
    if values is not None:
        return f"{negation}({subject} IN {parameters.bind(values, 'Array(String)')})"
    return f"{negation}match({subject}, {parameters.text(f'^(?s:{matcher.value})$')})"
