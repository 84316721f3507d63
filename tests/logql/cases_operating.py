"""Vector aggregations, binary operations, label_replace, numbers, and what is refused."""

from tests.logql.case import Case, Failing, Instant, Range, Refused, Scalar

# m-0: 3, m-1: 2, m-2: 1
_C = 'sum by (pod) (count_over_time({namespace="meter"}[1m]))'
# kind a of m-0: 1, of m-1: 2; kind b of m-0: 2; kind c of m-2: 1
_K = 'sum by (pod, kind) (count_over_time({namespace="meter"} | logfmt kind [1m]))'
_A = 'pod="m-0",kind="a"'
_B = 'pod="m-0",kind="b"'
_D = 'pod="m-1",kind="a"'
_E = 'pod="m-2",kind="c"'
_P0, _P1, _P2 = 'pod="m-0"', 'pod="m-1"', 'pod="m-2"'


def _now(query: str, values: dict[str, float], *, ordered: bool = False) -> Instant:
    return Instant(query, 60, values, ordered)


AGGREGATIONS: tuple[Case, ...] = (
    _now(_K, {_A: 1, _B: 2, _D: 2, _E: 1}),
    _now(f"sum({_C})", {"": 6}),
    _now(f"avg({_C})", {"": 2}),
    _now(f"min({_C})", {"": 1}),
    _now(f"max({_C})", {"": 3}),
    _now(f"count({_C})", {"": 3}),
    _now(f"stdvar({_C})", {"": 2 / 3}),
    _now(f"stddev({_C})", {"": 0.816496580927726}),
    _now(f"sum by (kind) ({_K})", {'kind="a"': 3, 'kind="b"': 2, 'kind="c"': 1}),
    _now(f"sum({_K}) by (kind)", {'kind="a"': 3, 'kind="b"': 2, 'kind="c"': 1}),
    _now(f"sum without (pod) ({_K})", {'kind="a"': 3, 'kind="b"': 2, 'kind="c"': 1}),
    _now(f"sum without (nothing) ({_C})", {_P0: 3, _P1: 2, _P2: 1}),
    _now(f"sum without () ({_C})", {_P0: 3, _P1: 2, _P2: 1}),
    _now(f"avg by (pod) ({_K})", {_P0: 1.5, _P1: 2, _P2: 1}),
    _now(f"max by (kind) ({_K})", {'kind="a"': 2, 'kind="b"': 2, 'kind="c"': 1}),
    _now(f"min by (kind) ({_K})", {'kind="a"': 1, 'kind="b"': 2, 'kind="c"': 1}),
    _now(f"count by (kind) ({_K})", {'kind="a"': 2, 'kind="b"': 1, 'kind="c"': 1}),
    _now(f"stdvar by (pod) ({_K})", {_P0: 0.25, _P1: 0, _P2: 0}),
    _now(f"topk(1, {_C})", {_P0: 3}),
    _now(f"topk(2, {_C})", {_P0: 3, _P1: 2}),
    _now(f"topk(9, {_C})", {_P0: 3, _P1: 2, _P2: 1}),
    _now(f"bottomk(1, {_C})", {_P2: 1}),
    _now(f"bottomk(2, {_C})", {_P1: 2, _P2: 1}),
    _now(f"topk by (pod) (1, {_K})", {_B: 2, _D: 2, _E: 1}),
    _now(f"topk(1, {_K}) by (pod)", {_B: 2, _D: 2, _E: 1}),
    _now(f"bottomk by (pod) (1, {_K})", {_A: 1, _D: 2, _E: 1}),
    _now(f"sort({_C})", {_P2: 1, _P1: 2, _P0: 3}, ordered=True),
    _now(f"sort_desc({_C})", {_P0: 3, _P1: 2, _P2: 1}, ordered=True),
    _now(f"approx_topk(2, {_C})", {_P0: 3, _P1: 2}),
    _now(f"sum(topk(2, {_C}))", {"": 5}),
    _now('topk(1, sum by (pod) (rate({namespace="meter"}[1m])))', {_P0: 0.05}),
    _now('max(max_over_time({pod="m-0"} | logfmt | unwrap value [1m]))', {"": 8}),
    _now('min(min_over_time({pod=~"m-0|m-1"} | logfmt | unwrap value [1m]))', {"": -30}),
    _now('count(count_over_time({namespace="meter"}[1m]))', {"": 3}),
    _now('avg(count_over_time({namespace="meter"}[1m]))', {"": 2}),
    Range(f"max({_C})", 0, 60, 60, {"": {0: 1, 60: 3}}),
    Range(
        f"sum by (kind) ({_K})", 0, 60, 60, {'kind="a"': {0: 2, 60: 3}, 'kind="b"': {60: 2}, 'kind="c"': {0: 1, 60: 1}}
    ),
)

