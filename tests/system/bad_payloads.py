"""Payloads that are wrong in every way we know, and some that only look it: each with what must become of it.

The numbers are those of the project's list of bad inputs. After RFC 8259 the JSON ones are either wrong (``n_``) or the
reader's to judge (``i_``); the names follow the JSON Parsing Test Suite, the bytes are written here.
"""

import json
import time
from dataclasses import dataclass, field
from typing import Any

from appliance.reading import Reason

DAY = 86_400


@dataclass(frozen=True, slots=True)
class Refused:
    """It is refused: for this reason, over HTTP with this status."""

    reason: Reason
    status: int


@dataclass(frozen=True, slots=True)
class Stored:
    """It is stored: with these metrics, its time kept or (``adjusted``) replaced by the time of receipt."""

    metrics: dict[str, Any] = field(default_factory=dict)
    adjusted: bool = False
    status: int = 202


@dataclass(frozen=True, slots=True)
class Case:
    """One payload."""

    name: str
    payload: bytes
    expected: Refused | Stored


NOT_A_MESSAGE = Refused(Reason.INVALID_PAYLOAD, 400)
NOT_JSON = Refused(Reason.INVALID_JSON, 400)
NOT_UTF8 = Refused(Reason.INVALID_ENCODING, 400)
BAD_METRIC = Refused(Reason.INVALID_METRIC, 422)
BAD_TIME = Refused(Reason.INVALID_TIMESTAMP, 422)


def _metrics(count: int) -> dict[str, Any]:
    return {f"m{number}": number for number in range(count)}


