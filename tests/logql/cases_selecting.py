"""Which records: selectors, line filters, order and limit."""

from tests.logql.case import Case, Keeps, Lines

_WEB = "web-0@0 web-1@5 web-0@10 web-1@15 web-0@20 web-1@25 web-1@26 web-1@27 web-0@30 web-0@40 web-0@70"
_EDGE = "edge-0@0 edge-0@0b edge-0@0c edge-0@5 edge-0@10 edge-0@10b edge-0@20 edge-0@20b edge-0@30 edge-0@30b"

SELECTORS: tuple[Case, ...] = (
    Keeps('{namespace="web"}', _WEB),
    Keeps('{namespace="nowhere"}', ""),
    Keeps('{nolabel="x"}', ""),
    Keeps('{namespace="web",pod="web-1"}', "web-1@5 web-1@15 web-1@25 web-1@26 web-1@27"),
    Keeps('{ namespace = "web" , pod = "web-1" , stream = "stderr" }', "web-1@26 web-1@27"),
    Keeps('{namespace="web",pod!="web-0"}', "web-1@5 web-1@15 web-1@25 web-1@26 web-1@27"),
    Keeps('{namespace="web",stream!="stdout"}', "web-1@26 web-1@27"),
    Keeps('{pod=~"web-.*",stream="stderr"}', "web-1@26 web-1@27"),
    Keeps('{pod=~"web-[01]",container="nginx",stream=~"std(out|err)"}', _WEB),
    # Anchored at both ends.
    Keeps('{pod=~"web"}', ""),
    Keeps('{pod=~"eb-1"}', ""),
    Keeps('{pod=~".*-1",namespace="web"}', "web-1@5 web-1@15 web-1@25 web-1@26 web-1@27"),
    Keeps('{pod=~"WEB-1"}', ""),
    Keeps('{pod=~"(?i)WEB-1",stream="stderr"}', "web-1@26 web-1@27"),
    Keeps('{pod=~"pay-0|sched-0",stream="stderr"}', "sched-0@0 sched-0@10 sched-0@20 sched-0@30"),
    # An alternative is anchored as a whole.
    Keeps('{pod=~"web-0x|sched-0"}', "sched-0@0 sched-0@10 sched-0@20 sched-0@30"),
    Keeps('{namespace="web",pod!~"web-0|nothing"}', "web-1@5 web-1@15 web-1@25 web-1@26 web-1@27"),
    Keeps('{namespace="web",pod!~".*"}', ""),
    # A label that is not there is empty.
    Keeps('{namespace="pack",nolabel=""}', "pk-0@0 pk-0@10 pk-0@20"),
    Keeps('{namespace="pack",nolabel!=""}', ""),
    Keeps('{namespace="pack",nolabel=~".*"}', "pk-0@0 pk-0@10 pk-0@20"),
    Keeps('{namespace="pack",nolabel=~".+"}', ""),
    Keeps('{namespace="pack",nolabel!~".+"}', "pk-0@0 pk-0@10 pk-0@20"),
    Keeps('{namespace="pack",nolabel!="x"}', "pk-0@0 pk-0@10 pk-0@20"),
    # The same label twice: both hold.
    Keeps('{namespace="web",pod=~"web-.+",pod!="web-0",stream="stderr"}', "web-1@26 web-1@27"),
    Keeps('{namespace="web",namespace="shop"}', ""),
    Keeps('{cluster="test",node="node-1",uid="uid-pk-0"}', "pk-0@0 pk-0@10 pk-0@20"),
    Keeps("{namespace=`pack`}", "pk-0@0 pk-0@10 pk-0@20"),
    Keeps("{namespace=~`p\\w+k`}", "pk-0@0 pk-0@10 pk-0@20"),
    Keeps('{namespace=~"p\\\\w+k"}', "pk-0@0 pk-0@10 pk-0@20"),
    Keeps('{namespace="\\x70ack"}', "pk-0@0 pk-0@10 pk-0@20"),
    Keeps('{namespace="web"} # a comment\n |= "POST" # another', "web-0@20"),
    # The level is a label of the record, not of the stream.
    Keeps('{namespace="web",detected_level="error"}', ""),
)