ARITHMETIC: tuple[Case, ...] = (
    _now(f"{_C} + 1", {_P0: 4, _P1: 3, _P2: 2}),
    _now(f"1 + {_C}", {_P0: 4, _P1: 3, _P2: 2}),
    _now(f"{_C} - 1", {_P0: 2, _P1: 1, _P2: 0}),
    _now(f"1 - {_C}", {_P0: -2, _P1: -1, _P2: 0}),
    _now(f"{_C} * 2", {_P0: 6, _P1: 4, _P2: 2}),
    _now(f"{_C} / 2", {_P0: 1.5, _P1: 1, _P2: 0.5}),
    _now(f"6 / {_C}", {_P0: 2, _P1: 3, _P2: 6}),
    _now(f"{_C} % 2", {_P0: 1, _P1: 0, _P2: 1}),
    _now(f"{_C} ^ 2", {_P0: 9, _P1: 4, _P2: 1}),
    _now(f"2 ^ {_C}", {_P0: 8, _P1: 4, _P2: 2}),
    _now(f"{_C} / 0", {_P0: float("nan"), _P1: float("nan"), _P2: float("nan")}),
    _now(f"{_C} + {_C}", {_P0: 6, _P1: 4, _P2: 2}),
    _now(f"{_C} / {_C}", {_P0: 1, _P1: 1, _P2: 1}),
    _now(f"{_C} - {_C} * 2", {_P0: -3, _P1: -2, _P2: -1}),
    _now(f"({_C} - {_C}) * 2", {_P0: 0, _P1: 0, _P2: 0}),
    _now(f"{_C} + vector(1)", {}),
    _now(f"sum({_C}) + vector(1)", {"": 7}),
    _now(f"sum({_C}) / count({_C})", {"": 2}),
    _now(f'{_C} * sum by (pod) (count_over_time({{pod="m-1"}}[1m]))', {_P1: 4}),
    _now(f'100 * sum(count_over_time({{pod="m-0"}}[1m])) / sum({_C})', {"": 50}),
    # Powers are taken from the right, everything else from the left.
    Scalar("2 ^ 3 ^ 2", 512),
    Scalar("10 - 2 - 3", 5),
    Scalar("16 / 4 / 2", 2),
    Scalar("2 + 3 * 4", 14),
    Scalar("(2 + 3) * 4", 20),
    Scalar("2 * 3 % 4", 2),
    Scalar("-2 + 1", -1),
    Scalar("1", 1),
    Scalar("1.5", 1.5),
    Scalar("1e3", 1000),
    Scalar("7 % 4", 3),
    Scalar("-7 % 4", -3),
    Scalar("1 / 0", float("nan")),
    Scalar("1 == 1", 1),
    Scalar("1 > 2", 0),
    Scalar("1 <= bool 2", 1),
)

