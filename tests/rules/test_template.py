"""Annotation templates: what rule files use of Go's text/template, with Go's output."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.rules.go_format import format_float, sprintf
from tapewatch.rules.template import MAX_OUTPUT, TemplateSyntaxError, parse_template
from tapewatch.rules.template_functions import TemplateError

LABELS = {"engine": "momentum", "instance": "host.example.com:8080", "zone": ""}


def expand(text: str, value: float = 5.25) -> str:
    return parse_template(text).expand(LABELS, value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("{{ $labels.engine }} is at {{ $value }}", "momentum is at 5.25"),
        ("{{ .Labels.engine }} {{ .Value }}", "momentum 5.25"),
        ("{{ $labels.absent }}|", "|"),
        ('{{ index $labels "engine" }}', "momentum"),
        ('{{ $value | printf "%.1f" }}', "5.2"),
        ('{{ printf "%s at %06.2f%%" $labels.engine $value }}', "momentum at 005.25%"),
        ("{{ $value | humanize }}", "5.25"),
        ("{{ humanize 1234567.0 }}", "1.235M"),
        ("{{ humanize 0.00123 }}", "1.23m"),
        ("{{ humanize 0 }}", "0"),
        ("{{ humanize1024 1048576 }}", "1Mi"),
        ("{{ humanize1024 1 }}", "1"),
        ("{{ humanizePercentage 0.0525 }}", "5.25%"),
        ("{{ humanizeDuration 93784 }}", "1d 2h 3m 4s"),
        ("{{ humanizeDuration 3600 }}", "1h 0m 0s"),
        ("{{ humanizeDuration 61 }}", "1m 1s"),
        ("{{ humanizeDuration 1.5 }}", "1.5s"),
        ("{{ humanizeDuration 0.0023 }}", "2.3ms"),
        ("{{ humanizeDuration -61 }}", "-1m 1s"),
        ("{{ humanizeDuration 0 }}", "0s"),
        ("{{ humanizeTimestamp 1767604500.5 }}", "2026-01-05 09:15:00.5 +0000 UTC"),
        ("{{ $labels.engine | toUpper }}{{ toLower `ABC` }}{{ title `abc def` }}",
         "MOMENTUMabcAbc Def"),
        ("{{ $labels.instance | stripPort }} {{ $labels.instance | stripDomain }}",
         "host.example.com host:8080"),
        ('{{ reReplaceAll "(mo)(.*)" "$2-${1}" $labels.engine }}', "mentum-mo"),
        ('{{ reReplaceAll "(?P<head>mo).*" "$head$x${9}!" $labels.engine }}', "mo!"),
        ("{{ printf `%s %s` (len `ab`) print }}", "%!s(int=2) "),
        ("a {{- 1 }}{{/* b */ -}} c", "a1c"),
        ('{{ if match "^mo" $labels.engine }}yes{{ else }}no{{ end }}', "yes"),
        ("{{ if gt $value 5.0 }}high{{ else if gt $value 1.0 }}mid{{ else }}low{{ end }}", "high"),
        ("{{ if $labels.zone }}zone{{ else }}none{{ end }}", "none"),
        ("{{ if and (ge $value 5) (lt $value 6) }}in{{ end }}", "in"),
        ("{{ if or (eq $labels.engine `x`) (not false) }}in{{ end }}", "in"),
        ("{{ with $labels.engine }}<{{ . }}>{{ end }}", "<momentum>"),
        ("{{ with $x := $value }}{{ $x }}{{ end }}", "5.25"),
        ("{{ $x := $labels.engine }}{{ $x }}!", "momentum!"),
        ("a {{- /* note */ -}} b", "ab"),
        ("a {{- $labels.engine -}} b", "amomentumb"),
        ('{{ "braces }} inside" }}', "braces }} inside"),
        ("{{ print 1 $labels.engine }}{{ println }}", "1momentum\n"),
        ("{{ len $labels.engine }} {{ urlquery `a b&c` }}", "8 a+b%26c"),
        ("{{ parseDuration `1h30m` }}", "5400"),
        ("{{ true }} {{ 0x10 }} {{ 1e3 }}", "true 16 1000"),
    ],
)  # fmt: skip
def test_it_expands_as_in_prometheus(text: str, expected: str) -> None:
    assert expand(text) == expected


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5.0, "5"),
        (0.1, "0.1"),
        (123456.0, "123456"),
        (1000000.0, "1e+06"),
        (1234567.0, "1.234567e+06"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (-2.5, "-2.5"),
        (0.0, "0"),
        (-0.0, "-0"),
        (float("inf"), "+Inf"),
        (float("-inf"), "-Inf"),
        (float("nan"), "NaN"),
    ],
)
def test_a_bare_value_is_written_as_go_writes_it(value: float, text: str) -> None:
    assert expand("{{ $value }}", value) == text


@given(st.floats(allow_nan=False))
def test_a_written_number_reads_back_equal(value: float) -> None:
    assert float(format_float(value)) == value


@pytest.mark.parametrize(
    ("format_", "values", "text"),
    [
        ("%d", [3], "3"),
        ("%d", [3.0], "%!d(float64=3)"),
        ("%v %v", [1], "1 %!v(MISSING)"),
        ("%s", [1, 2], "%!s(int=1)%!(EXTRA int=2)"),
        ("%q", ['a"b'], '"a\\"b"'),
        ("%x", [255], "ff"),
        ("%t", [True], "true"),
        ("%5.1f|%-6s|%+d", [2.25, "ab", 3], "  2.2|ab    |+3"),
        ("%e %g %.3g", [12345.678, 12345.678, 12345.678], "1.234568e+04 12345.678 1.23e+04"),
        ("%f %F", [float("inf"), 1.0], "Inf 1.000000"),
        ("%.2s", ["abc"], "ab"),
        ("%s", [{"a": "1"}], "%!s(map[string]string=map[a:1])"),
        ("%v", [{"b": "2", "a": "1"}], "map[a:1 b:2]"),
        ("%v", [None], "<no value>"),
    ],
)
def test_printf_knows_the_verbs_and_never_raises(
    format_: str, values: list[object], text: str
) -> None:
    assert sprintf(format_, values) == text  # type: ignore[arg-type]


@pytest.mark.requirement("T13")
def test_no_format_makes_a_text_of_any_size() -> None:
    assert len(sprintf("%999999999d %.999999999f", [1, 1.0])) < 600
    template = parse_template("{{ $labels.engine }}" * 4000)
    with pytest.raises(TemplateError, match="longer than 16384"):
        template.expand(LABELS, 1.0)
    assert len(parse_template("x" * (MAX_OUTPUT + 5)).expand({}, 0)) == MAX_OUTPUT


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ $value ", "an action is not closed"),
        ("{{ if $value }}x", "a block is not closed"),
        ("{{ end }}", "unexpected {{end}}"),
        ("{{ else }}", "unexpected {{else}}"),
        ("{{ if }}x{{ end }}", "a value is missing"),
        ("{{ }}", "a value is missing"),
        ("{{ humanise $value }}", "function 'humanise' is not defined"),
        ("{{ $value | 5 }}", "must be a function"),
        ("{{ (printf `x` }}", "a parenthesis is not closed"),
        ("{{ $value ) }}", "unexpected ')'"),
        ("{{ 1 2 }}", "a value cannot be called"),
        ("{{ ; }}", "unexpected ';'"),
        ("{{ $a , $b }}", "unexpected ','"),
        ('{{ "\\q" }}', "bad escape"),
        ("{{ if 1 }}a{{ else }}b{{ else }}c{{ end }}", "expected {{end}} after {{else}}"),
        ("{{ if 1 }}a{{ else with 1 }}b{{ end }}", "expected {{else if ...}}"),
        ("{{ if 1 }}" * 40 + "{{ end }}" * 40, "nested deeper than 32"),
        ("{{ " + "(" * 40 + "1" + ")" * 40 + " }}", "nested deeper than 32"),
    ],
)
def test_what_is_no_template_is_refused_when_the_file_is_read(text: str, message: str) -> None:
    with pytest.raises(TemplateSyntaxError) as caught:
        parse_template(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ query `up` | first | value }}", "function query is not supported"),
        ("{{ range query `up` }}x{{ else }}y{{ end }}", "range is not supported"),
        ("{{ define `a` }}x{{ end }}", "define is not supported"),
        ("{{ template `a` }}", "template is not supported"),
        ("{{ $nothing }}", "undefined variable $nothing"),
        ("{{ .Nothing }}", "there is no field .Nothing"),
        ("{{ $value.x }}", "has no field 'x'"),
        ("{{ humanize $labels.engine }}", "expected a number, found 'momentum'"),
        ("{{ humanize 1 2 }}", "takes 1 arguments, found 2"),
        ("{{ match `(` $labels.engine }}", "bad regular expression"),
        ("{{ lt $value $labels.engine }}", "lt cannot compare"),
        ("{{ index $value `a` }}", "index needs labels"),
        ("{{ humanizeTimestamp 1e300 }}", "is not a time"),
        ("{{ parseDuration `x` }}", "not a duration"),
    ],
)
def test_what_cannot_be_expanded_says_why(text: str, message: str) -> None:
    template = parse_template(text)
    with pytest.raises(TemplateError) as caught:
        template.expand(LABELS, 1.0)
    assert message in str(caught.value)


def test_numbers_that_are_not_finite_are_shown_as_they_are() -> None:
    for function in ("humanize", "humanize1024", "humanizeDuration"):
        assert expand(f"{{{{ {function} $value }}}}", float("nan")) == "NaN"


def test_the_dot_alone_is_nothing_outside_a_with() -> None:
    assert expand("{{ . }}") == "<no value>"


@given(st.text(max_size=60) | st.text(alphabet='{}$.|()"`if endlsvaue- =:', max_size=60))
def test_any_text_is_a_template_or_refused(text: str) -> None:
    try:
        template = parse_template(text)
        template.expand(LABELS, 1.0)
    except TemplateError:
        pass
