"""The YAML reader: safe, strictly typed, and exact about places (T16)."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.config.yaml_document import MAX_BYTES, read_yaml
from tapewatch.model.errors import ConfigError


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_yaml(text, "a.yaml")
    return [str(p) for p in caught.value.problems]


@pytest.mark.requirement("T16")
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("Off", "Off"),
        ("10:30", "10:30"),
        ("2026-01-05", "2026-01-05"),
        ("1e3", 1000.0),
        ("1_000", "1_000"),
        ("012", 12),
        ("0o17", 15),
        ("0xff", 255),
        ("-.5", -0.5),
        ("true", True),
        ("~", None),
        ("", None),
        ("'true'", "true"),
        ('"1"', "1"),
        ("1.2.3", "1.2.3"),
        (".inf", math.inf),
        ("-.INF", -math.inf),
    ],
)
def test_a_plain_word_has_the_type_of_the_core_schema(text: str, value: object) -> None:
    read = read_yaml(f"a: {text}\n", "a.yaml").data["a"]
    assert read == value
    assert type(read) is type(value)


def test_nan_is_a_number() -> None:
    assert math.isnan(read_yaml("a: .nan", "a.yaml").data["a"])


def test_keys_are_always_text() -> None:
    assert read_yaml("1: a\ntrue: b\nno: c\n", "a.yaml").data == {"1": "a", "true": "b", "no": "c"}


def test_a_scalar_is_also_known_as_it_was_written() -> None:
    document = read_yaml("labels:\n  level: 007\n", "a.yaml")
    assert document.data["labels"]["level"] == 7
    assert document.text(("labels", "level")) == "007"
    assert document.text(("labels",)) is None


def test_an_empty_file_is_null() -> None:
    assert read_yaml("# nothing\n", "a.yaml").data is None


def test_every_value_and_key_knows_its_place() -> None:
    text = "groups:\n  - name: a\n    rules:\n      - {expr: 'up == 0', for: 5m}\n"
    document = read_yaml(text, "a.yaml")
    assert document.position(("groups", 0, "name")) == (2, 11)
    assert document.key_position(("groups", 0, "name")) == (2, 5)
    assert document.position(("groups", 0, "rules", 0, "expr")) == (4, 16)
    assert document.position(("groups", 0, "rules", 7, "expr")) == (4, 7)
    assert document.key_position(("groups", 0)) == (2, 5)


@pytest.mark.parametrize(
    ("value", "inner", "place"),
    [
        ("up == 0", (1, 4), (1, 10)),
        ("'up == 0'", (1, 4), (1, 11)),
        ("|\n  up ==\n  0", (1, 4), (2, 6)),
        ("|\n  up ==\n   0", (2, 2), (3, 4)),
        (">\n  up ==\n  0", (1, 4), (1, 7)),
        ('"up\\t== 0"', (1, 4), (1, 7)),
        ("up ==\n  0", (1, 4), (1, 7)),
        ("|\n  up", (5, 1), (1, 7)),
    ],
)
def test_a_place_inside_a_text_is_a_place_in_the_file_where_that_can_be_known(
    value: str, inner: tuple[int, int], place: tuple[int, int]
) -> None:
    assert read_yaml(f"expr: {value}\n", "a.yaml").inner_position(("expr",), *inner) == place


def test_a_place_inside_something_that_is_no_text_is_its_start() -> None:
    assert read_yaml("expr: [1]\n", "a.yaml").inner_position(("expr",), 1, 2) == (1, 7)


@pytest.mark.requirement("T16")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", "a.yaml:3:1: duplicate key 'a', first given on line 1; keep one"),
        (
            "a: !!python/object:os.system {}\n",
            "a.yaml:1:4: the tag tag:yaml.org,2002:python/object:os.system is not accepted; "
            "write the plain value",
        ),
        ("a: !x 1\n", "a.yaml:1:4: the tag !x is not accepted; write the plain value"),
        ("a: *x\n", "a.yaml:1:4: alias *x has no anchor &x before it"),
        ("a: &x [*x]\n", "a.yaml:1:8: alias *x has no anchor &x before it"),
        ("? [a]\n: 1\n", "a.yaml:1:3: a key must be text, found a list or mapping"),
        ("a: 1\n---\nb: 1\n", "a.yaml:2:1: a second document begins here; expected one per file"),
        ("a: \x00\n", "a.yaml:1:4: the character U+0000 is not allowed in YAML"),
        ("a: b: c\n", "a.yaml:1:5: not valid YAML: mapping values are not allowed here"),
        (
            "a: 1234567890123456789\n",
            "a.yaml:1:4: an integer of more than 18 digits; quote it if it is text",
        ),
        ("<<: 1\n", "a.yaml:1:1: << merges a mapping or a list of mappings, found a value"),
    ],
)
def test_what_is_refused_is_named_with_its_place(text: str, expected: str) -> None:
    assert problems(text) == [expected]


def test_a_broken_flow_list_names_what_was_expected() -> None:
    (problem,) = problems("a: [1, 2\n")
    assert problem.startswith("a.yaml:2:1: not valid YAML: while parsing a flow sequence")


def test_all_problems_are_reported_in_one_pass_and_in_file_order() -> None:
    assert problems("a: !x 1\nb: 1\nb: 2\nc: *d\n") == [
        "a.yaml:1:4: the tag !x is not accepted; write the plain value",
        "a.yaml:3:1: duplicate key 'b', first given on line 2; keep one",
        "a.yaml:4:4: alias *d has no anchor &d before it",
    ]


@pytest.mark.requirement("T16")
def test_an_alias_bomb_is_refused_at_once() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]\n"]
    levels += [f"a{i}: &a{i} [" + ", ".join([f"*a{i - 1}"] * 9) + "]\n" for i in range(1, 10)]
    start = time.perf_counter()
    (problem,) = problems("".join(levels))
    assert "more than 200000 values once aliases are expanded" in problem
    assert time.perf_counter() - start < 10


@pytest.mark.requirement("T16")
def test_depth_is_bounded_also_through_aliases() -> None:
    assert "nested deeper than 32 levels" in problems("[" * 40 + "]" * 40)[0]
    chain = "a0: &a0 [1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 60))
    assert "nested deeper than 32 levels once aliases" in problems(chain)[0]
    assert read_yaml("[" * 31 + "]" * 31, "a.yaml").data


@pytest.mark.requirement("T16")
def test_a_file_larger_than_the_limit_is_refused_before_it_is_parsed() -> None:
    assert problems("#" * (MAX_BYTES + 1)) == ["a.yaml: the file is larger than 1024 KiB"]
    assert problems("#" + "é" * (MAX_BYTES // 2)) == ["a.yaml: the file is larger than 1024 KiB"]


def test_an_alias_and_a_merge_give_the_anchored_values_and_own_keys_win() -> None:
    text = "base: &b {x: 1, y: 2}\na: {<<: *b, y: 3}\nc: *b\nd: {<<: [{x: 5}, *b]}\n"
    document = read_yaml(text, "a.yaml")
    assert document.data == {
        "base": {"x": 1, "y": 2},
        "a": {"x": 1, "y": 3},
        "c": {"x": 1, "y": 2},
        "d": {"x": 5, "y": 2},
    }
    assert document.position(("a", "x")) == (1, 14)


def test_a_problem_can_be_placed_at_a_key_or_at_its_value() -> None:
    document = read_yaml("a:\n  b: 1\n", "f.yaml")
    assert str(document.problem(("a", "b"), "no")) == "f.yaml:2:6: no"
    assert str(document.problem(("a", "b"), "no", at_key=True)) == "f.yaml:2:3: no"


@given(st.text(max_size=200) | st.text(alphabet="ab:- \n[]{}*&!|>'\"#?%,<\t", max_size=60))
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    try:
        document = read_yaml(text, "f.yaml")
    except ConfigError as error:
        assert error.problems
        assert all(p.path == "f.yaml" for p in error.problems)
    else:
        assert document.position(()) >= (1, 1)
