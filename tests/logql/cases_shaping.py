"""What becomes of a record: label filters, formats, drop, keep, decolorize."""

from tests.logql.case import Case, Keeps, Labels, Lines, Parsed

_GATE = '{namespace="infra"} | logfmt'
_METER = '{namespace="meter",pod="m-0"} | logfmt'
_CART = '{namespace="shop",pod="cart-0"}'
_ALL = "m-0@0 m-0@15 m-0@30 m-0@45 m-0@75"
_FAILED = '{namespace="infra"} |= "query failed" | logfmt'

NUMBERS: tuple[Case, ...] = (
    Keeps(_METER + " | value > 4", "m-0@45 m-0@75"),
    Keeps(_METER + " | value >= 4", "m-0@30 m-0@45 m-0@75"),
    Keeps(_METER + " | value < 2", "m-0@0"),
    Keeps(_METER + " | value <= 2", "m-0@0 m-0@15"),
    Keeps(_METER + " | value == 8", "m-0@45"),
    Keeps(_METER + " | value = 8", "m-0@45"),
    Keeps(_METER + " | value != 8", "m-0@0 m-0@15 m-0@30 m-0@75"),
    Keeps(_METER + " | value > 1.5 | value < 8.5", "m-0@15 m-0@30 m-0@45"),
    Keeps(_METER + ' | value == 8.0 or kind="a"', "m-0@0 m-0@30 m-0@45 m-0@75"),
    Keeps('{pod="m-1"} | logfmt | value < 0', "m-1@60"),
    Keeps('{pod="m-1"} | logfmt | value > -31 | value < -29', "m-1@60"),
    # A label that is not there does not pass a number; one that is no number passes, with an error.
    Keeps(_METER + " | nothing > 0", ""),
    Keeps(_METER + " | nothing != 0", ""),
    Parsed('{pod="m-2"} |= "bad" | logfmt value | value > 5', ({"value": "bad", "__error__": "LabelFilterErr"},)),
    Keeps('{pod="m-2"} | logfmt | value > 5 | __error__=""', ""),
    Keeps('{pod="m-2"} | logfmt | value > 5', "m-2@0"),
    Keeps(_GATE + " | status >= 500", "gate-0@10"),
    Keeps('{pod="pay-0"} | json | amount > 15', "pay-0@15 pay-0@25 pay-0@35"),
    Keeps('{pod="pay-0"} | json | amount > 15 | __error__=""', "pay-0@15 pay-0@25"),
    Keeps('{pod="pay-0"} | json | took_ms > 7.5', "pay-0@5 pay-0@25"),
)

UNITS: tuple[Case, ...] = (
    Keeps(_METER + " | took > 200ms", "m-0@30 m-0@45"),
    Keeps(_METER + " | took >= 200ms", "m-0@15 m-0@30 m-0@45"),
    Keeps(_METER + " | took < 1ms", "m-0@75"),
    Keeps(_METER + " | took == 60s", "m-0@45"),
    Keeps(_METER + " | took = 1m", "m-0@45"),
    Keeps(_METER + " | took != 1m", "m-0@0 m-0@15 m-0@30 m-0@75"),
    Keeps(_METER + " | took > 0.9s", "m-0@30 m-0@45"),
    Keeps(_METER + " | took > 1m1s", ""),
    Keeps(_METER + " | took > 59s999ms", "m-0@45"),
    Keeps(_GATE + " | duration > 500ms", "gate-0@10 gate-0@20"),
    Keeps(_GATE + " | duration <= 300us", "gate-0@60"),
    Keeps(_GATE + " | duration > 10ms and duration < 1s", "gate-0@0 gate-0@20"),
    Keeps('{pod="cart-0"} | json | latency > 1s', "cart-0@20"),
    Keeps(_METER + " | size > 1000B", "m-0@15 m-0@30 m-0@75"),
    Keeps(_METER + " | size == 1KB", "m-0@0"),
    Keeps(_METER + " | size == 1KiB", "m-0@30"),
    Keeps(_METER + " | size >= 1KiB", "m-0@15 m-0@30 m-0@75"),
    Keeps(_METER + " | size < 1KB", "m-0@45"),
    Keeps(_METER + " | size > 2.5MB", "m-0@75"),
    Keeps(_METER + " | size != 500B", "m-0@0 m-0@15 m-0@30 m-0@75"),
    Keeps(_GATE + " | bytes > 1KB", "gate-0@0 gate-0@10"),
    Parsed('{pod="m-2"} |= "bad" | logfmt took | took > 1s', ({"took": "long", "__error__": "LabelFilterErr"},)),
    Parsed('{pod="m-2"} |= "bad" | logfmt size | size > 1KB', ({"size": "big", "__error__": "LabelFilterErr"},)),
)