COMPARISONS: tuple[Case, ...] = (
    _now(f"{_C} > 1", {_P0: 3, _P1: 2}),
    _now(f"{_C} >= 2", {_P0: 3, _P1: 2}),
    _now(f"{_C} < 2", {_P2: 1}),
    _now(f"{_C} <= 2", {_P1: 2, _P2: 1}),
    _now(f"{_C} == 2", {_P1: 2}),
    _now(f"{_C} != 2", {_P0: 3, _P2: 1}),
    _now(f"{_C} > bool 1", {_P0: 1, _P1: 1, _P2: 0}),
    _now(f"{_C} == bool 2", {_P0: 0, _P1: 1, _P2: 0}),
    # The number on the left: still the series' samples.
    _now(f"1 < {_C}", {_P0: 3, _P1: 2}),
    _now(f"2 == {_C}", {_P1: 2}),
    _now(f"1 < bool {_C}", {_P0: 1, _P1: 1, _P2: 0}),
    _now(f"{_C} > 100", {}),
    _now(f"{_C} == {_C}", {_P0: 3, _P1: 2, _P2: 1}),
    _now(f"{_C} != {_C}", {}),
    _now(f"{_C} != bool {_C}", {_P0: 0, _P1: 0, _P2: 0}),
    _now(f"{_C} >= {_C} * 1", {_P0: 3, _P1: 2, _P2: 1}),
    _now(f"{_C} + 1 > 2", {_P0: 4, _P1: 3}),
    _now(f"sum({_C} > 1)", {"": 5}),
    _now(f"count({_C} > 1)", {"": 2}),
    Range(f"{_C} > 1", 0, 60, 60, {_P0: {60: 3}, _P1: {60: 2}}),
)

SETS: tuple[Case, ...] = (
    _now(f"{_C} and {_C} > 1", {_P0: 3, _P1: 2}),
    _now(f"{_C} unless {_C} > 1", {_P2: 1}),
    _now(f"({_C} > 2) or ({_C} < 2)", {_P0: 3, _P2: 1}),
    _now(f"{_C} > 2 or {_C} * 10", {_P0: 3, _P1: 20, _P2: 10}),
    _now(f"{_C} and vector(1)", {}),
    _now(f"{_C} or vector(7)", {_P0: 3, _P1: 2, _P2: 1, "": 7}),
    _now(f"{_C} and on() vector(1)", {_P0: 3, _P1: 2, _P2: 1}),
    _now(f"{_C} unless on() vector(1)", {}),
    _now(f"{_K} and on(pod) {_C} > 2", {_A: 1, _B: 2}),
    _now(f"{_K} unless on(pod) {_C} > 1", {_E: 1}),
    _now(f"{_K} and ignoring(kind) {_C} == 2", {_D: 2}),
    _now(f"{_C} and {_K}", {}),
    _now('sum(count_over_time({pod="none"}[1m])) or vector(0)', {"": 0}),
    _now(f"{_C} or on() vector(7)", {_P0: 3, _P1: 2, _P2: 1}),
    # and binds tighter than or; unless like and.
    _now(f"{_C} == 1 or {_C} == 2 and {_C} == 3", {_P2: 1}),
)

MATCHING: tuple[Case, ...] = (
    _now(f"{_C} / on(pod) {_C}", {_P0: 1, _P1: 1, _P2: 1}),
    _now(f"{_C} * ignoring(nothing) {_C}", {_P0: 9, _P1: 4, _P2: 1}),
    _now(f"{_K} / on(pod) group_left {_C}", {_A: 1 / 3, _B: 2 / 3, _D: 1, _E: 1}),
    _now(f"{_K} / on(pod) group_left() {_C}", {_A: 1 / 3, _B: 2 / 3, _D: 1, _E: 1}),
    _now(f"{_K} / ignoring(kind) group_left {_C}", {_A: 1 / 3, _B: 2 / 3, _D: 1, _E: 1}),
    _now(f"{_C} / on(pod) group_right {_K}", {_A: 3, _B: 1.5, _D: 1, _E: 1}),
    _now(f"{_C} - ignoring(kind) group_right {_K}", {_A: 2, _B: 1, _D: 0, _E: 0}),
    _now(f"{_K} > on(pod) group_left {_C} * 0.5", {_B: 2, _D: 2, _E: 1}),
    _now(f"{_K} == bool on(pod) group_left {_C}", {_A: 0, _B: 0, _D: 1, _E: 1}),
    _now(f"{_C} + on() group_left vector(10)", {_P0: 13, _P1: 12, _P2: 11}),
    _now(f"sum by (pod) ({_K}) - on(pod) {_C}", {_P0: 0, _P1: 0, _P2: 0}),
    # The labels of one to one: those that were matched on.
    _now(f'sum by (pod, kind) (count_over_time({{pod="m-1"}} | logfmt kind [1m])) + on(pod) {_C}', {_P1: 4}),
    _now(f'sum by (pod, kind) (count_over_time({{pod="m-1"}} | logfmt kind [1m])) + ignoring(kind) {_C}', {_P1: 4}),
    # A label of the one side is taken over.
    _now(
        f'{_C} * on(pod) group_left(kind) sum by (pod, kind) (count_over_time({{pod="m-1"}} | logfmt kind [1m]))',
        {_D: 4},
    ),
)