def _shapes() -> list[Case]:
    return [
        Case("P01 empty", b"", NOT_A_MESSAGE),
        Case("P01 spaces", b"  \r\n\t", NOT_A_MESSAGE),
        Case("P01 null", b"null", NOT_A_MESSAGE),
        Case("P01 number", b"1", NOT_A_MESSAGE),
        Case("P01 text", b'"x"', NOT_A_MESSAGE),
        Case("P01 empty list", b"[]", NOT_A_MESSAGE),
        Case("P02 NaN", b'{"a":NaN}', NOT_JSON),
        Case("P02 Infinity", b'{"a":Infinity}', NOT_JSON),
        Case("P02 -Infinity", b'{"a":-Infinity}', NOT_JSON),
        Case("P03 1e400", b'{"a":1e400}', BAD_METRIC),
        Case("P03 -1e400", b'{"a":-1e400}', BAD_METRIC),
        Case("P03 1e131071", b'{"v":1e131071}', BAD_METRIC),
        Case("P03 1e-400", b'{"a":1e-400}', Stored({"a": 0.0})),
        Case("P06 2^63", b'{"a":9223372036854775808}', NOT_A_MESSAGE),
        Case("P06 -2^63-1", b'{"a":-9223372036854775809}', NOT_A_MESSAGE),
        Case("P06 2^53+1", b'{"a":9007199254740993}', Stored({"a": 2**53 + 1})),
        Case("P06 2^63-1", b'{"a":9223372036854775807}', Stored({"a": 2**63 - 1})),
        Case("P06 -2^63", b'{"a":-9223372036854775808}', Stored({"a": -(2**63)})),
        Case("P08 NUL in a value", rb'{"a":"a\u0000b"}', BAD_METRIC),
        Case("P08 NUL in a name", rb'{"a\u0000b":1}', BAD_METRIC),
        Case("P09 high surrogate", rb'{"a":"\ud800"}', NOT_JSON),
        Case("P09 low surrogate", rb'{"a":"\udc00"}', NOT_JSON),
        Case("P09 reversed pair", rb'{"a":"\udc00\ud800"}', NOT_JSON),
        Case("P09 high surrogate in a name", rb'{"\ud800":1}', NOT_JSON),
        Case("P09 low surrogate in a name", rb'{"\udc00":1}', NOT_JSON),
        Case("P09 a whole pair", rb'{"a":"\ud83c\udde8"}', Stored({"a": "\U0001f1e8"})),
        Case("P12 Latin-1", b'{"a":"caf\xe9"}', NOT_UTF8),
        Case("P12 overlong", b'{"a":"\xc0\x80"}', NOT_UTF8),
        Case("P12 cut short", b'{"a":"\xe2\x82', NOT_UTF8),
        Case("P12 in a field nobody reads", b'{"metrics":{"a":1},"b":"\xe9"}', NOT_UTF8),
        Case("P14 65 metrics", json.dumps(_metrics(65)).encode(), Refused(Reason.TOO_MANY_METRICS, 422)),
        Case("P14 64 metrics", json.dumps(_metrics(64)).encode(), Stored(_metrics(64))),
        Case("P14 a name of 65", json.dumps({"n" * 65: 1}).encode(), BAD_METRIC),
        Case("P14 a name of 64", json.dumps({"n" * 64: 1}).encode(), Stored({"n" * 64: 1})),
        Case("P14 text of 257", json.dumps({"a": "x" * 257}).encode(), BAD_METRIC),
        Case("P14 text of 256", json.dumps({"a": "é" * 256}, ensure_ascii=False).encode(), Stored({"a": "é" * 256})),
        Case("P14 empty name", b'{"":1}', BAD_METRIC),
        Case("P14 __proto__", b'{"__proto__":1,"constructor":2}', Stored({"__proto__": 1, "constructor": 2})),
        Case("P15 16,385 bytes", b'{"a":1}'.ljust(16_385), Refused(Reason.PAYLOAD_TOO_LARGE, 413)),
        Case("P15 16,384 bytes", b'{"a":1}'.ljust(16_384), Stored({"a": 1})),
        Case("P16 trailing x", b'{"a":1}x', NOT_JSON),
        Case("P16 two documents", b'{"a":1}{"b":2}', NOT_JSON),
        Case("P16 NDJSON", b'{"a":1}\n{"b":2}\n', NOT_JSON),
        Case("P16 comment", b'{"a":1/*b*/}', NOT_JSON),
        Case("P16 trailing comma", b'{"a":1,}', NOT_JSON),
        Case("P16 single quotes", b"{'a':1}", NOT_JSON),
        Case("P16 hex", b'{"a":0x1}', NOT_JSON),
        Case("P16 01", b'{"a":01}', NOT_JSON),
        Case("P16 +1", b'{"a":+1}', NOT_JSON),
        Case("P18 object", b'{"a":{}}', BAD_METRIC),
        Case("P18 list", b'{"a":[1]}', BAD_METRIC),
        Case("P18 metrics a list", b'{"metrics":[]}', BAD_METRIC),
        Case("P18 metrics text", b'{"metrics":"x"}', BAD_METRIC),
        Case("P18 metrics null", b'{"metrics":null}', BAD_METRIC),
        Case("P18 a null among others", b'{"a":null,"b":2}', Stored({"b": 2})),
        Case("P18 33 deep", b'{"a":' * 33 + b"1" + b"}" * 33, NOT_JSON),
        Case("P18 of equal keys the last", b'{"a":1,"a":2}', Stored({"a": 2})),
        Case("seq -1", b'{"seq":-1,"a":1}', NOT_A_MESSAGE),
        Case("seq 2^63", b'{"seq":9223372036854775808,"a":1}', NOT_A_MESSAGE),
        Case("another tenant", b'{"tenant_id":"other","a":1}', Refused(Reason.TENANT_MISMATCH, 409)),
        Case("another device", b'{"device_id":"other","a":1}', Refused(Reason.DEVICE_MISMATCH, 409)),
        Case("a token where there is none", b'{"provision_token":"x","a":1}', Refused(Reason.TOKEN_NOT_SET, 403)),
    ]  # fmt: skip


def _texts() -> list[Case]:
    texts = [
        "<script>alert(1)</script>",
        "{{7*7}}",
        "${x}",
        "=cmd()",
        "a\r\nBcc: b",
        "\x1b[2J\x1b]0;x\x07",
        "<!channel>",
    ]
    stored = [Case(f"P23 {text!r}", json.dumps({"a": text}).encode(), Stored({"a": text})) for text in texts]
    return stored + [Case(f"P23 name {text!r}", json.dumps({text: 1}).encode(), BAD_METRIC) for text in texts]