TOGETHER: tuple[Case, ...] = (
    Keeps(_METER + ' | kind="a" | value > 1', "m-0@30 m-0@75"),
    Keeps(_METER + ' | kind="a", value > 1', "m-0@30 m-0@75"),
    Keeps(_METER + ' | kind="a" value > 1', "m-0@30 m-0@75"),
    Keeps(_METER + ' | kind="a" and value > 1', "m-0@30 m-0@75"),
    Keeps(_METER + ' | kind="b" or value > 8', "m-0@15 m-0@45 m-0@75"),
    Keeps(_METER + ' | (kind="b" or value > 8) and took < 1s', "m-0@15 m-0@75"),
    # and binds tighter than or.
    Keeps(_METER + ' | kind="b" or value > 8 and took < 1ms', "m-0@15 m-0@45 m-0@75"),
    Keeps(_METER + ' | kind="a" and value < 2 or kind="b" and value > 4', "m-0@0 m-0@45"),
    Keeps(_METER + ' | kind!="a"', "m-0@15 m-0@45"),
    Keeps(_METER + ' | kind=~"a|c"', "m-0@0 m-0@30 m-0@75"),
    Keeps(_METER + ' | kind=~"[a-z]"', _ALL),
    Keeps(_METER + ' | size=~".*KB"', "m-0@0 m-0@15"),
    Keeps(_METER + ' | size=~"K"', ""),
    Keeps(_METER + ' | size!~".*B"', ""),
    Keeps(_METER + ' | nothing=""', _ALL),
    Keeps(_METER + ' | nothing!=""', ""),
    Keeps(_METER + ' | nothing!="x"', _ALL),
    Keeps('{namespace="meter"} | pod="m-2"', "m-2@0 m-2@10"),
    Keeps('{namespace="web"} | stream="stderr" |= "warn"', "web-1@27"),
    Keeps('{namespace="web"} | pod=~"web-1|x" | stream!="stdout"', "web-1@26 web-1@27"),
)

ADDRESSES: tuple[Case, ...] = (
    Keeps('{pod="web-0"} | pattern "<ip> - <_>" | ip=ip("10.0.0.0/24")', "web-0@0 web-0@10 web-0@30 web-0@70"),
    Keeps('{pod="web-0"} | pattern "<ip> - <_>" | ip!=ip("10.0.0.0/24")', "web-0@20 web-0@40"),
    Keeps('{pod="web-0"} | pattern "<ip> - <_>" | ip=ip("192.168.4.1-192.168.4.9")', "web-0@20"),
    Keeps('{pod="web-0"} | pattern "<ip> - <_>" | ip=ip("2001:db8::1")', "web-0@40"),
    Keeps('{pod="web-0"} | nothing=ip("10.0.0.0/8")', ""),
    Keeps('{pod="web-0"} | nothing!=ip("10.0.0.0/8")', ""),
)