REPLACED: tuple[Case, ...] = (
    _now(
        f'label_replace({_C}, "number", "$1", "pod", "m-(.)")',
        {_P0 + ',number="0"': 3, _P1 + ',number="1"': 2, _P2 + ',number="2"': 1},
    ),
    _now(
        f'label_replace({_C}, "number", "n${{1}}x", "pod", "m-(.)")',
        {_P0 + ',number="n0x"': 3, _P1 + ',number="n1x"': 2, _P2 + ',number="n2x"': 1},
    ),
    _now(
        f'label_replace({_C}, "number", "$1", "pod", "m-([01])")',
        {_P0 + ',number="0"': 3, _P1 + ',number="1"': 2, _P2: 1},
    ),
    # Anchored; without a match nothing is replaced.
    _now(f'label_replace({_C}, "number", "x", "pod", "m")', {_P0: 3, _P1: 2, _P2: 1}),
    _now(f'label_replace({_C}, "pod", "p$1", "pod", "m-(.)")', {'pod="p0"': 3, 'pod="p1"': 2, 'pod="p2"': 1}),
    _now(f'label_replace({_K}, "kind", "", "kind", "c")', {_A: 1, _B: 2, _D: 2, _P2: 1}),
    _now(
        f'label_replace({_C}, "all", "yes", "", "")',
        {_P0 + ',all="yes"': 3, _P1 + ',all="yes"': 2, _P2 + ',all="yes"': 1},
    ),
    _now(f'sum by (n) (label_replace({_C}, "n", "$1", "pod", "(.).*"))', {'n="m"': 6}),
)

NUMBERS: tuple[Case, ...] = (
    Instant("vector(1)", 60, {"": 1}),
    Instant("vector(1)+vector(1)", 4, {"": 2}),
    Instant("vector(2) * 3", 60, {"": 6}),
    Instant("3 > vector(2)", 60, {"": 2}),
    Instant("sum(vector(3))", 60, {"": 3}),
    Range("vector(5)", 0, 60, 30, {"": {0: 5, 30: 5, 60: 5}}),
    Range("1 + 1", 0, 60, 30, {"": {0: 2, 30: 2, 60: 2}}),
)