CONTAINS: tuple[Case, ...] = (
    Keeps('{namespace="web"} |= "POST"', "web-0@20"),
    Keeps('{namespace="web"} |= "post"', ""),
    Keeps('{namespace="web"} |= "OS"', "web-0@20"),
    Keeps('{namespace="web"} |= "T /api"', "web-0@10 web-0@20"),
    Keeps('{namespace="web"} |= "E /api"', "web-0@70"),
    Keeps('{namespace="web",pod="web-0"} != "GET"', "web-0@20 web-0@70"),
    Keeps('{namespace="web",pod="web-0"} |= "GET" != "200"', "web-0@30"),
    Keeps('{namespace="web"} |= "GET" |= "/index" |= "curl"', "web-0@0"),
    Keeps('{namespace="web"} |= "POST" or "DELETE"', "web-0@20 web-0@70"),
    Keeps('{namespace="web"} |= "POST" or "DELETE" or "temporarily"', "web-0@20 web-1@27 web-0@70"),
    Keeps('{namespace="web"} != "GET" or "POST"', "web-1@26 web-1@27 web-0@70"),
    Keeps('{namespace="web"} |= "POST" or "DELETE" |= "204"', "web-0@70"),
    Keeps('{namespace="web"} |= `"GET /missing`', "web-0@30"),
    Keeps('{namespace="web"} |= "\\"GET /missing"', "web-0@30"),
    # What SQL's LIKE would take for something else.
    Keeps('{namespace="web"} |= "%"', ""),
    Keeps('{namespace="web"} |= "_"', ""),
    Keeps('{namespace="text",pod="edge-0"} |= "\\\\"', "edge-0@30b"),
    Keeps('{namespace="text",pod="edge-0"} |= `\\`', "edge-0@30b"),
    Keeps('{namespace="text",pod="edge-0"} |= "`ticked`"', "edge-0@30b"),
    Keeps('{namespace="text",pod="edge-0"} |= "tab\\tsep"', "edge-0@30"),
    Keeps('{namespace="text",pod="edge-0"} |= "\'"', ""),
    Keeps('{namespace="web"} |= "*7"', "web-1@26"),
    Keeps('{namespace="web"} |= "(111:"', "web-1@26"),
    Keeps('{namespace="web"} |= "[error]"', "web-1@26"),
    # Empty: every line has it.
    Keeps('{namespace="text",pod="edge-0"} |= ""', _EDGE),
    Keeps('{namespace="text",pod="edge-0"} != ""', ""),
    Keeps('{namespace="text",pod="edge-0"} |= " "', "edge-0@20 edge-0@30b"),
    # Lines of a trace are one record.
    Keeps('{namespace="java"} |= "SQLException"', "order-0@10"),
    Keeps('{namespace="java"} |= "no stock\\n\\tat"', "order-0@10"),
    Keeps('{namespace="java"} != "Exception"', "order-0@0 order-0@20"),
    Keeps('{namespace="text"} |= "Größe"', "uni-0@0"),
    Keeps('{namespace="text"} |= "größe"', ""),
    Keeps('{namespace="text"} |= "ログ"', "uni-0@10"),
    Keeps('{namespace="text"} |= "😀"', "uni-0@20"),
    Keeps('{namespace="text"} |= "\\u00b5m"', "uni-0@0"),
    Keeps('{namespace="text"} |= "bytes"', "uni-0@40"),
    Keeps('{namespace="text"} |= "\\u001b[31m"', "ansi-0@0"),
    Keeps('{namespace="kube"} |= "*v1.Node"', "sched-0@10"),
)