LINE_FORMAT: tuple[Case, ...] = (
    Lines(_FAILED + ' | line_format "{{.level}}: {{.msg}}"', ('error: query failed: "orders"',)),
    Lines(_FAILED + " | line_format `{{.level | upper}} {{.status}}`", ("ERROR 500",)),
    Lines(_FAILED + " | line_format `[{{.nothing}}]`", ("[]",)),
    Lines(_FAILED + " | line_format `plain`", ("plain",)),
    Lines(_FAILED + " | line_format ``", ("",)),
    Lines('{pod="edge-0"} |= "first" | line_format `<{{__line__}}>`', ("<first>",)),
    Lines('{pod="edge-0"} |= "first" | line_format `{{__line__ | upper}}` |= "FIRST"', ("FIRST",)),
    Lines('{pod="edge-0"} |= "first" | line_format `{{.pod}}/{{.container}}`', ("edge-0/app",)),
    Lines('{pod="edge-0"} |= "first" | line_format `{{.detected_level}}`', ("unknown",)),
    Lines(
        '{pod="edge-0"} |= "first" | line_format `{{ __timestamp__ | date "2006-01-02T15:04:05Z07:00" }}`',
        ("2024-10-04T12:00:00Z",),
    ),
    Lines('{pod="edge-0"} |= "earlier" | line_format `{{ __timestamp__ | unixEpoch }}`', ("1728043205",)),
    Lines('{pod="edge-0"} |= "earlier" | line_format `{{ __timestamp__ | unixEpochMillis }}`', ("1728043205000",)),
    Lines('{pod="edge-0"} |= "earlier" | line_format `{{ __timestamp__ | unixEpochNanos }}`', ("1728043205000000000",)),
    Lines(_FAILED + ' | line_format `{{ if eq .level "error" }}E{{ else }}-{{ end }}`', ("E",)),
    Lines(
        _FAILED + ' | line_format `{{ if eq .level "info" }}I{{ else if eq .status "500" }}5{{ else }}-{{ end }}`',
        ("5",),
    ),
    Lines(_FAILED + " | line_format `{{ if .nothing }}yes{{ else }}no{{ end }}`", ("no",)),
    Lines(_FAILED + " | line_format `{{ if and .level (not .nothing) }}both{{ end }}`", ("both",)),
    Lines(_FAILED + " | line_format `{{ if or .nothing .level }}one{{ end }}`", ("one",)),
    Lines(_FAILED + " | line_format `{{ with .err }}<{{ . }}>{{ end }}`", ("<timeout>",)),
    Lines(_FAILED + " | line_format `{{ $x := .err }}{{ $x }}{{ $x }}`", ("timeouttimeout",)),
    Lines(_FAILED + " | line_format `a {{- .err -}} b`", ("atimeoutb",)),
    Lines(_FAILED + " | line_format `{{/* nothing */}}x`", ("x",)),
    Lines(_FAILED + ' | line_format `{{ printf "%s=%q" "err" .err }}`', ('err="timeout"',)),
    Lines(_FAILED + ' | line_format `{{ printf "[%-8s|%8s]" .err .level }}`', ("[timeout |   error]",)),
    Lines(_FAILED + ' | line_format `{{ printf "%.3s" .err }}`', ("tim",)),
    Lines(_FAILED + ' | line_format `{{ .err | replace "time" "clock" | title }}`', ("Clockout",)),
    Lines(_FAILED + ' | line_format `{{ regexReplaceAll "(t)(i)" .err "${2}${1}" }}`', ("itmeout",)),
    Lines(_FAILED + ' | line_format `{{ regexReplaceAllLiteral "(t)(i)" .err "$1" }}`', ("$1meout",)),
    Lines(_FAILED + ' | line_format `{{ count "t" .err }}`', ("2",)),
    Lines(_FAILED + " | line_format `{{ trunc 4 .err }} {{ trunc -3 .err }}`", ("time out",)),
    Lines(_FAILED + " | line_format `{{ substr 1 3 .err }}`", ("im",)),
    Lines(
        _FAILED + ' | line_format `{{ contains "meo" .err }} {{ hasPrefix "time" .err }} {{ hasSuffix "x" .err }}`',
        ("true true false",),
    ),
    Lines(
        _FAILED + ' | line_format `{{ trimPrefix "time" .err }},{{ trimSuffix "out" .err }},{{ trimAll "t" .err }}`',
        ("out,time,imeou",),
    ),
    Lines(_FAILED + ' | line_format `[{{ trim "  x " }}]`', ("[x]",)),
    Lines(_FAILED + ' | line_format `{{ repeat 3 "ab" }}`', ("ababab",)),
    Lines(_FAILED + ' | line_format `{{ indent 2 "a" }}|{{ nindent 2 "a" }}`', ("  a|\n  a",)),
    Lines(
        _FAILED + " | line_format `[{{ alignLeft 5 .level }}][{{ alignLeft 3 .level }}][{{ alignRight 7 .level }}]`",
        ("[error][err][  error]",),
    ),
    Lines(_FAILED + ' | line_format `{{ lower "ÀB" }} {{ upper "àb" }}`', ("àb ÀB",)),
    Lines(_FAILED + ' | line_format `{{ ToUpper .err }} {{ ToLower "X" }}`', ("TIMEOUT x",)),
    Lines(_FAILED + ' | line_format `{{ default "-" .nothing }} {{ .err | default "-" }}`', ("- timeout",)),
    Lines(_FAILED + ' | line_format `{{ b64enc .err }} {{ b64dec "dGltZW91dA==" }}`', ("dGltZW91dA== timeout",)),
    Lines(_FAILED + ' | line_format `{{ urlencode "a b/c" }} {{ urldecode "a+b%2Fc" }}`', ("a+b%2Fc a b/c",)),
    Lines(_FAILED + ' | line_format `{{ .duration | duration }} {{ duration_seconds "1m" }}`', ("2 60",)),
    Lines(_FAILED + ' | line_format `{{ bytes "2KB" }}`', ("2000",)),
    Lines(_FAILED + " | line_format `{{ len .err }}`", ("7",)),
    Lines(
        _FAILED + ' | line_format `{{ eq .err "timeout" }} {{ ne .err "x" }} {{ lt 1 2 }} {{ ge 2 3 }}`',
        ("true true true false",),
    ),
    # The line stays as it is where the template fails.
    Parsed(
        _FAILED + " | keep err | line_format `{{ div 1 0 }}`", ({"err": "timeout", "__error__": "TemplateFormatErr"},)
    ),
    Lines('{pod="edge-0"} |= "first" | line_format `{{ .pod | duration }}`', ("first",)),
    # fromJson.
    Lines(
        _CART + ' |= "placed" | json all="items" | line_format `{{ range $i := fromJson .all }}{{ $i.sku }};{{ end }}`',
        ("a-1;b-2;",),
    ),
    Lines(_CART + ' |= "placed" | line_format `{{ (fromJson __line__).user.name }}`', ("Ann",)),
    # What follows sees the new line.
    Keeps('{pod="edge-0"} |= "first" | line_format "x" |= "first"', ""),
    Lines('{pod="edge-0"} |= "first" | line_format `{"a":1}` | json | line_format `{{.a}}`', ("1",)),
)

