"""Cuts a PromQL text into tokens, each with its place, and unquotes strings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import NoReturn

from tapewatch.model.errors import QueryError


class Kind(Enum):
    """What a token is."""

    END = auto()
    IDENTIFIER = auto()
    KEYWORD = auto()
    """A word with a meaning of its own; most may still name a metric or a label."""
    NUMBER = auto()
    DURATION = auto()
    STRING = auto()
    OPERATOR = auto()
    PUNCTUATION = auto()


AGGREGATORS = frozenset(
    {
        *("sum", "avg", "count", "min", "max", "group", "stddev", "stdvar"),
        *("topk", "bottomk", "count_values", "quantile", "limitk", "limit_ratio"),
    }
)
WORD_OPERATORS = frozenset({"and", "or", "unless", "atan2"})
KEYWORDS = (
    AGGREGATORS
    | WORD_OPERATORS
    | {"by", "without", "on", "ignoring", "group_left", "group_right"}
    | {"offset", "bool", "start", "end"}
)


@dataclass(frozen=True, slots=True)
class Token:
    """One token. ``text`` is as written, but strings are unquoted and keywords in lower case."""

    kind: Kind
    text: str
    start: int
    end: int
    raw: str = ""
    """The word as written, where ``text`` is not."""

    def describe(self) -> str:
        """Return the token as an error message names it."""
        if self.kind is Kind.END:
            return "end of input"
        if self.kind is Kind.IDENTIFIER:
            return f'identifier "{self.text}"'
        if self.kind is Kind.OPERATOR or self.text in WORD_OPERATORS:
            return f"<op:{self.text}>"
        if self.kind is Kind.KEYWORD:
            return f"<aggr:{self.text}>" if self.text in AGGREGATORS else f"<{self.text}>"
        if self.kind is Kind.STRING:
            return f"string {shorten(self.raw)}"
        if self.kind in (Kind.NUMBER, Kind.DURATION):
            return f'{self.kind.name.lower()} "{self.text}"'
        return f'"{self.text}"'


def shorten(text: str) -> str:
    """Return a text cut to what an error message can carry."""
    return text if len(text) <= 40 else text[:40] + "..."


class LexicalError(QueryError):
    """A text cannot be cut into tokens; carries the place as an offset only."""


_SPACE = re.compile(r"(?:[ \t\r\n]+|#[^\r\n]*)+")
_WORD = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*")
_LABEL_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DURATION = re.compile(r"(?:[0-9]+(?:ms|[smhdwy]))+(?![A-Za-z0-9_.])")
_NUMBER = re.compile(
    r"(?:0[xX]_?[0-9a-fA-F]+(?:_[0-9a-fA-F]+)*"
    r"|(?:[0-9]+(?:_[0-9]+)*(?:\.(?:[0-9]+(?:_[0-9]+)*)?)?|\.[0-9]+(?:_[0-9]+)*)"
    r"(?:[eE][+-]?[0-9]+(?:_[0-9]+)*)?)(?![A-Za-z0-9_.])"
)
_NUMBER_LIKE = re.compile(r"[0-9A-Za-z_.]+")
_OPERATOR = re.compile(r"==|!=|<=|>=|[-+*/%^<>]")
_MATCH_OPERATOR = re.compile(r"=~|!~|!=|=")
_PUNCTUATION = frozenset("(){}[],:@=")
_SIMPLE_ESCAPES = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "\\": "\\",
}
_NUMERIC_ESCAPES = {"x": (2, 16), "u": (4, 16), "U": (8, 16)}


def tokenize(text: str) -> list[Token]:
    """Return the tokens of a PromQL text, closed by one of kind END.

    Raises:
        LexicalError: With the offset of what cannot be a token.
    """
    return _Lexer(text).run()


class _Lexer:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[Token] = []
        self.brackets: list[str] = []
        """Open brackets. Inside ``{`` words are labels, inside ``[`` a colon stands alone."""

    def run(self) -> list[Token]:
        text, position = self.text, 0
        while True:
            space = _SPACE.match(text, position)
            if space is not None:
                position = space.end()
            if position >= len(text):
                break
            position = self._next(position)
        if self.brackets:
            self._fail(self._unclosed(), len(text))
        self.tokens.append(Token(Kind.END, "", len(text), len(text)))
        return self.tokens

    def _next(self, start: int) -> int:
        char = self.text[start]
        if char.isascii() and (char.isalpha() or char in "_:"):
            return self._word(start)
        if char.isascii() and (char.isdigit() or char == "."):
            return self._number(start)
        if char in "\"'`":
            return self._string(start)
        inside_braces = bool(self.brackets) and self.brackets[-1] == "{"
        pattern = _MATCH_OPERATOR if inside_braces else _OPERATOR
        operator = pattern.match(self.text, start)
        if operator is not None:
            return self._emit(Kind.OPERATOR, operator.group(), start, operator.end())
        if char in _PUNCTUATION:
            return self._punctuation(char, start)
        where = " inside braces" if inside_braces else ""
        return self._fail(f"unexpected character{where}: {char!r}", start)

    def _emit(self, kind: Kind, text: str, start: int, end: int, raw: str = "") -> int:
        self.tokens.append(Token(kind, text, start, end, raw))
        return end

    def _word(self, start: int) -> int:
        inside = self.brackets[-1] if self.brackets else ""
        if inside == "[" and self.text[start] == ":":
            return self._emit(Kind.PUNCTUATION, ":", start, start + 1)
        match = (_LABEL_WORD if inside == "{" else _WORD).match(self.text, start)
        if match is None:
            self._fail("unexpected character inside braces: ':'", start)
        word = match.group()
        if inside != "{":
            lower = word.lower()
            if lower in KEYWORDS:
                return self._emit(Kind.KEYWORD, lower, start, match.end(), word)
            if lower in ("inf", "nan"):
                return self._emit(Kind.NUMBER, lower, start, match.end(), word)
        return self._emit(Kind.IDENTIFIER, word, start, match.end())

    def _number(self, start: int) -> int:
        for pattern, kind in ((_DURATION, Kind.DURATION), (_NUMBER, Kind.NUMBER)):
            match = pattern.match(self.text, start)
            if match is not None:
                return self._emit(kind, match.group(), start, match.end())
        bad = _NUMBER_LIKE.match(self.text, start)
        found = bad.group() if bad else self.text[start]
        return self._fail(f"bad number or duration syntax: {shorten(found)!r}", start)

    def _punctuation(self, char: str, start: int) -> int:
        if char in "({[":
            if self.brackets and self.brackets[-1] in "{[":
                self._fail(f"unexpected {_BRACKET_NAMES[char]} {char!r}", start)
            self.brackets.append(char)
        elif char in ")}]":
            if not self.brackets or self.brackets[-1] != _OPENING[char]:
                if self.brackets and self.brackets[-1] in "{[":
                    self._fail(self._unclosed(), start)
                self._fail(f"unexpected {_BRACKET_NAMES[char]} {char!r}", start)
            self.brackets.pop()
        return self._emit(Kind.PUNCTUATION, char, start, start + 1)

    def _unclosed(self) -> str:
        if self.brackets[-1] == "{":
            return "unexpected end of input inside braces"
        return f"unclosed {_BRACKET_NAMES[self.brackets[-1]]}"

    def _string(self, start: int) -> int:
        quote = self.text[start]
        position = start + 1
        parts = bytearray()
        while True:
            if position >= len(self.text):
                kind = "raw" if quote == "`" else "quoted"
                self._fail(f"unterminated {kind} string", start)
            char = self.text[position]
            position += 1
            if char == quote:
                break
            if quote != "`":
                if char == "\n":
                    self._fail("unterminated quoted string", start)
                if char == "\\":
                    position = self._escape(position, quote, parts)
                    continue
            parts += char.encode("utf-8", "surrogatepass")
        value = parts.decode("utf-8", "surrogateescape")
        return self._emit(Kind.STRING, value, start, position, self.text[start:position])

    def _escape(self, position: int, quote: str, parts: bytearray) -> int:
        """Decode the escape after a backslash as Go does and return the offset behind it."""
        if position >= len(self.text):
            self._fail("escape sequence not terminated", position - 1)
        char = self.text[position]
        if char == quote or char in _SIMPLE_ESCAPES:
            parts += _SIMPLE_ESCAPES.get(char, char).encode()
            return position + 1
        if char in _NUMERIC_ESCAPES:
            count, base = _NUMERIC_ESCAPES[char]
            begin = position + 1
        elif char in "01234567":
            count, base, begin = 3, 8, position
        else:
            self._fail(f"unknown escape sequence \\{char}", position - 1)
        digits = self.text[begin : begin + count]
        allowed = "01234567" if base == 8 else "0123456789abcdefABCDEF"
        if len(digits) < count or any(d not in allowed for d in digits):
            self._fail(f"illegal character in escape sequence \\{char}{digits[1:]}", position - 1)
        code = int(digits, base)
        is_byte = base == 8 or char == "x"
        if (is_byte and code > 255) or code > 0x10FFFF or 0xD800 <= code < 0xE000:
            self._fail("escape sequence is an invalid Unicode code point", position - 1)
        parts += bytes([code]) if is_byte else chr(code).encode()
        return begin + count

    def _fail(self, message: str, position: int) -> NoReturn:
        raise LexicalError(message, position=position)


_BRACKET_NAMES = {
    "(": "left parenthesis",
    ")": "right parenthesis",
    "[": "left bracket",
    "]": "right bracket",
    "{": "left brace",
    "}": "right brace",
}
_OPENING = {")": "(", "]": "[", "}": "{"}


def parse_number(text: str) -> float:
    """Return the value of a NUMBER token.

    Decimal, hexadecimal, a leading zero means octal when all digits are, underscores between
    digits, and Inf or NaN in any letter case. Too large becomes Inf.

    >>> parse_number("0x1F"), parse_number("017"), parse_number("1_000")
    (31.0, 15.0, 1000.0)
    """
    digits = text.replace("_", "")
    if digits[:2] in ("0x", "0X"):
        return float(int(digits, 16)) if len(digits) < 200 else float("inf")
    if len(digits) > 1 and digits[0] == "0" and all(d in "01234567" for d in digits):
        return float(int(digits, 8)) if len(digits) < 300 else float("inf")
    return float(digits)
