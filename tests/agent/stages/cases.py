"""Templates, layouts, and pipelines with lines to send through them: to be held to what promtail makes of them."""

import json
from collections.abc import Iterator

VALUES = ["abc", "  Some Value ", "", "5", "-3", "warn", "a,b,c", "1.5", "été"]

TEMPLATES = [
    "{{ .Value | ToUpper }}",
    "{{ .v }}-{{ .app }}-{{.none}}",
    '{{ Replace .Value "a" "b" 1 }}',
    '{{ Trim .Value " " }}|',
    '{{TrimLeft .Value "ab"}}',
    '{{TrimRight .Value "c"}}',
    '{{TrimPrefix .Value "a"}}',
    '{{TrimSuffix .Value "c"}}',
    "{{TrimSpace .Value}}",
    '{{ regexReplaceAll "(a)(b)?" .Value "<${1}|$2>" }}',
    '{{ regexReplaceAll "[a-c]*" .Value "-" }}',
    '{{ regexReplaceAllLiteral "b*" .Value "${1}" }}',
    '{{ regexReplaceAll "a" .Value "$1x ${x $$ $" }}',
    '{{ Hash .Value "s" }}',
    '{{ Sha2Hash .Value "s" }}',
    '{{ if eq .Value "abc" }}A{{ else if eq .Value "5" }}B{{ else }}C{{ end }}',
    '{{ if and .Value (ne .Value "5") }}x{{end}}',
    "{{ with .Value }}[{{.}}]{{else}}none{{end}}",
    '{{ range splitList "," .Value }}{{.}};{{end}}',
    '{{ range $i,$e := splitList "," .Value }}{{$i}}={{$e}} {{end}}',
    '{{ $x := .Value }}{{ if true }}{{ $x = "in" }}{{ $y := 1 }}{{end}}{{ $x }}',
    "{{- .Value -}}   x",
    "a {{- /* c */ -}} b",
    '{{ printf "%s|%5s|%-5s|%q|%v|%d" .Value .Value .Value .Value .Value .Value }}',
    '{{ printf "%d %05d %x %t %.2f %e %g" 5 42 255 true 1.5 1.5 1.5 }}',
    "{{ len .Value }}",
    '{{ index (splitList "," .Value) 0 }}',
    '{{ index (splitList "," .Value) 2 }}',
    "{{ slice .Value 0 1 }}",
    '{{ print 1 2 "a" 3 .Value }}',
    "{{ println .Value 1 }}",
    '{{ html "<a&\'\\"b>" }}',
    '{{ js "a\'<b>" }}',
    '{{ urlquery "a b&c/é" }}',
    '{{ lt .Value "b" }}',
    "{{ gt 5 3 }} {{ le 1 1 }} {{ ge 1 2 }}",
    "{{ eq 1 1.0 }}",
    "{{ eq .Value 5 }}",
    '{{ eq .Value "abc" "5" }}',
    "{{ not .Value }}",
    '{{ or .none "d" }}',
    '{{ default "dd" .Value }}',
    '{{ .Value | default "x" }}',
    "{{ empty .Value }}",
    '{{ coalesce "" .Value "z" }}',
    '{{ ternary "y" "n" (eq .Value "abc") }}',
    '{{ upper .Value }} {{ lower "ABC" }} {{ title "hello wor-ld it\'s x_y" }} {{untitle "Hello World"}}',
    "{{ trunc 2 .Value }}",
    "{{ trunc -2 .Value }}",
    "{{ substr 0 2 .Value }}",
    "{{ substr 1 -1 .Value }}",
    "{{ repeat 2 .Value }}",
    '{{ contains "b" .Value }}{{hasPrefix "a" .Value}}{{hasSuffix "c" .Value}}',
    "{{ quote .Value 5 }} {{ squote .Value }}",
    '{{ cat .Value 1 nil "x" }}',
    '{{ indent 2 "a\\nb" }}',
    '{{ nindent 2 "a\\nb" }}',
    '{{ replace "a" "X" .Value }}',
    "{{ sha1sum .Value }} {{ sha256sum .Value }} {{ adler32sum .Value }}",
    '{{ b64enc .Value }} {{ b64dec "YWJj" }} {{b64dec "!!"}} {{ b32enc .Value }}',
    '{{ atoi .Value }} {{ int .Value }} {{ int64 "0x10" }} {{ float64 .Value }}',
    "{{ add 1 2 .Value }} {{ sub 5 .Value }} {{ mul 2 3 4 }} {{ div 7 -2 }} {{ mod -7 3 }}",
    "{{ max 1 .Value 3 }} {{ min 1 .Value }} {{ add1 .Value }}",
    "{{ addf 1.5 2 }} {{ subf 5 1.5 }} {{ mulf 2 1.5 }} {{ divf 7 2 }}",
    "{{ ceil 1.2 }} {{ floor -1.2 }} {{ round 1.2555 2 }} {{round 2.5 0}}",
    '{{ join "-" (splitList "," .Value) }}',
    '{{ list 1 "a" .Value }}',
    '{{ dict "a" 1 "b" .Value }}',
    '{{ toJson (dict "a" "<x>" "b" 1) }}',
    '{{ (fromJson "{\\"a\\":{\\"b\\":1.5}}").a.b }}',
    '{{ get (dict "a" "b") "a" }} {{ hasKey (dict "a" 1) "b" }}',
    "{{ first (list 1 2) }}{{ last (list 1 2) }}{{ rest (list 1 2 3)}}{{initial (list 1 2)}}",
    "{{ uniq (list 1 1 2) }} {{ has 1 (list 1) }} {{ reverse (list 1 2) }}",
    "{{ append (list 1) 2}} {{ prepend (list 1) 0 }}",
    '{{ regexMatch "^a" .Value }} {{ regexFind "[a-z]+" .Value }} {{ regexFindAll "[a-z]" .Value 2 }}',
    '{{ regexSplit "," .Value -1 }} {{ regexSplit "b*" .Value 2 }} {{ regexQuoteMeta "a.b[" }}',
    '{{ base "/a/b.c" }} {{ dir "/a/b" }} {{ ext "a.tar.gz" }} {{ clean "/a//../b/" }}',
    '{{ isAbs "/a" }} {{ base "" }} {{ dir "a" }}',
    '{{ fail "x" }}',
    "{{ ToLower .none }}",
    "{{ ToLower 5 }}",
    "{{ .Value.x }}",
    "{{ .none.x }}",
    '{{ nospace " a b " }}',
    '{{ split "," .Value }} {{ (split "," .Value)._0 }}',
    '{{ keys (dict "a" 1) }}',
    '{{ sortAlpha (list "b" "a") }}',
    "{{ until 3 }}",
    "{{ range 3 }}{{.}}{{end}}",
    "{{ range $i, $c := until 3 }}{{ if eq $i 1 }}{{continue}}{{end}}{{$i}}{{end}}",
    "{{ range until 9 }}{{ if eq . 3 }}{{break}}{{end}}{{.}}{{end}}",
    "{{ 1e3 }} {{ 0x1F }} {{ 1_000 }} {{ 'a' }} {{ true }} {{ 1.0 }} {{ 1e21 }} {{ 1e-7 }}",
    "{{ toString 5 }} {{ toString nil }}",
    "{{ all 1 0 }} {{ any 0 1 }}",
    '{{ .Value | printf "%s-%s" "x" }}',
    '{{ (ToUpper .Value) | ToLower | printf "%s" }}',
    "{{ if .Value }}{{ else with .none }}x{{ else }}y{{ end }}",
    "{{ biggest 1 5 }}",
    "{{ print nil }}{{ print .none }}",
    '{{ printf "%v %s" nil .none }}',
    "{{ `raw\\n` }}",
    '{{ "\\u00e9\\t\\x41" }}',
    "{{ and 1 0 }} {{ or 0 0 }} {{ and 1 2 }}",
    '{{ len (list 1 2) }} {{ index (dict "a" 1) "a" }}',
    '{{ index (dict "a" 1) "b" }}',
    "{{ lt 1 2.5 }}",
    "{{ eq nil nil }}",
    '{{ trimAll "a" .Value }}{{ trimPrefix "a" .Value}}{{ trimSuffix "c" .Value}}{{ trim .Value }}',
    '{{ Replace .Value "" "-" -1 }}',
    '{{ Replace .Value "" "-" 2 }}',
    "{{ .Entry }}",
    "{{ $.Value }}",
    "{{ $ }}",
    "{{ . }}",
    "{{ $x := 5 }}",
]