ARITHMETIC: tuple[Case, ...] = (
    Lines(_FAILED + " | line_format `{{ add 1 2 3 }} {{ sub 5 2 }} {{ mul 2 3 4 }}`", ("6 3 24",)),
    Lines(_FAILED + " | line_format `{{ div 7 2 }} {{ mod 7 2 }} {{ div -7 2 }} {{ mod -7 2 }}`", ("3 1 -3 -1",)),
    Lines(_FAILED + " | line_format `{{ add .status 1 }}`", ("501",)),
    Lines(_FAILED + " | line_format `{{ addf 0.1 0.2 }} {{ subf 1 0.25 }}`", ("0.3 0.75",)),
    Lines(_FAILED + " | line_format `{{ mulf 1.5 2 }} {{ divf 10 2 4 }}`", ("3 1.25",)),
    Lines(
        _FAILED + " | line_format `{{ max 1 5 3 }} {{ min 4 2 3 }} {{ maxf 1.5 2.5 }} {{ minf 1.5 2.5 }}`",
        ("5 2 2.5 1.5",),
    ),
    Lines(_FAILED + " | line_format `{{ ceil 1.2 }} {{ floor 1.8 }} {{ round 123.555555 3 }}`", ("2 1 123.556",)),
    Lines(_FAILED + ' | line_format `{{ int "12" }} {{ float64 "3.5" }}`', ("12 3.5",)),
)

LABEL_FORMAT: tuple[Case, ...] = (
    Parsed(_FAILED + " | keep err | label_format why=err", ({"why": "timeout"},)),
    Parsed(_FAILED + ' | keep err | label_format why="{{.err}}!"', ({"err": "timeout", "why": "timeout!"},)),
    Parsed(
        _FAILED + ' | keep err, status | label_format why=err, code="c{{.status}}"',
        ({"status": "500", "why": "timeout", "code": "c500"},),
    ),
    Parsed(_FAILED + ' | keep err | label_format err="x"', ({"err": "x"},)),
    # A label that is not there is not renamed.
    Parsed(_FAILED + " | keep err | label_format why=nothing", ({"err": "timeout"},)),
    Parsed(_FAILED + ' | keep err | label_format why="{{.nothing}}"', ({"err": "timeout", "why": ""},)),
    Parsed('{pod="edge-0"} |= "first" | label_format pod="p"', ({"pod": "p"},)),
    Parsed('{pod="edge-0"} |= "first" | label_format length="{{ len __line__ }}"', ({"length": "5"},)),
    Parsed(
        '{pod="edge-0"} |= "first" | label_format name=pod | line_format "{{.name}}{{.pod}}" | line_format `{{.name}}`',
        ({"name": "edge-0"},),
    ),
    Lines('{pod="edge-0"} |= "first" | label_format name=pod | line_format `{{.name}}[{{.pod}}]`', ("edge-0[]",)),
    Keeps(_METER + ' | label_format big="{{ if gt (len .value) 1 }}yes{{ else }}no{{ end }}" | big="yes"', "m-0@75"),
    Keeps(_METER + " | label_format double=`{{ mul .value 2 }}` | double > 10", "m-0@45 m-0@75"),
    Parsed(
        _FAILED + ' | keep err | label_format a="{{ div 1 0 }}", b="x"',
        ({"err": "timeout", "b": "x", "__error__": "TemplateFormatErr"},),
    ),
)

