"""The line of a key, in layouts that people and programs write."""

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.lines import key_lines

ODD = '''\
# [broker] not here
title = "[broker]" # port = 1
"quoted key" = 'a # no comment'
text = """
[broker]
port = 2
quotes: "" \\""" """""
literal = \'\'\'
port = 3\'\'\'
  [ broker . "inner" ]  # comment
	port=4
a . b.'c' = 5
list = [ # [x]
  1, "]",
  { deep = 1 }, [ "port = 6" ],
]
inline = { one = 1, "two" = { three = [ 3 ] }, f.g = "}" }
date = 2026-11-23 20:00:00
"\\u0041\\n" = 1
[[array]]
k = 1
[last]
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("title", 2),
        ("quoted key", 3),
        ("text", 4),
        ("literal", 8),
        ("broker", 10),
        ("broker/inner", 10),
        ("broker/inner/port", 11),
        ("broker/inner/a/b/c", 12),
        ("broker/inner/list", 13),
        ("broker/inner/list/2/deep", 15),
        ("broker/inner/inline", 17),
        ("broker/inner/inline/two/three", 17),
        ("broker/inner/inline/f/g", 17),
        ("broker/inner/date", 18),
        ("broker/inner/A\n", 19),
        ("array/k", 21),
        ("last", 22),
    ],
)
def test_odd_layouts(path: str, line: int) -> None:
    tomllib.loads(ODD)
    assert key_lines(ODD)[tuple(path.split("/"))] == line


def test_windows_line_ends_count_once() -> None:
    assert key_lines("a = 1\r\n\r\n[b]\r\nc = 2\r\n") == {("a",): 1, ("b",): 3, ("b", "c"): 4}


KEYS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=5)
LEAVES = st.one_of(
    st.integers(-9, 9).map(str),
    st.sampled_from(['"a]}#"', "'=\"'", '"""\n"\\"x\n"""', "'''\n''\n'''", "1979-05-27", "1e3", "true", "nan"]),
)


def _quoted(key: str) -> str:
    return '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _written(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_quoted(key)} = {_written(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[ # c\n" + ",\n".join(_written(inner) for inner in value) + "]"
    return str(value)


VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)


@given(st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=3), max_size=4))
def test_every_key_is_found_on_the_line_that_names_it(tables: dict[str, dict[str, Any]]) -> None:
    text = ""
    expected = {}
    for table, pairs in tables.items():
        text += f"\n[{_quoted(table)}]\n"
        for key, value in pairs.items():
            expected[table, key] = text.count("\n") + 1
            text += f"{_quoted(key)} = {_written(value)} # end\n"
    tomllib.loads(text)
    found = key_lines(text)
    assert {path: line for path, line in found.items() if path in expected} == expected
    assert {path[0] for path in found} == set(tables)


@given(st.text(st.sampled_from("a=[]{}\"'.,#\n \\1")))
def test_any_text_has_an_answer(text: str) -> None:
    assert all(line >= 1 for line in key_lines(text).values())
