"""How a record is shown: SQL that makes a whole line of an answer from a row, so that no Python runs per record.

TEXT  ``<time> <namespace>/<pod>/<container> <line>``; the line's bytes are the stored ones, whatever they are
JSON  one object a line, keys as in `CSV_HEADER`; bytes that are not UTF-8 are shown as U+FFFD
CSV   every text quoted, quotes doubled; the line's bytes are the stored ones

A gap record's stored body is the JSON of `wire.batch.Flag.GAP`; TEXT shows it as ``[gap: <n> bytes lost: <reason>]``.
A pod or container that is not known is shown as ``?`` in TEXT, else as empty. Control characters in names are shown as
U+FFFD in TEXT: a terminal would obey them.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

import msgspec

from aggregator.logql.compiler.fields import LEVEL_SQL
from aggregator.logql.compiler.plan import COLUMNS, ORDER
from aggregator.logql.compiler.selection import days
from aggregator.logql.compiler.statement import Parameters, Statement
from aggregator.store.schema import STREAMS
from wire.batch import Flag

if TYPE_CHECKING:
    from aggregator.logql.tree import Query


class Format(enum.Enum):
    """What an answer is made of."""

    TEXT = "text"
    JSON = "json"
    CSV = "csv"


class Rendering(msgspec.Struct, frozen=True):
    """How records are shown: format, ANSI colours (TEXT only), and which come first."""

    format: Format = Format.TEXT
    colour: bool = False
    newest_first: bool = False


# Flags by the names that answers have for them; which stream a record is of is said by ``stream``.
FLAGS: Final = tuple((flag, flag.name.lower()) for flag in Flag if flag is not Flag.STDERR and flag.name is not None)
CSV_HEADER: Final = b"ts,namespace,pod,container,node,stream,cluster,uid,level,line,source,position,flags\n"

_TIME: Final = "replaceOne(toString(ts, 'UTC'), ' ', 'T'), 'Z'"
_SOURCE: Final = "lower(hex(reinterpretAsFixedString(source)))"
_GAP: Final = (
    "concat('[gap: ', ifNull(toString(JSONExtract(body, 'bytes', 'Nullable(UInt64)')), 'an unknown number of'), "
    "' bytes lost: ', JSONExtractString(body, 'reason'), ']')"
)
# In TEXT; JSON and CSV have the stored body, and the flag.
_LINE: Final = f"if(bitAnd(flags, {Flag.GAP:d}) = 0, body, {_GAP})"
_STREAM: Final = f"if(bitAnd(flags, {Flag.STDERR:d}) = 0, 'stdout', 'stderr')"

_POD, _CONTAINER, _NODE, _STREAM_LABEL, _CLUSTER, _UID = (
    f"labels['{name}']" for name in ("pod", "container", "node", "stream", "cluster", "uid")
)

_DIM: Final = "'\\x1b[2m'"
_BLUE: Final = "'\\x1b[34m'"
_PLAIN: Final = "'\\x1b[0m'"
_COLOUR: Final = (
    f"multiIf(bitAnd(flags, {Flag.GAP:d}) != 0, '\\x1b[35m', level = 'fatal', '\\x1b[1;31m', level = 'error', "
    "'\\x1b[31m', level = 'warn', '\\x1b[33m', level = 'debug', '\\x1b[36m', level = 'trace', '\\x1b[2m', '')"
)


def _json(text: str) -> str:
    return f"toJSONString(toValidUTF8({text}))"


def _csv(text: str) -> str:
    return f"""concat('"', replaceAll({text}, '"', '""'), '"')"""


def _name(text: str) -> str:
    """A name without what a terminal would obey: C0 and C1 control characters, DEL."""
    return f"replaceRegexpAll({text}, '[\\\\x00-\\\\x1f\\\\x7f-\\\\x{{9f}}]', '\ufffd')"


def _flags(one: str, between: str, around: str) -> str:
    """What the flags of a record are called, looked up in a table of every set of them."""
    texts = []
    for number in range(1 << len(FLAGS)):
        names = [one.format(name) for place, (_, name) in enumerate(FLAGS) if number >> place & 1]
        texts.append("'" + around.format(between.join(names)) + "'")
    # STDERR is the lowest bit, the others follow it in order; what a later version may add above them is not shown.
    return f"[{', '.join(texts)}][bitAnd(bitShiftRight(flags, 1), {len(texts) - 1}) + 1]"


class _Shape(msgspec.Struct, frozen=True):
    """The SQL of one format.

    ``labels``: what a stream's labels contribute to a line, made once per stream from the map ``labels`` and found by
    ``line`` as ``known_labels``; ``unlabelled``: the same for a row whose stream's labels are missing.
    """

    labels: str
    unlabelled: str
    line: str


_TEXT: Final = _Shape(
    f"concat(if({_POD} = '', '?', {_name(_POD)}), '/', if({_CONTAINER} = '', '?', {_name(_CONTAINER)}))",
    "'?/?'",
    f"concat({_TIME}, ' ', {_name('namespace')}, '/', known_labels, ' ', {_LINE}, '\\n')",
)
_TEXT_COLOURED: Final = _Shape(
    _TEXT.labels,
    _TEXT.unlabelled,
    f"concat({_DIM}, {_TIME}, {_PLAIN}, ' ', {_BLUE}, {_name('namespace')}, '/', known_labels, {_PLAIN}, ' ', "
    f"{_COLOUR}, {_LINE}, {_PLAIN}, '\\n')",
)
_JSON: Final = _Shape(
    f"""concat(',"pod":', {_json(_POD)}, ',"container":', {_json(_CONTAINER)}, """
    f"""',"node":', {_json(_NODE)}, ',"stream":', {_json(_STREAM_LABEL)}, """
    f"""',"cluster":', {_json(_CLUSTER)}, ',"uid":', {_json(_UID)})""",
    f"""concat(',"pod":"","container":"","node":"","stream":"', {_STREAM}, '","cluster":"","uid":""')""",
    f"""concat('{{"ts":"', {_TIME}, '","namespace":', {_json("namespace")}, known_labels, ',"level":"', {LEVEL_SQL}, """
    f"""'","line":', {_json("body")}, ',"source":"', {_SOURCE}, '","position":', toString(position), ',"flags":', """
    f"""{_flags('"{}"', ",", "[{}]")}, '}}\\n')""",
)
_CSV: Final = _Shape(
    f"concat({_csv(_POD)}, ',', {_csv(_CONTAINER)}, ',', {_csv(_NODE)}, ',', {_csv(_STREAM_LABEL)}, ',', "
    f"{_csv(_CLUSTER)}, ',', {_csv(_UID)})",
    f"""concat('"","","","', {_STREAM}, '","",""')""",
    f"concat({_TIME}, ',', {_csv('namespace')}, ',', known_labels, ',', {LEVEL_SQL}, ',', {_csv('body')}, ',', "
    f"{_SOURCE}, ',', toString(position), ',', {_flags('{}', ' ', '{}')}, '\\n')",
)


def rendered(records: Statement, query: Query, rendering: Rendering) -> Statement:
    """The SELECT of one column, ``shown``: the lines of ``records`` in order, each with its line end.

    ``records``: what `compile_query` made of ``query``.
    """
    shape = _shape(rendering)
    parameters = Parameters(records.parameters)
    day = days(query.start_ns, query.end_ns, parameters)
    down = " DESC" if rendering.newest_first else ""
    order = ", ".join(column + down for column in ORDER)
    return Statement(
        f"SELECT {shape.line} AS shown FROM (SELECT {', '.join(COLUMNS)}, "  # noqa: S608 - own words
        f"if(found_labels = '', {shape.unlabelled}, found_labels) AS known_labels FROM ({records.sql}) AS records "
        f"ANY LEFT JOIN (SELECT stream_id, {shape.labels} AS found_labels FROM {STREAMS} WHERE {day}) AS known "
        f"USING stream_id) ORDER BY {order}",
        parameters.values,
    )


def header(rendering: Rendering) -> bytes:
    """What stands above the first record."""
    return CSV_HEADER if rendering.format is Format.CSV else b""


def _shape(rendering: Rendering) -> _Shape:
    match rendering.format:
        case Format.TEXT:
            return _TEXT_COLOURED if rendering.colour else _TEXT
        case Format.JSON:
            return _JSON
        case Format.CSV:
            return _CSV
