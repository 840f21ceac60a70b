"""The parser: what it accepts, what tree it makes, what it refuses and where."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapewatch.model.clock import MINUTE, SECOND
from tapewatch.model.errors import QueryError
from tapewatch.promql import (
    AggregateExpr,
    BinaryExpr,
    Call,
    Cardinality,
    Edge,
    MatrixSelector,
    NumberLiteral,
    ParenExpr,
    StringLiteral,
    SubqueryExpr,
    UnaryExpr,
    ValueType,
    VectorSelector,
    format_expr,
    metric_names,
    parse,
    selectors,
)
from tapewatch.series.querier import Matcher, MatchType


def number(text: str) -> float:
    node = parse(text)
    assert isinstance(node, NumberLiteral)
    return node.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1.0),
        ("2.", 2.0),
        (".5", 0.5),
        ("5e-3", 0.005),
        ("12.34E+6", 12.34e6),
        ("0x1F", 31.0),
        ("0X_ff", 255.0),
        ("017", 15.0),  # a leading zero means octal, as in Go
        ("08", 8.0),  # but not when a digit is none
        ("1_000_000", 1e6),
        ("Inf", math.inf),
        ("-inf", -math.inf),
        ("+1", 1.0),
        ("--1", 1.0),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("250ms", 0.25),
        ("1e999", math.inf),
    ],
)
def test_number_literals(text: str, value: float) -> None:
    assert number(text) == value


def test_nan_in_any_case_equals_itself_as_a_literal() -> None:
    assert math.isnan(number("nAn"))
    assert parse("NaN") == parse("nan")
    assert parse("0") != parse("-0")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'"a\n\t\"\\\x41\101\u00e9\U0001F600"', 'a\n\t"\\AA\u00e9\U0001f600'),
        (r"'it\'s'", "it's"),
        (r"`raw \d \n`", r"raw \d \n"),
        ("`two\nlines`", "two\nlines"),
        (r'"\xc3\xa9"', "é"),  # bytes that together are UTF-8
        (r'"\xff"', "\udcff"),  # a byte that is none
    ],
)
def test_string_literals(text: str, value: str) -> None:
    node = parse(text)
    assert isinstance(node, StringLiteral)
    assert node.value == value


def tree(text: str) -> str:
    """Return the tree of an expression with every operation in brackets."""

    def show(node: object) -> str:
        if isinstance(node, BinaryExpr):
            return f"[{show(node.lhs)} {node.op} {show(node.rhs)}]"
        if isinstance(node, UnaryExpr):
            return f"[{node.op}{show(node.expr)}]"
        if isinstance(node, ParenExpr):
            return f"({show(node.expr)})"
        return str(node)

    return show(parse(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a + b * c", "[a + [b * c]]"),
        ("a * b + c", "[[a * b] + c]"),
        ("a - b - c", "[[a - b] - c]"),
        ("2 ^ 3 ^ 2", "[2 ^ [3 ^ 2]]"),
        ("-a ^ 2", "[-[a ^ 2]]"),
        ("-a * b", "[[-a] * b]"),
        ("a ^ -b * c", "[[a ^ [-b]] * c]"),
        ("a ^ -b ^ c", "[a ^ [-[b ^ c]]]"),
        ("---a", "[-[-[-a]]]"),
        ("a or b and c", "[a or [b and c]]"),
        ("a unless b and c", "[[a unless b] and c]"),
        ("a == b + c", "[a == [b + c]]"),
        ("a > b == c", "[[a > b] == c]"),
        ("a atan2 b % c", "[[a atan2 b] % c]"),
        ("(a + b) * c", "[([a + b]) * c]"),
        ("a + b offset 5m", "[a + b offset 5m]"),
        ("-a[5m:] offset 1m", ""),
    ],
)
def test_operators_bind_as_in_prometheus(text: str, expected: str) -> None:
    if not expected:
        with pytest.raises(QueryError, match="unary expression only allowed"):
            parse(text)
    else:
        assert tree(text) == expected


def test_a_selector_keeps_matchers_offset_and_at() -> None:
    node = parse("""up{job="api", inst!='x', zone=~`a|b`, env!~"t.*",} offset -1m30s @ 12.5""")
    assert isinstance(node, VectorSelector)
    assert node.name == "up"
    assert node.matchers == (
        Matcher("__name__", MatchType.EQUAL, "up"),
        Matcher("job", MatchType.EQUAL, "api"),
        Matcher("inst", MatchType.NOT_EQUAL, "x"),
        Matcher("zone", MatchType.REGEX, "a|b"),
        Matcher("env", MatchType.NOT_REGEX, "t.*"),
    )
    assert node.offset_ns == -90 * SECOND
    assert node.at_ns == 12_500_000_000


def test_quoted_names_may_be_any_utf8() -> None:
    node = parse('{"my.metric", "label.x"="y"}')
    assert isinstance(node, VectorSelector)
    assert node.name == "my.metric"
    assert node.matchers[1].name == "label.x"
    assert parse('{"plain"}') == parse("plain")
    aggregate = parse('sum by ("label.x", job) ({"my.metric"})')
    assert isinstance(aggregate, AggregateExpr)
    assert aggregate.grouping == ("label.x", "job")


@pytest.mark.parametrize(
    "text",
    [
        "sum",
        "by",
        "offset",
        "start",
        "end{a='b'}",
        "and + or",
        "sum{job='x'}",
        "topk[5m]",
        "count_values offset 5m",
        'x{by="1", sum="2", on="3", bool="4", start="5"}',
        "sum by (by, on, sum, bool, offset, start, group_left) (x)",
        "job:rate:5m",
        ":x",
    ],
)
def test_keywords_may_name_metrics_and_labels(text: str) -> None:
    assert parse(format_expr(parse(text))) == parse(text)


def test_ranges_and_subqueries() -> None:
    matrix = parse("up[5m] offset 1m @ start()")
    assert isinstance(matrix, MatrixSelector)
    assert (matrix.range_ns, matrix.selector.offset_ns) == (5 * MINUTE, MINUTE)
    assert matrix.selector.at_edge is Edge.START
    assert parse("up[300]") == parse("up[5m]")
    sub = parse("rate(up[5m])[1h:30s] offset 1w @ end()")
    assert isinstance(sub, SubqueryExpr)
    assert (sub.range_ns, sub.step_ns, sub.at_edge) == (60 * MINUTE, 30 * SECOND, Edge.END)
    default = parse("up[5m:]")
    assert isinstance(default, SubqueryExpr)
    assert default.step_ns is None


def test_aggregation_takes_its_labels_before_or_behind() -> None:
    assert parse("sum by (job) (x)") == parse("SUM(x) BY (job,)")
    node = parse("topk without (a) (5, x)")
    assert isinstance(node, AggregateExpr)
    assert node.without
    assert node.param == parse("5")


def test_vector_matching_modifiers() -> None:
    node = parse("a * on(x, y) group_left(z) b")
    assert isinstance(node, BinaryExpr)
    assert node.matching is not None
    assert node.matching.on
    assert node.matching.labels == ("x", "y")
    assert node.matching.card is Cardinality.MANY_TO_ONE
    assert node.matching.include == ("z",)
    joined = parse("a and ignoring(x) b")
    assert isinstance(joined, BinaryExpr)
    assert joined.matching is not None
    assert joined.matching.card is Cardinality.MANY_TO_MANY
    assert parse("a > bool b") != parse("a > b")


def test_types_are_known() -> None:
    for text, kind in [
        ("1 + 2", ValueType.SCALAR),
        ("time() - up", ValueType.VECTOR),
        ("up[5m]", ValueType.MATRIX),
        ("'x'", ValueType.STRING),
        ("scalar(up)", ValueType.SCALAR),
        ("(up)", ValueType.VECTOR),
        ("-(1)", ValueType.SCALAR),
        ("pi()", ValueType.SCALAR),
    ]:
        assert parse(text).type is kind, text


def test_nodes_know_their_place() -> None:
    node = parse("sum(\n  rate(x[5m])\n)")
    assert isinstance(node, AggregateExpr)
    assert isinstance(node.expr, Call)
    assert node.expr.span == (7, 18)
    assert node.expr.place == (2, 3)
    assert node.expr.args[0].place == (2, 8)


@pytest.mark.requirement("T17")
@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("", (1, 1), "no expression found in input"),
        ("# only a comment", (1, 1), "no expression found in input"),
        ("up )", (1, 4), "unexpected right parenthesis"),
        ("(up", (1, 4), "unclosed left parenthesis"),
        ("up{job='a'", (1, 11), "unexpected end of input inside braces"),
        ("up[5m", (1, 6), "unclosed left bracket"),
        ("up +", (1, 5), "unexpected end of input"),
        ("up up", (1, 4), 'unexpected identifier "up"'),
        ("* up", (1, 1), "unexpected <op:*>"),
        ("up{}{}", (1, 5), 'unexpected "{"'),
        ("{}", (1, 1), "vector selector must contain at least one non-empty matcher"),
        ("{a=~'.*'}", (1, 1), "vector selector must contain at least one non-empty matcher"),
        ("{a='',b!='x'}", (1, 1), "vector selector must contain at least one non-empty matcher"),
        ("up{__name__='x'}", (1, 1), 'metric name must not be set twice: "up" or "x"'),
        ("up{'x'}", (1, 1), 'metric name must not be set twice: "up" or "x"'),
        ("up{job=api}", (1, 8), "expected string"),
        ("up{job 'api'}", (1, 8), "expected label matching operator"),
        ("up{1='a'}", (1, 4), 'expected identifier or "}"'),
        ("up{a:b='a'}", (1, 5), "inside braces"),
        ("up{job=~'('}", (1, 9), "error parsing regexp"),
        ("up{''='x'}", (1, 4), "invalid label name"),
        ("rate(up)", (1, 6), 'expected type range vector in call to function "rate", got instant'),
        ("abs(1)", (1, 5), 'expected type instant vector in call to function "abs", got scalar'),
        ("abs(up, up)", (1, 1), 'expected 1 argument(s) in call to "abs", got 2'),
        ("round()", (1, 1), 'expected at least 1 argument(s) in call to "round", got 0'),
        ("round(up, 1, 2)", (1, 1), 'expected at most 2 argument(s) in call to "round", got 3'),
        ("label_join(up, 'a')", (1, 1), "expected at least 3 argument(s)"),
        ("max_over_tme(up[5m])", (1, 1), 'did you mean "max_over_time"?'),
        ("zzz(up)", (1, 1), 'unknown function with name "zzz"'),
        ("abs(up,)", (1, 7), "trailing commas not allowed in function call args"),
        ("sum(1)", (1, 5), "expected type instant vector in aggregation expression, got scalar"),
        ("sum()", (1, 1), "no arguments for aggregate expression provided"),
        ("topk(up)", (1, 1), "wrong number of arguments for aggregate expression provided"),
        ("topk('a', up)", (1, 6), "expected type scalar in aggregation parameter, got string"),
        ("count_values(1, up)", (1, 14), "expected type string in aggregation parameter"),
        ("sum by job (up)", (1, 8), 'expected "("'),
        ("sum by (1) (up)", (1, 9), "expected label"),
        ("1 == 2", (1, 3), "comparisons between scalars must use BOOL modifier"),
        ("up + bool up", (1, 4), "bool modifier can only be used on comparison operators"),
        ("1 and 2", (1, 1), 'set operator "and" not allowed in binary scalar expression'),
        ("1 + on(a) up", (1, 1), "vector matching only allowed between instant vectors"),
        ("a and on(x) group_left b", (1, 1), 'no grouping allowed for "and" operation'),
        ("a + on(x) group_left(x) b", (1, 3), 'label "x" must not occur in ON and GROUP clause'),
        ("'a' + up", (1, 1), "must contain only scalar and instant vector types"),
        ("up[5m] + 1", (1, 1), "must contain only scalar and instant vector types"),
        ("-up[5m]", (1, 1), "unary expression only allowed on expressions of type scalar or"),
        ("abs(up)[5m]", (1, 8), "ranges only allowed for vector selectors"),
        ("up offset 1m [5m]", (1, 14), "no offset modifiers allowed before range"),
        ("up @ 1 [5m]", (1, 8), "no @ modifiers allowed before range"),
        ("up[0]", (1, 4), "duration must be greater than 0"),
        ("up[5m:0s]", (1, 7), "duration must be greater than 0"),
        ("up[5m][5m:]", (1, 1), "subquery is only allowed on instant vector, got matrix instead"),
        ("up[1m2h]", (1, 4), "not a duration"),
        ("up[]", (1, 4), "expected duration"),
        ("up[5m 5m]", (1, 7), 'expected ":" or "]"'),
        ("1 offset 5m", (1, 3), "offset modifier must be preceded by"),
        ("up offset 5m offset 5m", (1, 14), "offset may not be set multiple times"),
        ("up offset", (1, 10), "expected duration"),
        ("up @ 1 @ 2", (1, 8), "@ <timestamp> may not be set multiple times"),
        ("sum(up) @ 1", (1, 9), "@ modifier must be preceded by"),
        ("up @ Inf", (1, 6), "timestamp out of bounds"),
        ("up @ start", (1, 11), 'expected "("'),
        ("1..2", (1, 1), "bad number or duration syntax"),
        ("5mm", (1, 1), "bad number or duration syntax"),
        ("0x", (1, 1), "bad number or duration syntax"),
        ("'open", (1, 1), "unterminated quoted string"),
        ("`open", (1, 1), "unterminated raw string"),
        (r"'\q'", (1, 2), "unknown escape sequence"),
        (r"'\400'", (1, 2), "invalid Unicode code point"),
        (r"'\ud800'", (1, 2), "invalid Unicode code point"),
        (r"'\x4'", (1, 2), "illegal character in escape sequence"),
        ("up = 1", (1, 4), 'unexpected "="'),
        ("up ! 1", (1, 4), "unexpected character"),
        ("up\n  + §", (2, 5), "unexpected character"),
        ("a:b(up)", (1, 4), 'unexpected "("'),
        ("offset(up)", (1, 7), 'unexpected "("'),
    ],
)
def test_what_is_wrong_is_named_with_its_place(
    text: str, place: tuple[int, int], message: str
) -> None:
    with pytest.raises(QueryError) as caught:
        parse(text)
    error = caught.value
    assert message in error.message
    assert (error.line, error.column) == place
    assert str(error).startswith(f"{place[0]}:{place[1]}: parse error: ")


@pytest.mark.requirement("T17")
@pytest.mark.parametrize(
    "text",
    [
        "(" * 8000,
        "(" * 3000 + "1" + ")" * 3000,
        "abs(" * 1500 + "x" + ")" * 1500,
        "-" * 8000 + "x",
        "1" + "^1" * 4000,
        "sum(" * 65 + "x" + ")" * 65,
        "x" + "[5m:]" * 1000,
        "{" * 8000,
        "[" * 8000,
        "1+" * 5000 + "1",
        "é" * 5000,
    ],
)
def test_texts_beyond_the_limits_are_refused_at_once(text: str) -> None:
    began = time.perf_counter()
    with pytest.raises(QueryError):
        parse(text)
    assert time.perf_counter() - began < 1.0


@pytest.mark.requirement("T17")
def test_flat_chains_of_thousands_of_operators_work_everywhere() -> None:
    text = "1" + "+1" * 4000
    node, again = parse(text), parse(text)
    assert node == again
    assert hash(node) == hash(again)
    assert parse(format_expr(parse("1" + " + 1" * 2000))) == parse("1" + "+1" * 2000)
    assert node.type is ValueType.SCALAR
    assert metric_names(parse("a" + "+a" * 4000)) == {"a"}
    assert len(selectors(parse("a" + " or a" * 1500))) == 1501
    assert repr(node).startswith("BinaryExpr('1 + 1")


def test_nesting_up_to_the_limit_works() -> None:
    assert parse("(" * 63 + "1" + ")" * 63).type is ValueType.SCALAR
    assert parse("abs(" * 31 + "x" + ")" * 31).type is ValueType.VECTOR


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a + rate(b[5m])", {"a", "b"}),
        ("{__name__='c'}", {"c"}),
        ("1 + time()", set()),
        ("max_over_time(sum(d)[5m:])", {"d"}),
        ("a or {job='x'}", None),
        ("{__name__=~'a|b'}", None),
        ("absent(e)", {"e"}),
    ],
)
def test_the_names_an_expression_reads_are_told(text: str, names: set[str] | None) -> None:
    assert metric_names(parse(text)) == names


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("SUM(x)BY(a)", "sum by (a) (x)"),
        ("x{a='b' , c!=`d`}[300]@10 offset 60", 'x{a="b",c!="d"}[5m] @ 10.000 offset 1m'),
        ("a==bool on()b", "a == bool on () b"),
        ("a+ignoring(c)group_right b", "a + ignoring (c) group_right () b"),
        ("sum without()(x)", "sum without () (x)"),
        ("0x10+5m", "16 + 300"),
        ("{'a b'}", '{"a b"}'),
        ("{__name__=~'a'}", '{__name__=~"a"}'),
        ("(1+2)*3", "(1 + 2) * 3"),
        ("'\\xff'", '"\\xff"'),
        ("x[1h:5m]", "x[1h:5m]"),
        ("-x^2", "-x ^ 2"),
        ("1e100", "1e+100"),
    ],
)
def test_the_canonical_text(text: str, canonical: str) -> None:
    assert format_expr(parse(text)) == canonical
    assert format_expr(parse(canonical)) == canonical


def test_trees_built_by_hand_get_the_parentheses_they_need() -> None:
    one, two, x = NumberLiteral(1.0), NumberLiteral(-2.0), parse("x")
    total = BinaryExpr("+", one, one)
    assert format_expr(BinaryExpr("*", total, total)) == "(1 + 1) * (1 + 1)"
    assert format_expr(BinaryExpr("-", one, total)) == "1 - (1 + 1)"
    assert format_expr(BinaryExpr("^", two, one)) == "(-2) ^ 1"
    assert format_expr(BinaryExpr("^", BinaryExpr("^", one, one), one)) == "(1 ^ 1) ^ 1"
    assert format_expr(UnaryExpr("-", BinaryExpr("+", x, x))) == "-(x + x)"
    assert format_expr(SubqueryExpr(BinaryExpr("+", x, x), MINUTE)) == "(x + x)[1m:]"


# Random texts

TOKENS = """
( ) { } [ ] , : @ = == != =~ !~ < > <= >= + - * / % ^ and or unless atan2 by without on ignoring
group_left group_right bool offset start() end() sum topk count_values quantile rate abs time()
label_replace up x{} {a='b'} 1 0x1f 5m 1h [5m] [5m:1m] 'text' `r` "q" NaN inf # \\ é _ .5 1e9
{__name__=~'a.*'}
"""
WORDS = st.sampled_from([*TOKENS.split(), "\n"])


@pytest.mark.requirement("T17")
@settings(max_examples=400, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(WORDS, max_size=25).map(" ".join)))
def test_any_text_is_parsed_or_refused_and_nothing_else(text: str) -> None:
    try:
        node = parse(text)
    except QueryError as error:
        assert error.position is not None
        assert 0 <= error.position <= len(text)
        assert error.line >= 1
        assert error.column >= 1
        return
    assert parse(format_expr(node)) == node


NAMES = st.sampled_from(["up", "pnl_daily", "a:b", "sum", "my.metric", "by", "x_total"])
LABELS = st.sampled_from(["job", "inst", "label.x", "on", "__name__x"])


@st.composite
def vector_selectors(draw: st.DrawFn) -> str:
    name = draw(NAMES)
    inner = draw(
        st.lists(
            st.tuples(
                LABELS, st.sampled_from(["=", "!=", "=~", "!~"]), st.text("ab.|\\'é", max_size=3)
            ),
            max_size=2,
        )
    )
    quoted = [f"{json_quote(n)}{op}{json_quote(regex_safe(op, v))}" for n, op, v in inner]
    out = "{" + ",".join([json_quote(name), *quoted]) + "}"
    if draw(st.booleans()):
        out += draw(st.sampled_from([" offset 5m", " offset -90", " @ 17.25", " @ end()"]))
    return out


def json_quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def regex_safe(op: str, value: str) -> str:
    return value.replace("\\", "") if op in ("=~", "!~") else value


def expressions() -> st.SearchStrategy[str]:
    leaves = st.one_of(
        vector_selectors(),
        vector_selectors().map(lambda s: f"({s})"),
        st.sampled_from(["vector(1)", "time() - up", "rate(x_total[5m])", "absent(y)"]),
    )

    def grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        operator = st.sampled_from(
            ["+", "-", "*", "/", "%", "^", "atan2", "==", "!=", ">", "<= bool", "and", "or"]
        )
        matching = st.sampled_from(["", " on(job)", " ignoring(inst, job)"])
        return st.one_of(
            st.tuples(inner, operator, matching, inner).map(
                lambda t: f"({t[0]}) {t[1]}{t[2]} ({t[3]})"
            ),
            st.tuples(inner, operator, inner).map(lambda t: f"vector(1) {t[1]} {t[0]}"),
            inner.map(lambda e: f"-({e})"),
            inner.map(lambda e: f"({e})"),
            inner.map(lambda e: f"sum by (job) ({e})"),
            inner.map(lambda e: f"topk(3, {e})"),
            inner.map(lambda e: f"max_over_time(({e})[1h:5m] offset 1m)"),
            inner.map(lambda e: f'label_replace({e}, "a", "$1", "b", "(.*)")'),
            inner.map(lambda e: f"({e}) * 2.5 > 1e-7"),
        )

    return st.recursive(leaves, grow, max_leaves=8)


@settings(max_examples=200, deadline=None)
@given(expressions())
def test_printing_and_parsing_again_gives_the_same_tree(text: str) -> None:
    node = parse(text)
    canonical = format_expr(node)
    assert parse(canonical) == node
    assert format_expr(parse(canonical)) == canonical


@settings(max_examples=150, deadline=None)
@given(expressions())
def test_a_second_parser_accepts_what_ours_accepts(text: str) -> None:
    second = pytest.importorskip("promql_parser", exc_type=ImportError)
    parse(text)
    # Faults of the other parser: back-quoted text and a printed negative @ are not generated.
    second.parse(text)
    second.parse(format_expr(parse(text)))