REFUSED: tuple[Case, ...] = (
    Refused("", "empty"),
    Refused("{", "unexpected"),
    Refused("{}", "at least one"),
    Refused('{namespace!="x"}', "at least one"),
    Refused('{namespace=""}', "at least one"),
    Refused('{namespace=~".*"}', "at least one"),
    Refused('{namespace!~"x"}', "at least one"),
    Refused('{namespace=~"("}', "expression"),
    Refused("{namespace='x'}", "quote"),
    Refused('{namespace="x"', "}"),
    Refused('{namespace=="x"}', "="),
    Refused('{1x="x"}', "name"),
    Refused('{namespace="x"} |= x', "string"),
    Refused('{namespace="x"} |~ "("', "expression"),
    Refused('{namespace="x"} |~ "(?=x)"', "RE2"),
    Refused('{namespace="x"} |~ "(a)\\\\1"', "RE2"),
    Refused('{namespace="x"} | nothing', "stage"),
    Refused('{namespace="x"} | json a="b["', "expression", late=True),
    Refused('{namespace="x"} | regexp "no name"', "named"),
    Refused('{namespace="x"} | regexp "(no name)"', "named"),
    Refused('{namespace="x"} | regexp "(?P<a>x)(?P<a>y)"', "twice"),
    Refused('{namespace="x"} | regexp "(?P<a>"', "expression"),
    Refused('{namespace="x"} | pattern "no capture"', "capture"),
    Refused('{namespace="x"} | pattern "<_>"', "capture"),
    Refused('{namespace="x"} | pattern "<a><b>"', "literal"),
    Refused('{namespace="x"} | pattern "<a> <a>"', "twice"),
    Refused('{namespace="x"} |> "<a> named"', "named"),
    Refused('{namespace="x"} |> "<_><_>"', "literal"),
    Refused('{namespace="x"} |= ip("nonsense")', "address"),
    Refused('{namespace="x"} |~ ip("10.0.0.1")', "ip"),
    Refused('{namespace="x"} | a=ip("10.0.0.1/99")', "address"),
    Refused('{namespace="x"} | line_format "{{"', "template", late=True),
    Refused('{namespace="x"} | line_format "{{ nofunction .a }}"', "function", late=True),
    Refused('{namespace="x"} | line_format "{{ if .a }}"', "end", late=True),
    Refused('{namespace="x"} | label_format a="x", a="y"', "twice"),
    Refused('{namespace="x"} | label_format __error__="x"', "__error__"),
    Refused('{namespace="x"} | a > 1x', "number"),
    Refused('rate({namespace="x"})', "range"),
    Refused('count_over_time({namespace="x"}[0])', "range"),
    Refused('count_over_time({namespace="x"}[1])', "unit"),
    Refused('count_over_time({namespace="x"}[1m]) by (pod)', "grouping"),
    Refused('sum_over_time({namespace="x"}[1m])', "unwrap"),
    Refused('sum_over_time({namespace="x"} | unwrap a [1m]) by (pod)', "grouping"),
    Refused('count_over_time({namespace="x"} | unwrap a [1m])', "unwrap"),
    Refused('bytes_over_time({namespace="x"} | unwrap a [1m])', "unwrap"),
    Refused('rate_counter({namespace="x"}[1m])', "unwrap"),
    Refused('quantile_over_time({namespace="x"} | unwrap a [1m])', "parameter"),
    Refused('avg_over_time(0.5, {namespace="x"} | unwrap a [1m])', "parameter"),
    Refused('sum(2, count_over_time({namespace="x"}[1m]))', "parameter"),
    Refused('topk(count_over_time({namespace="x"}[1m]))', "parameter"),
    Refused('topk(0, count_over_time({namespace="x"}[1m]))', "parameter"),
    Refused('topk(1.5, count_over_time({namespace="x"}[1m]))', "parameter"),
    Refused('sum({namespace="x"})', "range"),
    Refused('nofunction({namespace="x"}[1m])', "function"),
    Refused('{namespace="x"} + 1', "log"),
    Refused('1 and count_over_time({namespace="x"}[1m])', "number"),
    Refused('count_over_time({namespace="x"}[1m]) or 1', "number"),
    Refused('count_over_time({namespace="x"}[1m]) > bool', "unexpected"),
    Refused('count_over_time({namespace="x"}[1m]) + on(pod group_left vector(1)', ")"),
    Refused('label_replace(vector(1), "a", "b", "c", "(")', "expression"),
    Refused('count_over_time({namespace="x"}[5m:1m])', "subquery"),
    Refused('count_over_time({namespace="x"}[1m] @ 0)', "@"),
    Refused('{namespace="x"} {namespace="y"}', "unexpected"),
    Refused('{namespace="x"} | unwrap a', "unwrap"),
)

# The sides do not match one to one.
FAILING: tuple[Case, ...] = (
    Failing(f"{_K} / on(pod) {_C}", "many-to-one", at=60),
    Failing(f"{_C} / on(pod) {_K}", "many-to-many", at=60),
    Failing(f"{_C} + on(pod) group_left {_K}", "many-to-many", at=60),
    Failing(f"{_C} * on() {_C}", "many-to-many", at=60),
)

CASES = AGGREGATIONS + ARITHMETIC + COMPARISONS + SETS + MATCHING + REPLACED + NUMBERS + REFUSED + FAILING