def _times() -> list[Case]:
    now = int(time.time())
    wrong = [
        "2024-02-30T00:00:00Z", "2024-01-01T24:00:00Z", "2024-01-01T00:00:60Z", "2026-11-23T12:00:00",
        "2026-11-23T12:00:00+25:00", "2026-11-23T12:00:00.Z", "2026-W47-1T12:00:00Z", "", "yesterday",
    ]  # fmt: skip
    return [
        Case("P19 +10 years", b'{"ts":%d,"a":1}' % (now + 3650 * DAY), Stored({"a": 1}, adjusted=True)),
        Case("P19 +25 h", b'{"ts":%d,"a":1}' % (now + 25 * 3600), Stored({"a": 1}, adjusted=True)),
        Case("P19 1970", b'{"ts":0,"a":1}', Stored({"a": 1}, adjusted=True)),
        Case("P19 negative", b'{"ts":-1,"a":1}', Stored({"a": 1}, adjusted=True)),
        Case("P19 missing", b'{"a":1}', Stored({"a": 1})),
        Case("P19 too old", b'{"ts":%d,"a":1}' % (now - 40 * DAY), Refused(Reason.TIMESTAMP_TOO_OLD, 422)),
        *(Case(f"P22 {text}", json.dumps({"ts": text, "a": 1}).encode(), BAD_TIME) for text in wrong),
        Case("P22 a list", b'{"ts":[],"a":1}', BAD_TIME),
    ]


WRONG_JSON = (
    b"[1 true]", b'["": 1]', b'[""],', b"[,1]", b"[1,,2]", b'["x",,]', b'["x"]]', b'["",]', b'["x"', b"[x", b"[3[4]]",
    b"[1:2]", b"[,]", b"[-]", b'[   , ""]', b'["a",\n4\n,1,', b"[1,]", b'["\x0ba"\\f]', b"[*]", b'[""', b"[1,\n1\n,1",
    b"[{}", b"[fals]", b"[nul]", b"[tru]", b"123\x00", b"[++1234]", b"[+1]", b"[+Inf]", b"[-01]", b"[-1.0.]", b"[-2.]",
    b"[-NaN]", b"[.-1]", b"[.2e-3]", b"[0.1.2]", b"[0.3e+]", b"[0.3e]", b"[0.e1]", b"[0E+]", b"[0e]", b"[1.0e-]",
    b"[1 000.0]", b"[1eE2]", b"[2.e+3]", b"[0x1]", b"[0x42]", b"[Infinity]", b"[0e+-1]", b"[-123.123foo]", b"[NaN]",
    b"[- 1]", b"[-012]", b"[-.123]", b"[1.]", b"[.123]", "[\uff11]".encode(), b"[1.2a-3]", b"[1.8H-308]", b"[012]",
    b'["x", truth]', b'{[: "x"}', b'{"x", null}', b'{"x"::"b"}', "{\U0001f1e8\U0001f1ed}".encode(), b'{"a":"a" 123}',
    b"{key: 'value'}", b'{"a" b}', b'{:"b"}', b'{"a" "b"}', b'{"a":', b'{"a"', b"{1:1}", b"{9999E9999:1}",
    b"{null:null,null:null}", b'{"id":0,,,,,}', b"{'a':0}", b'{"id":0,}', b'{"a":"b"}/**/', b'{"a":1}//', b'{"a":1}/',
    b'{"a":"b",,"c":"d"}', b'{a: "b"}', b'{"a":"a', b'{ "foo" : "bar", "a" }', b'{"a":"b"}#', rb'["\uD800\"]',
    rb'["\uD800\u"]', rb'["\uD800\u1"]', rb'["\uD800\u1x"]', "[é]".encode(), b'["\\\x00"]', rb'["\x00"]', rb'["\\\"]',
    b'["\\\t"]', '["\\\U0001f300"]'.encode(), rb'["\"]', rb'["\u00A"]', rb'["\uD834\uDd"]', rb'["\uD800\uD800\x"]',
    rb'["\a"]', rb'["\uqqqq"]', b'[\\u0020"asd"]', rb"[\n]", b'"', b"['single quote']", b"abc", b'["\\', b'["a\x00a"]',
    b'["new\nline"]', b'["\t"]', rb'"\UA66D"', b'""x', "[\u2060]".encode(), b"\xef\xbb\xbf", b"<.>", b"[<null>]",
    b"[1]x", b"[1]]", b'["asd]', "aå".encode(), b"[True]", b"1]", b'{"x": true,', b"[][]", b"]", b"[", b"[\x00]", b"2@",
    b"{}}", b'{"":', b'{"a":/*comment*/"b"}', b'{"a": true} "x"', b"['", b'["a', b'["a"', b"{", b"{]", b"{,", b"{[",
    b'{"a', b"{'a'", b'["\\{["\\{["\\{["\\{', b"*", b'{"a":"b"}#{}', b'[\\u000A""]', b"[1", b"[ false, nul",
    b"[ true, fals", b'{"asd":"asd"', "\u2060".encode(), b"[\x0c]", b"[" * 16_000, b'[{"":' * 3_000,
)  # fmt: skip
"""P17: ``n_``, those that are UTF-8."""