LAYOUTS = [
    "2006-01-02 15:04:05",
    "Mon Jan _2 15:04:05 2006",
    "02/Jan/2006:15:04:05 -0700",
    "Jan 2, 2006 at 3:04pm (MST)",
    "2006-01-02T15:04:05.000Z07:00",
    "2006-01-02T15:04:05,999",
    "20060102150405",
    "06-1-2 3:4:5 PM",
    "Monday, 02-Jan-06 15:04:05 MST",
    "2006-002 15:04",
    "2006 __2",
    "January 2 2006",
    "15:04:05.000000 2006",
    "2006-01-02 15:04:05 -07",
    "2006-01-02 15:04:05Z0700",
    "2006-01-02 15:04:05 -07:00:00",
    "2006-01-02  15:04",
    "2006_01_02",
    "_2006",
    "03:04:05 2006 pm",
    "2006-01-02 15:04:05.999 MST",
    "Z07 2006",
    "2006-01-02T15:04:05.999999999Z07:00",
]
TIMES = [
    "2019-07-22 20:29:32",
    "2019-07-22 20:29:32.5",
    "2019-07-22 20:29:32,123456789012",
    "Mon Jan  2 15:04:05 2006",
    "mon jan 12 15:04:05 2006",
    "02/Jan/2006:15:04:05 -0700",
    "2/Jan/2006:15:04:05 +0130",
    "Jan 2, 2006 at 3:04pm (MST)",
    "Feb 29, 2023 at 3:04pm (EST)",
    "Feb 29, 2024 at 12:04am (GMT+3)",
    "2006-01-02T15:04:05.123Z",
    "2006-01-02T15:04:05.12Z",
    "2006-01-02T15:04:05.123+02:00",
    "2006-01-02T15:04:05,5",
    "2006-01-02T15:04:05",
    "20190722202932",
    "06-1-2 3:4:5 PM",
    "99-12-31 12:00:00 AM",
    "68-12-31 11:00:00 PM",
    "Monday, 02-Jan-06 15:04:05 UTC",
    "Tuesday, 02-Jan-70 15:04:05 CEST",
    "2024-366 10:00",
    "2023-366 10:00",
    "2024-060 10:00",
    "2024   5",
    "2024 366",
    "2024 12",
    "january 2 2020",
    "May 2 2020",
    "10:11:12.123456 2020",
    "10:11:12.12345 2020",
    "2019-07-22 20:29:32 +05",
    "2019-07-22 20:29:32Z",
    "2019-07-22 20:29:32-0330",
    "2019-07-22 20:29:32 -01:30:15",
    "2019-07-22 20:29",
    "2019-07-22    20:29",
    "2019-07-2220:29",
    "2019_07_22",
    "_2019",
    "12:30:00 2020 am",
    "13:30:00 2020 am",
    "2019-07-22 20:29:32.123 CEST",
    "2019-07-22 20:29:32 EDT",
    "Z 2020",
    "+07 2020",
    "2019-02-30 00:00:00",
    "0000-01-01 00:00:00",
    "9999-12-31 23:59:59",
    "2019-03-31 02:30:00",
    "2019-10-27 02:30:00",
    "2019-11-03 01:30:00",
    "2019-03-10 02:30:00",
    "2019-7-22 20:29:32",
    "",
    "x",
    "2019-07-22 24:00:00",
    "2019-07-22 20:29:60",
    " 2019-07-22 20:29:32",
    "2019-07-22 20:29:32 ",
]

