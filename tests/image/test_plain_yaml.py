"""The reader of compose files takes what they use, and refuses what two readers would take differently."""

import pytest

from tests.image.plain_yaml import YamlError, read

TEXT = """\
# A comment.
name: edge
services:
  one:
    ports:
      - "80:80"   # Not 4880.
      - "81:81"
    memory: 2g
    processes: 512
    read_only: true
    address: "a # b"
volumes:
  data:
"""


def test_what_compose_files_use_is_read() -> None:
    one = {
        "ports": ["80:80", "81:81"],
        "memory": "2g",
        "processes": 512,
        "read_only": True,
        "address": "a # b",
    }
    assert read(TEXT) == {"name": "edge", "services": {"one": one}, "volumes": {"data": None}}


@pytest.mark.parametrize(
    "line",
    [
        "a: 80:80",
        "a: yes",
        "a: Off",
        "a: 010",
        "a: 1e3",
        "a: 2.0",
        "a: ~",
        "a: null",
        "a: &anchor",
        "a: *anchor",
        "a: [b]",
        "a: {b: c}",
        "a: |",
        "a: 'b'",
        'a: "b',
        "a: b: c",
        "a: !tag b",
        "a: @b",
        "on: b",
        "a b: c",
        "a:\tb",
        "a: b ",
        "a:\n   b: c",
        "a: b\na: c",
        "a: b\n  c: d",
    ],
)
def test_what_is_read_in_two_ways_is_refused(line: str) -> None:
    with pytest.raises(YamlError):
        read(line)