MATCHES: tuple[Case, ...] = (
    Keeps('{namespace="web"} |~ "POST|DELETE"', "web-0@20 web-0@70"),
    Keeps('{namespace="web"} |~ "(?i)post"', "web-0@20"),
    Keeps('{namespace="web"} |~ "\\" 5\\\\d\\\\d "', "web-0@20 web-1@25"),
    Keeps('{namespace="web"} |~ `" 5\\d\\d `', "web-0@20 web-1@25"),
    Keeps('{namespace="web"} |~ "^10\\\\.0\\\\.0\\\\.2"', "web-0@10 web-0@70"),
    Keeps('{namespace="web"} |~ "disabled$"', "web-1@27"),
    Keeps('{namespace="web"} |~ "^disabled"', ""),
    Keeps('{namespace="web"} !~ "GET|POST"', "web-1@26 web-1@27 web-0@70"),
    Keeps('{namespace="web"} |~ "POST" or "DELETE"', "web-0@20 web-0@70"),
    Keeps('{namespace="web"} !~ "GET" or "P.ST"', "web-1@26 web-1@27 web-0@70"),
    Keeps('{namespace="web"} |~ "GET.*404"', "web-0@30"),
    Keeps('{namespace="web"} |~ "\\\\b97\\\\b"', "web-0@20"),
    Keeps('{namespace="web"} |~ "\\\\bart\\\\b"', ""),
    Keeps('{namespace="web"} |~ "curl" |~ "404"', "web-0@30"),
    Keeps('{namespace="web"} |~ ""', _WEB),
    Keeps('{namespace="web"} !~ ""', ""),
    Keeps('{namespace="text",pod="edge-0"} |~ "^$"', "edge-0@0 edge-0@20b"),
    Keeps('{namespace="text",pod="edge-0"} !~ "^$"', _EDGE.replace("edge-0@0 ", "").replace(" edge-0@20b", "")),
    Keeps('{namespace="text",pod="edge-0"} |~ "^\\\\s+$"', "edge-0@20"),
    Keeps('{namespace="text",pod="edge-0"} |~ "."', _EDGE.replace("edge-0@0 ", "").replace(" edge-0@20b", "")),
    Keeps('{namespace="text",pod="edge-0"} |~ ".*"', _EDGE),
    # RE2: a dot is any character but the end of a line, unless (?s) says otherwise.
    Keeps('{namespace="java"} |~ "failed.java"', ""),
    Keeps('{namespace="java"} |~ "(?s)failed.java"', "order-0@10"),
    Keeps('{namespace="java"} |~ "failed\\\\njava"', "order-0@10"),
    Keeps('{namespace="java"} |~ "Illegal.*SQL"', ""),
    Keeps('{namespace="java"} |~ "(?s)Illegal.*SQL"', "order-0@10"),
    Keeps('{namespace="java"} |~ "^Caused by"', ""),
    Keeps('{namespace="java"} |~ "(?m)^Caused by"', "order-0@10"),
    Keeps('{namespace="java"} |~ "failed$"', ""),
    Keeps('{namespace="java"} |~ "(?m)failed$"', "order-0@10"),
    Keeps('{namespace="java"} |~ "\\\\(Order\\\\.java:\\\\d+\\\\)"', "order-0@10"),
    Keeps('{namespace="text"} |~ "(?i)GRÖSSE"', ""),
    Keeps('{namespace="text"} |~ "(?i)größe"', "uni-0@0"),
    Keeps('{namespace="text"} |~ "(?i)привет"', "uni-0@30"),
    Keeps('{namespace="text"} |~ "\\\\p{Han}"', "uni-0@10"),
    Keeps('{namespace="text"} |~ "\\\\p{Cyrillic}+ \\\\p{Ll}+"', "uni-0@30"),
    Keeps('{namespace="text"} |~ "caf. "', "uni-0@0"),
    Keeps('{namespace="text"} |~ "[[:cntrl:]]\\\\[3"', "ansi-0@0"),
    Keeps('{namespace="kube"} |~ "^[EF]\\\\d{4}"', "sched-0@20 sched-0@30"),
)