JSON = [
    '{"a":1,"b":"x","c":{"d":[1,2,{"e":"f"}]},"t":"2019-04-30T02:12:41.8443515Z"}',
    '{"a":null,"b":true,"c":{}}',
    "not json",
    '{"a":12345678901,"b":1.5,"c":"<&>"}',
    "[1]",
    "null",
    '{"a":1e21,"b":1e-9,"c":[]}',
    '{"b":"\\u00e9\\n","a":"","c":{"z":"<"}}',
    "",
    '{"a":"1"} x',
    '  {"a":" s "} ',
    '{"a":"1","a":"2"}',
    '{"a":0.1,"b":-0.0,"c":100000000000000000000}',
]
LOGFMT = [
    'a=1 b="x y" c',
    'level=info msg="a \\"q\\" \\n" a=b=c d=1',
    'a="unterminated b=1',
    '="x" a=1',
    "a= b=2",
    'a b=3 "q"',
    "a=\"\\u00e9\" b='x'",
    "",
    "  a=1\tb=2\nc=3 a=9",
    'a="b"c=d',
    "é=1 a=é",
]
PLAIN = [
    "2019-01-01T00:00:00Z ERROR user=bob pass=hunter2 pass=x",
    "START a",
    " cont",
    "11.11.11.11 - frank 12.12.12.12 - bob",
    "\x1b[31mred\x1b[0m x",
    "",
    "plain",
    "été 5",
    "aaa",
]
CRI = [
    "2019-05-07T18:57:50.904275087+00:00 stdout F a",
    "2019-05-07T18:57:50.904275087Z stderr P p1",
    "2019-05-07T18:57:51Z stderr F p2",
    "x stdout F bad",
    "2019-05-07T18:57:51Z stdlog F q",
    "2019-05-07T18:57:51Z stdout F ",
    "2019-05-07T18:57:51Z stdout F",
    "2019-05-07T18:57:51Z stdout X y z",
    "nothing",
    "2019-05-07T18:57:51Z  stdout F a",
    "\t2019 stdout F a",
    "2019-05-07T18:57:51.1Z stdout P \n",
    "2019-05-07T18:57:51.2Z stdout F end",
]
DOCKER = [
    '{"log":"a\\n","stream":"stdout","time":"2019-04-30T02:12:41.8443515Z"}',
    '{"log":"b","stream":"stderr","time":"x"}',
    '{"log":5,"stream":1,"time":5}',
    '{"stream":"stdout"}',
    "no",
    '{"log":null,"stream":"s","time":"2019-04-30T02:12:42Z"}',
    "{}",
]
TIMESTAMPS = {
    "RFC3339": ["2019-01-01T00:00:00Z", "2019-01-01T00:00:00.5+02:00", "x", "2019-01-01T0:00:00Z", "2019-01-01T24:00Z"],
    "Unix": ["1562708916", "1562708916.5", "1562708916.000000123", "1.2.3", "-5", "+5", "5.", "a", "1.1234567891"],
    "UnixMs": ["1562708916414", "x", "-1"],
    "UnixUs": ["1562708916414123", "99999999999999999999"],
    "UnixNs": ["1562708916000000123", "9223372036854775808"],
}  # fmt: skip