WRONG_TEXT = (
    b"[a\xe5]", b"[\xff]", b"[123\xe5]", b"[1e1\xe5]", b"[0\xe5]", b"[-123123\xe5]", b"[1e\xe5]", b'{"\xb9":"0",}',
    b'["\xe5"', b'["\\u\xe5"]', b'["\\\xe5"]', b"\xe5", b"\xef\xbb{}",
)  # fmt: skip
"""P17: ``n_``, those that are not."""

OPEN_TO_JUDGEMENT: tuple[tuple[bytes, Refused | Stored], ...] = (
    (b"123.456e-789", Stored({"v": 0.0})),
    (b"123e-10000000", Stored({"v": 0.0})),
    (b"0.4e" + b"0066" * 10 + b"9", BAD_METRIC),
    (b"-1e+9999", BAD_METRIC),
    (b"1.5e+9999", BAD_METRIC),
    (b"-123123e100000", BAD_METRIC),
    (b"123123e100000", BAD_METRIC),
    (b"-123123123123123123123123123123", NOT_A_MESSAGE),
    (b"100000000000000000000", NOT_A_MESSAGE),
    (b"-237462374673276894279832749832423479823246327846", NOT_A_MESSAGE),
    (rb'"\uDADA"', NOT_JSON),
    (rb'"\uD888\u1234"', NOT_JSON),
    (rb'"\uD800\n"', NOT_JSON),
    (rb'"\uDd1ea"', NOT_JSON),
    (rb'"\uD800\uD800\n"', NOT_JSON),
    (rb'"\ud800"', NOT_JSON),
    (rb'"\ud800abc"', NOT_JSON),
    (rb'"\uDd1e\uD834"', NOT_JSON),
    (rb'"\uDFAA"', NOT_JSON),
    (rb'1,"\uDFAA":0', NOT_JSON),
    (b'"\xff"', NOT_UTF8),
    (b'"\xe9"', NOT_UTF8),
    (b'"\x81"', NOT_UTF8),
    (b'"\xf4\xbf\xbf\xbf"', NOT_UTF8),
    (b'"\xc0\xaf"', NOT_UTF8),
    (b'"\xfc\x83\xbf\xbf\xbf\xbf"', NOT_UTF8),
    (b'"\xfc\x80\x80\x80\x80\x80"', NOT_UTF8),
    (b'"\xe0\xff"', NOT_UTF8),
    (b'"\xe6\x97\xa5\xd1\x88\xfa"', NOT_UTF8),
    (b'"\xed\xa0\x80"', NOT_UTF8),
    (b"[" * 500 + b"]" * 500, NOT_JSON),
)
"""P17: ``i_``, as a value: the written table of what we make of each."""

WHOLE_AND_OPEN: tuple[tuple[bytes, Refused | Stored], ...] = (
    ('{"v":"é"}'.encode("utf-16"), NOT_UTF8),
    ('{"v":"e"}'.encode("utf-16-le"), NOT_JSON),
    ('{"v":"e"}'.encode("utf-16-be"), NOT_JSON),
    (b"\xef\xbb\xbf{}", NOT_JSON),
)
"""P17: ``i_``, as a whole payload."""


def _json() -> list[Case]:
    return [
        *(Case(f"P17 n {payload[:20]!r}", payload, NOT_JSON) for payload in WRONG_JSON),
        *(Case(f"P17 n {payload[:20]!r}", payload, NOT_UTF8) for payload in WRONG_TEXT),
        *(Case(f"P17 i {value[:20]!r}", b'{"v":%b}' % value, expected) for value, expected in OPEN_TO_JUDGEMENT),
        *(Case(f"P17 i {payload[:20]!r}", payload, expected) for payload, expected in WHOLE_AND_OPEN),
    ]


def cases() -> list[Case]:
    """All of them. Times among them are true now."""
    return [*_shapes(), *_texts(), *_times(), *_json()]