_OWN = {
    "cluster": "test",
    "node": "node-1",
    "namespace": "text",
    "pod": "edge-0",
    "uid": "uid-edge-0",
    "container": "app",
    "stream": "stdout",
    "detected_level": "unknown",
}


def _but(*names: str) -> dict[str, str]:
    return {name: value for name, value in _OWN.items() if name not in names}


_FIRST = '{pod="edge-0"} |= "first"'

DROP_AND_KEEP: tuple[Case, ...] = (
    Labels(_FIRST + " | drop pod", (_but("pod"),)),
    Labels(_FIRST + " | drop pod, uid,nothing", (_but("pod", "uid"),)),
    Labels(_FIRST + ' | drop pod="edge-0"', (_but("pod"),)),
    Labels(_FIRST + ' | drop pod="other"', (_OWN,)),
    Labels(_FIRST + ' | drop pod=~"edge.*", stream!="stderr"', (_but("pod", "stream"),)),
    Labels(_FIRST + ' | drop pod!~"web.*"', (_but("pod"),)),
    Labels(_FIRST + " | drop detected_level", (_but("detected_level"),)),
    Labels(_FIRST + " | keep pod", ({"pod": "edge-0"},)),
    Labels(_FIRST + " | keep pod, detected_level, nothing", ({"pod": "edge-0", "detected_level": "unknown"},)),
    Labels(_FIRST + ' | keep pod="edge-0"', ({"pod": "edge-0"},)),
    Labels(_FIRST + ' | keep pod="other"', ({},)),
    Labels(_FIRST + ' | keep pod=~".*0", stream', ({"pod": "edge-0", "stream": "stdout"},)),
    Labels(_FIRST + " | json | keep pod | drop __error_details__", ({"pod": "edge-0", "__error__": "JSONParserErr"},)),
    Labels(_FIRST + " | json | keep pod | drop __error__, __error_details__", ({"pod": "edge-0"},)),
    Labels(_FIRST + ' | json | keep pod | drop __error__="JSONParserErr", __error_details__', ({"pod": "edge-0"},)),
    Labels(
        _FIRST + ' | json | keep pod | drop __error__="other", __error_details__',
        ({"pod": "edge-0", "__error__": "JSONParserErr"},),
    ),
    Keeps(_FIRST + ' | json | drop __error__ | __error__=""', "edge-0@0b"),
    Keeps(_METER + ' | drop kind | kind="a"', ""),
    # The stream's own label is dropped, but a parser's of that name is still another one.
    Labels(
        '{pod="edge-0"} |= "first" | drop pod | regexp `(?P<pod>fir)` | keep pod, pod_extracted',
        ({"pod_extracted": "fir"},),
    ),
)

DECOLORIZE: tuple[Case, ...] = (
    Lines('{pod="ansi-0"} | decolorize', ("ERROR disk full", "plain", "warn: hot")),
    Lines('{pod="ansi-0"} | decolorize |= "ERROR disk"', ("ERROR disk full",)),
    Lines('{pod="ansi-0"} |= "ERROR disk"', ()),
    Lines('{pod="ansi-0"} | decolorize | logfmt --keep-empty | line_format `{{.plain}}{{.disk}}|`', ("|", "|", "|")),
    Lines('{pod="edge-0"} |= "tab" | decolorize', ("tab\tseparated",)),
)

CASES = NUMBERS + UNITS + TOGETHER + ADDRESSES + LINE_FORMAT + ARITHMETIC + LABEL_FORMAT + DROP_AND_KEEP + DECOLORIZE