PATTERNS: tuple[Case, ...] = (
    Keeps('{namespace="web"} |> "<_> \\"POST <_>"', "web-0@20"),
    Keeps('{namespace="web"} |> `<_> "GET <_>" 404 <_>`', "web-0@30"),
    Keeps('{namespace="web",stream="stderr"} !> "<_>connect()<_>"', "web-1@27"),
    Keeps('{namespace="web",stream="stderr"} |> "<_>connect()<_>" or "<_>disabled"', "web-1@26 web-1@27"),
    Keeps('{namespace="web",stream="stderr"} !> "<_>connect()<_>" or "<_>disabled"', ""),
    # Nothing may stand after a literal at the end; something must stand for <_>.
    Keeps('{namespace="web",stream="stderr"} |> "<_>temporarily"', ""),
    Keeps('{namespace="web",stream="stderr"} |> "<_>disabled"', "web-1@27"),
    Keeps('{namespace="web",stream="stderr"} |> "<_>disabled<_>"', ""),
    Keeps('{namespace="text",pod="edge-0"} |> "first"', "edge-0@0b"),
    Keeps('{namespace="text",pod="edge-0"} |> "fir"', ""),
    Keeps('{namespace="text",pod="edge-0"} |> "<_>"', _EDGE.replace("edge-0@0 ", "").replace(" edge-0@20b", "")),
    Keeps('{namespace="text",pod="edge-0"} |> "<_>r<_>"', "edge-0@0b edge-0@5 edge-0@30"),
    # Each literal is looked for once, where it first is; the first of them need not be the beginning.
    Keeps('{namespace="text",pod="edge-0"} |> "e<_>ier"', "edge-0@5"),
    Keeps('{namespace="text",pod="edge-0"} |> "e<_>r"', ""),
    Keeps('{namespace="text",pod="edge-0"} |> "con<_>"', "edge-0@0c"),
    Keeps('{namespace="text",pod="edge-0"} |> ""', "edge-0@0 edge-0@20b"),
    Keeps('{namespace="java"} |> "<_>IllegalState<_>timeout<_>"', "order-0@10"),
)

ADDRESSES: tuple[Case, ...] = (
    Keeps('{namespace="web"} |= ip("10.0.0.2")', "web-0@10 web-0@70"),
    Keeps('{namespace="web",pod="web-0"} != ip("10.0.0.2")', "web-0@0 web-0@20 web-0@30 web-0@40"),
    Keeps('{namespace="web",pod="web-0"} |= ip("10.0.0.0/24")', "web-0@0 web-0@10 web-0@30 web-0@70"),
    Keeps('{namespace="web",stream="stdout"} |= ip("10.0.0.0/8") |= "503"', "web-1@25"),
    Keeps('{namespace="web"} |= ip("192.168.4.5-192.168.4.20")', "web-0@20"),
    Keeps('{namespace="web"} |= ip("192.168.4.6-192.168.4.20")', ""),
    Keeps('{namespace="web"} |= ip("2001:db8::/32")', "web-0@40"),
    Keeps('{namespace="web"} |= ip("2001:db8::1")', "web-0@40"),
    Keeps('{namespace="web"} |= ip("10.0.0.1") or "POST"', "web-0@0 web-0@20 web-0@30"),
    Keeps('{namespace="web"} |= ip("10.0.0")'.replace("10.0.0", "10.0.0.3"), ""),
)

ORDER: tuple[Case, ...] = (
    Lines(
        '{namespace="text",pod="edge-0"}',
        (
            "",
            "first",
            "second",
            "earlier",
            "later",
            "again",
            "   ",
            "",
            "tab\tseparated",
            'a "quoted" `ticked` \\ back',
        ),
    ),
    Lines('{namespace="text",pod="edge-0"}', ("", "first"), limit=2),
    Lines('{namespace="text",pod="edge-0"}', ("tab\tseparated", 'a "quoted" `ticked` \\ back'), limit=2, backward=True),
    Lines('{namespace="text",pod="edge-0"} |~ "r"', ("first", "earlier", "later"), limit=3),
    Lines('{namespace="text",pod="edge-0"} |~ "r"', ("earlier", "later", "tab\tseparated"), limit=3, backward=True),
    # From start, before end.
    Lines('{namespace="text",pod="edge-0"}', ("earlier",), start=5, end=10),
    Lines('{namespace="text",pod="edge-0"}', ("earlier", "later", "again"), start=1, end=10.000000001),
    Lines('{namespace="text",pod="edge-0"}', (), start=11, end=20),
    Lines('{namespace="text",pod="uni-0"} |= "broken"', ("broken \ufffd bytes",)),
    Lines('{namespace="java"} |= "retry"', ("2024-10-04 12:00:20.000  WARN 1 --- [exec-2] c.s.Order : retry 1 of 3",)),
)

CASES = SELECTORS + CONTAINS + MATCHES + PATTERNS + ADDRESSES + ORDER