def shown(*names: str) -> str:
    """Return stages that write extracted values into the line."""
    template = "|".join(f"{{{{ .{one} }}}}" for one in names)
    return f"- template: {{source: o, template: '{template}'}}\n- output: {{source: o}}"


def pipelines() -> Iterator[tuple[str, list[str]]]:
    """Yield stages, and lines for them."""
    paths = "a: , b: , c: , d: c.d, e: 'c.d[2].e', f: 'c.d[0]', g: length(b), h: a || b"
    yield f"- json: {{expressions: {{{paths}}}}}\n" + shown(*"abcdefgh"), JSON
    yield "- json: {expressions: {a: , b: , c: }}\n- labels: {a: , b: , c: }", JSON
    yield "- json: {expressions: {a: }, drop_malformed: true}\n- labels: {a: }", JSON
    yield "- json: {expressions: {j: c}}\n- json: {source: j, expressions: {z: , d: 'd[0]'}}\n" + shown("z", "d"), JSON
    asked = "p: sort(keys(@)), q: to_string(a), r: to_number(b), s: type(c), t: a > `5`, u: 'contains(b, `\"x\"`)'"
    yield f"- json: {{expressions: {{{asked}}}}}\n" + shown(*"pqrstu"), JSON
    names = ("a", "b", "z", "d", "level", "msg")
    yield "- logfmt: {mapping: {a: , b: , z: c, d: , level: , msg: }}\n" + shown(*names), LOGFMT
    yield "- regex: {expression: '^(?P<a>\\S+) (?P<b>x)?(?P<c>.*)'}\n" + shown("a", "b", "c"), PLAIN
    for expression in (
        r"(\S+)", r"pass=(\S+)", "(a)(b)?", "^", r"(?P<u>user=(?P<v>\w+))", "(a*)", "()", "((a)a)",
        r"\d{2}.\d{2}.\d{2}.\d{2} - (\S+)", r"(?P<u>\d+)\.(?P<v>\d+)",
    ):  # fmt: skip
        for new in ("*", "{{ .Value | ToUpper }}", "<{{ .Value }}>", "", "{{ .app }}", "{{ ToLower .none }}"):
            yield f"- replace: {{expression: '{expression}', replace: '{new}'}}\n- labels: {{u: , v: }}", PLAIN
    yield (
        "- regex: {expression: '(?P<f>.*)'}\n- replace: {source: f, expression: (a), replace: b}\n" + shown("f"),
        PLAIN,
    )
    yield "- decolorize: {}", [*PLAIN, "\x9b31mx", "\x1b]0;t\x07y", "\x1b[1;31mq\x1b[K"]
    yield "- pack: {labels: [app, none], ingest_timestamp: false}", [*PLAIN, '<a>&"\u2028']
    yield "- regex: {expression: '(?P<w>\\w+)'}\n- pack: {labels: [w, app], ingest_timestamp: false}", PLAIN
    yield from (("- cri: {}", CRI), ("- cri: {}\n- labels: {flags: }", CRI), ("- cri: {max_partial_lines: 1}", CRI))
    yield from (("- docker: {}", DOCKER), ("- docker: {}\n- json: {expressions: {a: }}", DOCKER))
    for firstline, most in (("^\\S", 128), ("^S", 2), ("^$", 2)):
        yield f"- multiline: {{firstline: '{firstline}', max_wait_time: 1m, max_lines: {most}}}", PLAIN
    for selector in (
        '{app="web"}', '{app=~"w.*"}', '{app!="web"}', '{none=""}', '{app=~"we"}', '{app="web"} |= "a"',
        '{app="web"} != "a"', '{app="web"} |~ "^a+$"', '{app="web"} !~ "E.*O" |= "a"', '{app="web",job="j"}',
        '{ app = "web" , job =~ "j|k" }|="e"', '{app="w\\x65b"}', "{}", '{app="web"} | json', '{app="web"', "{app=web}",
        '{app="web",}', '{app="web"} |> "a"',
    ):  # fmt: skip
        yield f"- match: {{selector: {json.dumps(selector)}, stages: [{{static_labels: {{m: ok}}}}]}}", PLAIN
        yield f"- match: {{selector: {json.dumps(selector)}, action: drop}}", PLAIN
    for what in (
        "source: app", "source: [app, none]", "source: app, value: web", "source: app, expression: ^w",
        "expression: a.*", "longer_than: 5", "longer_than: 5b", "longer_than: 1kb", "source: [app, job], value: web;j",
        "source: [app, job], separator: '-', expression: web-j", "source: none, value: ''",
        "source: none, expression: ''", "source: none, expression: .",
    ):  # fmt: skip
        yield f"- drop: {{{what}}}", PLAIN
    for labels in (
        "- labels: {x: app, w: none}\n- labeldrop: [job]", "- labelallow: [app]", "- tenant: {value: a}",
        "- structured_metadata: {app: , z: job, none: }", "- structured_metadata: {z: app}\n- labels: {app: }",
        "- static_labels: {app: other}\n- structured_metadata: {app: }", "- tenant: {label: app}",
        "- tenant: {source: no}",
        "- static_labels: {v: w}\n- match: {selector: '{v=\"w\"}', stages: [{labels: {u: v}}]}",
    ):  # fmt: skip
        yield labels, PLAIN
    for layout, texts in TIMESTAMPS.items():
        for action in ("fudge", "skip"):
            stage = f"{{source: ts, format: {layout}, action_on_failure: {action}}}"
            yield f"- regex: {{expression: '(?P<ts>.*)'}}\n- timestamp: {stage}", texts
    stage = "{source: ts, format: '2006-01-02', fallback_formats: [Unix, 02/01/2006], location: Europe/Berlin}"
    yield (
        f"- regex: {{expression: '(?P<ts>.*)'}}\n- timestamp: {stage}",
        ["2019-03-31", "1562708916", "31/12/2020", "x"],
    )
