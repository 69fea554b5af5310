"""What is wrong with a payload that is no JSON, or a time that is no RFC 3339, and how it is mended.

Enters: what was refused already. Leaves: one line for whoever programmed the device. Never: a decision. The forms
named here are those that common libraries write: C's printf and strftime, Python's repr and json, .NET, Java.
"""

import re

import msgspec

_AT = re.compile(r" ?\(byte (\d+)\)")
_WORD = re.compile(rb"-?[A-Za-z]+")
_LONGEST_WORD = 16
"""Bytes of a word that a hint looks at; the longest it knows has nine."""

_NO_VALUE = "leave the metric out, or send null"
_WORDS = {
    **dict.fromkeys(("nan", "inf", "infinity", "undefined"), _NO_VALUE),
    "none": "write null",
    "true": "write true",
    "false": "write false",
    "null": "write null",
}
"""Words in lower case that stand where a value should, and what JSON has in their place."""

_LONGEST_TIME = 64
"""Characters of a time that a hint is looked for in; a longer text is none."""
_UNFIT = "`ts` is no RFC 3339 time such as 2026-01-31T12:00:00Z"
_TIME_FORMS = tuple(
    (re.compile(form, re.ASCII), mend)
    for form, mend in (
        (r"[+-]?\d+(\.\d*)?", "it is a number: send it without quotes"),
        (r"\d{4}-\d\d-\d\d", "it has no time of day"),
        (r".*\[.*\]", "leave out the zone in brackets"),
        (r".* ?(UTC|GMT)", "write Z for UTC"),
        (r".*\d,\d+.*", "write the fraction of a second with a point"),
        (r".*:60(\.\d+)?\D.*", "send a leap second as :59"),
        (r".*T\d\d:\d\d([Zz]|[+-]\d\d:?\d\d)", "it has no seconds"),
        (r".*[+-]\d\d", "write the minutes of the offset, too"),
        (r"\d{8}T\d{6}.*", "write it with - and :"),
    )
)
"""Times that are none, and what to do about them; the first that fits is told."""


def json_mistake(error: msgspec.DecodeError, payload: bytes) -> str:
    """Return what the decoder objects to, with the byte that it refers to, and the mend of a usual mistake."""
    text = str(error)
    found = _AT.search(text)
    at = int(found[1]) if found else len(payload)
    if "trailing" in text:
        at -= 1  # characters or a comma: the decoder names the byte after the first one too many
    return _wrong_form(payload, at) or _wrong_word(payload, at) or f"{_decoders_words(text)} at byte {at}"


def _decoders_words(text: str) -> str:
    return _AT.sub("", text).removeprefix("JSON is malformed: ")


def _wrong_form(payload: bytes, at: int) -> str | None:
    if payload.startswith(b"\xef\xbb\xbf"):
        return "a byte order mark at byte 0: send the payload without it"
    if b"\0" in payload[:2]:
        return f"a NUL byte at byte {payload.index(0)}: send the payload as UTF-8, not as UTF-16"
    character = payload[at : at + 1]
    if character == b"\0":
        return f"a NUL byte at byte {at}: send one byte less, a C string without its end"
    if character == b"'":
        return f"a single quote at byte {at}: names and text stand in double quotes"
    return None


def _wrong_word(payload: bytes, at: int) -> str | None:
    """Return the mend of a word that is no value. Of one like null the decoder names the byte after its start."""
    for start in range(max(0, at - 4), at + 1):
        word = _WORD.match(payload, start, start + _LONGEST_WORD)
        if word is not None and not payload[:start][-1:].isalpha():
            known = _WORDS.get(word[0].decode().lstrip("-").lower())
            if known is not None:
                return f"`{word[0].decode()}` at byte {start}: JSON has no such value; {known}"
    return None


def time_mistake(text: str) -> str:
    """Return why this text is no time of RFC 3339."""
    for form, mend in _TIME_FORMS if len(text) <= _LONGEST_TIME else ():
        if form.fullmatch(text):
            return f"{_UNFIT}: {mend}"
    return _UNFIT
