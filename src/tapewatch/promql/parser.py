"""Turns PromQL text into a checked syntax tree, within fixed limits and with precise places.

Operator precedence is resolved with explicit stacks, so only brackets recurse, and those are
counted. A chain of thousands of additions therefore costs no Python stack, and ``((((((`` is an
ordinary error.
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass, replace
from typing import NoReturn

from tapewatch.model.clock import MILLISECOND, SECOND
from tapewatch.model.duration import parse_duration
from tapewatch.model.errors import QueryError
from tapewatch.model.labels import METRIC_NAME
from tapewatch.promql.ast import (
    COMPARISONS,
    SET_OPERATORS,
    AggregateExpr,
    BinaryExpr,
    Call,
    Cardinality,
    Edge,
    Expr,
    MatrixSelector,
    NumberLiteral,
    ParenExpr,
    StringLiteral,
    SubqueryExpr,
    UnaryExpr,
    ValueType,
    VectorMatching,
    VectorSelector,
    is_label_name,
)
from tapewatch.promql.functions import FUNCTIONS, Function
from tapewatch.promql.lexer import (
    AGGREGATORS,
    Kind,
    LexicalError,
    Token,
    parse_number,
    shorten,
    tokenize,
)
from tapewatch.promql.precedence import PRECEDENCE, RIGHT_ASSOCIATIVE, UNARY_PRECEDENCE
from tapewatch.series.matching import text_test
from tapewatch.series.querier import Matcher, MatchType

MAX_LENGTH = 8 * 1024
"""Bytes of UTF-8 that a query may have."""
MAX_DEPTH = 64
"""Levels of nesting that a query may have. The left side of an operator is no level of its own,
so flat chains of operators are bounded by the length alone."""

_PARAMETER_TYPE = {
    "topk": ValueType.SCALAR,
    "bottomk": ValueType.SCALAR,
    "quantile": ValueType.SCALAR,
    "limitk": ValueType.SCALAR,
    "limit_ratio": ValueType.SCALAR,
    "count_values": ValueType.STRING,
}
_NO_METRIC_WORDS = frozenset({"bool", "on", "ignoring", "group_left", "group_right", "atan2"})
_MAX_NS = (1 << 63) - 1
_PLAIN_MATCHING = VectorMatching()


def parse(text: str) -> Expr:
    """Parse a PromQL expression and check its types.

    Args:
        text: The query, at most `MAX_LENGTH` bytes.

    Raises:
        QueryError: The text is no valid expression, is too long, or nests deeper than
            `MAX_DEPTH`; carries position (characters from 0), line and column (from 1).
    """
    if len(text) > MAX_LENGTH or len(text.encode("utf-8", "surrogatepass")) > MAX_LENGTH:
        raise QueryError(
            f"parse error: the query is too long; at most {MAX_LENGTH} bytes are allowed",
            position=0,
            line=1,
            column=1,
        )
    return _Parser(text).run()


@dataclass(frozen=True, slots=True)
class _Modifiers:
    return_bool: bool = False
    matching: VectorMatching = _PLAIN_MATCHING


@dataclass(frozen=True, slots=True)
class _Operator:
    """An operator waiting for its right side. ``modifiers`` is None for a sign."""

    token: Token
    precedence: int
    modifiers: _Modifiers | None


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.newlines = [i for i, char in enumerate(text) if char == "\n"] if "\n" in text else []
        self.depth = 0
        self.index = 0
        self.matches_everything: dict[tuple[int, int], VectorSelector] = {}
        """Selectors that accept the empty label set; an error unless ``info`` owns them."""
        try:
            self.tokens = tokenize(text)
        except LexicalError as error:
            self.fail(error.message, error.position or 0)
        self.token = self.tokens[0]

    def run(self) -> Expr:
        if len(self.tokens) == 1:
            self.fail("no expression found in input", 0)
        expr, _ = self.expression()
        if self.index < len(self.tokens) - 1:
            self.unexpected()
        for selector in self.matches_everything.values():
            self.fail(
                "vector selector must contain at least one non-empty matcher", selector.span[0]
            )
        return expr

    # Places and errors

    def place(self, position: int) -> tuple[int, int]:
        """Return line and column, both from 1."""
        if not self.newlines:
            return (1, position + 1)
        before = [n for n in self.newlines if n < position]
        return (len(before) + 1, position - (before[-1] if before else -1))

    def fail(self, message: str, position: int) -> NoReturn:
        line, column = self.place(position)
        raise QueryError(f"parse error: {message}", position=position, line=line, column=column)

    def unexpected(self, context: str = "", expected: str = "") -> NoReturn:
        message = f"unexpected {self.token.describe()}"
        if context:
            message += f" in {context}"
        if expected:
            message += f", expected {expected}"
        self.fail(message, self.token.start)

    # Tokens

    def advance(self) -> Token:
        token = self.token
        self.index += 1
        self.token = self.tokens[min(self.index, len(self.tokens) - 1)]
        return token

    def is_mark(self, text: str) -> bool:
        return self.token.kind is Kind.PUNCTUATION and self.token.text == text

    def is_word(self, *words: str) -> bool:
        return self.token.kind is Kind.KEYWORD and self.token.text in words

    def expect_mark(self, text: str, context: str) -> Token:
        if not self.is_mark(text):
            self.unexpected(context, f'"{text}"')
        return self.advance()

    def nest(self, start: int) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.fail(f"the query nests too deeply; at most {MAX_DEPTH} levels are allowed", start)

    def high(self, height: int, start: int) -> int:
        if height > MAX_DEPTH:
            self.fail(f"the query nests too deeply; at most {MAX_DEPTH} levels are allowed", start)
        return height

    # Operators

    def expression(self) -> tuple[Expr, int]:
        """Parse operands and operators up to whatever cannot continue them."""
        operators: list[_Operator] = []
        operands: list[tuple[Expr, int]] = []
        while True:
            while self.token.kind is Kind.OPERATOR and self.token.text in "+-":
                operators.append(_Operator(self.advance(), UNARY_PRECEDENCE, None))
            operands.append(self.operand())
            precedence = self.binary_precedence()
            if precedence is None:
                break
            while operators and self.binds_before(operators[-1], precedence):
                self.reduce(operators, operands)
            token = self.advance()
            operators.append(_Operator(token, precedence, self.modifiers(token)))
        while operators:
            self.reduce(operators, operands)
        return operands[0]

    def binary_precedence(self) -> int | None:
        if self.token.kind in (Kind.OPERATOR, Kind.KEYWORD):
            return PRECEDENCE.get(self.token.text)
        return None

    def binds_before(self, waiting: _Operator, precedence: int) -> bool:
        if waiting.precedence == precedence:
            return waiting.token.text not in RIGHT_ASSOCIATIVE
        return waiting.precedence > precedence

    def reduce(self, operators: list[_Operator], operands: list[tuple[Expr, int]]) -> None:
        operator = operators.pop()
        rhs = operands.pop()
        if operator.modifiers is None:
            operands.append(self.unary(operator.token, *rhs))
        else:
            operands.append(self.binary(operator, operands.pop(), rhs))

    def unary(self, sign: Token, expr: Expr, height: int) -> tuple[Expr, int]:
        span = (sign.start, expr.span[1])
        place = self.place(sign.start)
        if isinstance(expr, NumberLiteral):
            value = -expr.value if sign.text == "-" else expr.value
            return NumberLiteral(value, span=span, place=place), height
        if expr.type not in (ValueType.SCALAR, ValueType.VECTOR):
            self.fail(
                "unary expression only allowed on expressions of type scalar or instant vector, "
                f'got "{expr.type.words}"',
                sign.start,
            )
        return UnaryExpr(sign.text, expr, span=span, place=place), self.high(height + 1, sign.start)

    def modifiers(self, operator: Token) -> _Modifiers:
        return_bool = False
        if self.is_word("bool"):
            if operator.text not in COMPARISONS:
                self.fail("bool modifier can only be used on comparison operators", operator.start)
            self.advance()
            return_bool = True
        if not self.is_word("on", "ignoring"):
            return _Modifiers(return_bool)
        on = self.advance().text == "on"
        labels = self.grouping_labels()
        card = Cardinality.ONE_TO_ONE
        include: tuple[str, ...] = ()
        if self.is_word("group_left", "group_right"):
            word = self.advance().text
            card = Cardinality.MANY_TO_ONE if word == "group_left" else Cardinality.ONE_TO_MANY
            include = self.grouping_labels() if self.is_mark("(") else ()
            for name in labels:
                if on and name in include:
                    self.fail(
                        f'label "{name}" must not occur in ON and GROUP clause at once',
                        operator.start,
                    )
        return _Modifiers(return_bool, VectorMatching(card, labels, on, include))

    def binary(
        self, operator: _Operator, left: tuple[Expr, int], right: tuple[Expr, int]
    ) -> tuple[Expr, int]:
        lhs, rhs = left[0], right[0]
        op, modifiers = operator.token.text, operator.modifiers or _Modifiers()
        for side in (lhs, rhs):
            if side.type not in (ValueType.SCALAR, ValueType.VECTOR):
                self.fail(
                    "binary expression must contain only scalar and instant vector types",
                    side.span[0],
                )
        start = lhs.span[0]
        both_vectors = lhs.type is ValueType.VECTOR and rhs.type is ValueType.VECTOR
        both_scalars = lhs.type is ValueType.SCALAR and rhs.type is ValueType.SCALAR
        matching: VectorMatching | None = modifiers.matching
        if op in COMPARISONS and both_scalars and not modifiers.return_bool:
            self.fail("comparisons between scalars must use BOOL modifier", operator.token.start)
        if not both_vectors:
            if op in SET_OPERATORS:
                self.fail(f'set operator "{op}" not allowed in binary scalar expression', start)
            if modifiers.matching.labels:
                self.fail("vector matching only allowed between instant vectors", start)
            matching = None
        elif op in SET_OPERATORS:
            if modifiers.matching.card is not Cardinality.ONE_TO_ONE:
                self.fail(f'no grouping allowed for "{op}" operation', start)
            matching = replace(modifiers.matching, card=Cardinality.MANY_TO_MANY)
        # The left side of a chain is walked in a loop everywhere, so it adds no level.
        left_height = left[1] if isinstance(lhs, BinaryExpr) else left[1] + 1
        height = self.high(max(left_height, right[1] + 1), operator.token.start)
        span = (start, rhs.span[1])
        node = BinaryExpr(
            op, lhs, rhs, matching, modifiers.return_bool, span=span, place=self.place(start)
        )
        return node, height

    # Operands

    def operand(self) -> tuple[Expr, int]:
        expr, height = self.primary()
        while True:
            if self.is_mark("["):
                expr = self.bracket(expr)
                height = self.high(height + 1, expr.span[0])
            elif self.is_word("offset"):
                expr = self.offset(expr)
            elif self.is_mark("@"):
                expr = self.at(expr)
            else:
                return expr, height

    def primary(self) -> tuple[Expr, int]:
        token = self.token
        place = self.place(token.start)
        span = (token.start, token.end)
        if token.kind is Kind.NUMBER:
            self.advance()
            return NumberLiteral(parse_number(token.text), span=span, place=place), 1
        if token.kind is Kind.DURATION:
            self.advance()
            seconds = self.duration_ns(token) / SECOND
            return NumberLiteral(seconds, span=span, place=place), 1
        if token.kind is Kind.STRING:
            self.advance()
            return StringLiteral(token.text, span=span, place=place), 1
        if self.is_mark("("):
            return self.parentheses()
        if self.is_mark("{"):
            return self.selector(None), 1
        if token.kind is Kind.IDENTIFIER:
            self.advance()
            if self.is_mark("(") and ":" not in token.text:
                return self.call(token)
            return self.selector(token), 1
        if token.kind is Kind.KEYWORD and token.text not in _NO_METRIC_WORDS:
            self.advance()
            follows = self.is_mark("(") or self.is_word("by", "without")
            if token.text in AGGREGATORS and follows:
                return self.aggregate(token)
            return self.selector(token), 1
        return self.unexpected()

    def parentheses(self) -> tuple[Expr, int]:
        opening = self.advance()
        self.nest(opening.start)
        inner, height = self.expression()
        closing = self.expect_mark(")", "parentheses")
        self.depth -= 1
        span = (opening.start, closing.end)
        node = ParenExpr(inner, span=span, place=self.place(opening.start))
        return node, self.high(height + 1, opening.start)

    def arguments(self, context: str) -> tuple[list[Expr], int, Token]:
        """Parse ``(a, b)``; returns the arguments, their height and the closing token."""
        opening = self.expect_mark("(", context)
        self.nest(opening.start)
        args: list[Expr] = []
        height = 0
        while not self.is_mark(")"):
            arg, arg_height = self.expression()
            args.append(arg)
            height = max(height, arg_height)
            if self.is_mark(","):
                comma = self.advance()
                if self.is_mark(")"):
                    self.fail("trailing commas not allowed in function call args", comma.start)
            elif not self.is_mark(")"):
                self.unexpected(context, '"," or ")"')
        self.depth -= 1
        return args, self.high(height + 1, opening.start), self.advance()

    def call(self, name: Token) -> tuple[Expr, int]:
        function = FUNCTIONS.get(name.text)
        if function is None:
            self.unknown_function(name)
        args, height, closing = self.arguments(f'call to "{name.text}"')
        self.check_arguments(function, args, name.start)
        span = (name.start, closing.end)
        place = self.place(name.start)
        return Call(name.text, tuple(args), function.returns, span=span, place=place), height

    def unknown_function(self, name: Token) -> NoReturn:
        message = f'unknown function with name "{name.text}"'
        known = [*FUNCTIONS, *AGGREGATORS]
        close = difflib.get_close_matches(name.text.lower(), known, 1, 0.6)
        if close:
            message += f'; did you mean "{close[0]}"?'
        self.fail(message, name.start)

    def check_arguments(self, function: Function, args: list[Expr], start: int) -> None:
        name, types, given = function.name, function.args, len(args)
        if function.variadic == 0:
            if given != len(types):
                self.fail(
                    f'expected {len(types)} argument(s) in call to "{name}", got {given}', start
                )
        else:
            least = len(types) - 1
            most = least + function.variadic
            if given < least:
                self.fail(
                    f'expected at least {least} argument(s) in call to "{name}", got {given}',
                    start,
                )
            if function.variadic > 0 and given > most:
                self.fail(
                    f'expected at most {most} argument(s) in call to "{name}", got {given}', start
                )
        for i, arg in enumerate(args):
            wanted = types[min(i, len(types) - 1)]
            if arg.type is not wanted:
                self.fail(
                    f'expected type {wanted.words} in call to function "{name}", '
                    f"got {arg.type.words}",
                    arg.span[0],
                )
        if name == "info" and given > 1:
            selector = args[1]
            if not isinstance(selector, VectorSelector) or selector.name:
                self.fail("expected label selectors only", selector.span[0])
            self.matches_everything.pop(selector.span, None)

    def aggregate(self, op: Token) -> tuple[Expr, int]:
        grouping: tuple[str, ...] = ()
        without = False
        modified = self.is_word("by", "without")
        if modified:
            without = self.advance().text == "without"
            grouping = self.grouping_labels()
        args, height, closing = self.arguments("aggregation")
        end = closing.end
        if not modified and self.is_word("by", "without"):
            without = self.advance().text == "without"
            grouping = self.grouping_labels()
            end = self.tokens[self.index - 1].end
        parameter_type = _PARAMETER_TYPE.get(op.text)
        if not args:
            self.fail("no arguments for aggregate expression provided", op.start)
        wanted = 1 if parameter_type is None else 2
        if len(args) != wanted:
            self.fail(
                "wrong number of arguments for aggregate expression provided, "
                f"expected {wanted}, got {len(args)}",
                op.start,
            )
        expr = args[-1]
        if expr.type is not ValueType.VECTOR:
            self.fail(
                f"expected type instant vector in aggregation expression, got {expr.type.words}",
                expr.span[0],
            )
        param = None
        if parameter_type is not None:
            param = args[0]
            if param.type is not parameter_type:
                self.fail(
                    f"expected type {parameter_type.words} in aggregation parameter, "
                    f"got {param.type.words}",
                    param.span[0],
                )
        span, place = (op.start, end), self.place(op.start)
        node = AggregateExpr(op.text, expr, param, grouping, without, span=span, place=place)
        return node, height

    def grouping_labels(self) -> tuple[str, ...]:
        self.expect_mark("(", "grouping opts")
        names: list[str] = []
        while not self.is_mark(")"):
            token = self.token
            if token.kind is Kind.STRING:
                if not is_label_name(token.text):
                    self.fail(f"invalid label name {shorten(token.raw)}", token.start)
                names.append(token.text)
            elif token.kind is Kind.KEYWORD:
                names.append(token.raw)
            elif token.kind is Kind.IDENTIFIER and ":" not in token.text:
                names.append(token.text)
            else:
                self.unexpected("grouping opts", "label")
            self.advance()
            if self.is_mark(","):
                self.advance()
            elif not self.is_mark(")"):
                self.unexpected("grouping opts", '"," or ")"')
        self.advance()
        return tuple(names)

    # Selectors

    def selector(self, name_token: Token | None) -> VectorSelector:
        start = self.token.start if name_token is None else name_token.start
        end = self.token.start if name_token is None else name_token.end
        name = "" if name_token is None else name_token.raw or name_token.text
        matchers: list[Matcher] = []
        if self.is_mark("{"):
            quoted, end = self.matchers(matchers)
            for given in quoted:
                if name:
                    self.name_set_twice(name, given, start)
                name = given
        if name:
            for matcher in matchers:
                if matcher.name == METRIC_NAME:
                    self.name_set_twice(name, matcher.value, start)
            matchers.insert(0, Matcher(METRIC_NAME, MatchType.EQUAL, name))
        span = (start, end)
        node = VectorSelector(name, tuple(matchers), span=span, place=self.place(start))
        if not name and not any(self.rejects_empty(m, start) for m in matchers):
            self.matches_everything[span] = node
        return node

    def rejects_empty(self, matcher: Matcher, start: int) -> bool:
        try:
            return not text_test(matcher)("")
        except QueryError as error:
            self.fail(error.message, start)

    def name_set_twice(self, first: str, second: str, start: int) -> NoReturn:
        self.fail(f'metric name must not be set twice: "{first}" or "{second}"', start)

    def matchers(self, out: list[Matcher]) -> tuple[list[str], int]:
        """Parse ``{...}`` into ``out``; returns bare quoted metric names and the end."""
        self.advance()
        names: list[str] = []
        while not self.is_mark("}"):
            token = self.token
            if token.kind not in (Kind.IDENTIFIER, Kind.STRING):
                self.unexpected("label matching", 'identifier or "}"')
            self.advance()
            if token.kind is Kind.STRING and (self.is_mark(",") or self.is_mark("}")):
                if not is_label_name(token.text):
                    self.fail(f"invalid metric name {shorten(token.raw)}", token.start)
                names.append(token.text)
            else:
                out.append(self.matcher(token))
            if self.is_mark(","):
                self.advance()
            elif not self.is_mark("}"):
                self.unexpected("label matching", '"," or "}"')
        return names, self.advance().end

    def matcher(self, label: Token) -> Matcher:
        if self.token.kind is not Kind.OPERATOR:
            self.unexpected("label matching", "label matching operator")
        operator = self.advance()
        value = self.token
        if value.kind is not Kind.STRING:
            self.unexpected("label matching", "string")
        self.advance()
        if not is_label_name(label.text):
            self.fail(f"invalid label name {shorten(label.raw)}", label.start)
        matcher = Matcher(label.text, MatchType(operator.text), value.text)
        self.rejects_empty(matcher, value.start)  # compiles a regular expression
        return matcher

    # Ranges, offsets, @

    def bracket(self, expr: Expr) -> Expr:
        opening = self.advance()
        range_ns = self.positive_duration("subquery or range selector")
        if self.is_mark("]"):
            closing = self.advance()
            if not isinstance(expr, VectorSelector):
                self.fail("ranges only allowed for vector selectors", opening.start)
            if expr.offset_ns:
                self.fail("no offset modifiers allowed before range", opening.start)
            if expr.at_ns is not None or expr.at_edge is not None:
                self.fail("no @ modifiers allowed before range", opening.start)
            span = (expr.span[0], closing.end)
            return MatrixSelector(expr, range_ns, span=span, place=expr.place)
        if not self.is_mark(":"):
            self.unexpected("subquery or range", '":" or "]"')
        self.advance()
        step_ns = None
        if not self.is_mark("]"):
            step_ns = self.positive_duration("subquery selector", 'duration or "]"')
        closing = self.expect_mark("]", "subquery selector")
        if expr.type is not ValueType.VECTOR:
            self.fail(
                f"subquery is only allowed on instant vector, got {expr.type.value} instead",
                expr.span[0],
            )
        span = (expr.span[0], closing.end)
        return SubqueryExpr(expr, range_ns, step_ns, span=span, place=expr.place)

    def positive_duration(self, context: str, expected: str = "duration") -> int:
        start = self.token.start
        duration = self.signed_duration(context, expected)
        if duration <= 0:
            self.fail("duration must be greater than 0", start)
        return duration

    def signed_duration(self, context: str, expected: str) -> int:
        """Parse a duration or a number of seconds, with a sign or not, as nanoseconds."""
        sign = self.sign()
        token = self.token
        if token.kind is Kind.DURATION:
            self.advance()
            return sign * self.duration_ns(token)
        if token.kind is Kind.NUMBER:
            self.advance()
            seconds = parse_number(token.text)
            if not abs(seconds) * SECOND < _MAX_NS:
                self.fail("duration out of range", token.start)
            return sign * round(seconds * 1000) * MILLISECOND
        return self.unexpected(context, expected)

    def sign(self) -> int:
        sign = 1
        if self.token.kind is Kind.OPERATOR and self.token.text in "+-":
            sign = -1 if self.advance().text == "-" else 1
        return sign

    def duration_ns(self, token: Token) -> int:
        try:
            return parse_duration(token.text)
        except ValueError as error:
            self.fail(str(error), token.start)

    def shifted(self, expr: Expr) -> VectorSelector | SubqueryExpr | None:
        """Return the part of an expression that offset and @ modify."""
        if isinstance(expr, MatrixSelector):
            return expr.selector
        return expr if isinstance(expr, VectorSelector | SubqueryExpr) else None

    def with_shift(self, expr: Expr, shifted: VectorSelector | SubqueryExpr, end: int) -> Expr:
        if isinstance(expr, MatrixSelector) and isinstance(shifted, VectorSelector):
            return replace(expr, selector=shifted, span=(expr.span[0], end))
        if isinstance(shifted, VectorSelector) and expr.span in self.matches_everything:
            # Keep the note about an empty matcher under the selector's new place.
            del self.matches_everything[expr.span]
            self.matches_everything[(expr.span[0], end)] = shifted
        return replace(shifted, span=(expr.span[0], end))

    def offset(self, expr: Expr) -> Expr:
        keyword = self.advance()
        offset_ns = self.signed_duration("offset", "duration")
        shifted = self.shifted(expr)
        if shifted is None:
            self.fail(
                "offset modifier must be preceded by an instant vector selector or range vector "
                "selector or a subquery",
                keyword.start,
            )
        if shifted.offset_ns:
            self.fail("offset may not be set multiple times", keyword.start)
        end = self.tokens[self.index - 1].end
        return self.with_shift(expr, replace(shifted, offset_ns=offset_ns), end)

    def at(self, expr: Expr) -> Expr:
        mark = self.advance()
        shifted = self.shifted(expr)
        if shifted is None:
            self.fail(
                "@ modifier must be preceded by an instant vector selector or range vector "
                "selector or a subquery",
                mark.start,
            )
        if shifted.at_ns is not None or shifted.at_edge is not None:
            self.fail("@ <timestamp> may not be set multiple times", mark.start)
        if self.is_word("start", "end"):
            edge = Edge(self.advance().text)
            self.expect_mark("(", "@")
            self.expect_mark(")", "@")
            shifted = replace(shifted, at_edge=edge)
        else:
            shifted = replace(shifted, at_ns=self.timestamp_ns())
        return self.with_shift(expr, shifted, self.tokens[self.index - 1].end)

    def timestamp_ns(self) -> int:
        sign = self.sign()
        token = self.token
        if token.kind is Kind.DURATION:
            self.advance()
            return sign * self.duration_ns(token)
        if token.kind is not Kind.NUMBER:
            self.unexpected("@", "timestamp")
        self.advance()
        seconds = parse_number(token.text)
        if not math.isfinite(seconds) or abs(seconds) * 1000 >= _MAX_NS:
            self.fail(f"timestamp out of bounds for @ modifier: {seconds:f}", token.start)
        return sign * round(seconds * 1000) * MILLISECOND
