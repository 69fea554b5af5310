"""An address is read in one way only, and what could be read in two is refused with its field."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.delivery.outgoing.network import Destination
from appliance.delivery.outgoing.urls import MAX_URL, WEB_PORTS, Url, parse
from appliance.errors import Invalid

REFUSED = {
    "scheme": (
        "ftp://ok.example/", "file:///etc/passwd", "gopher://ok.example/", "javascript:alert(1)", "data:text/plain,x",
        "ok.example/hook", "//ok.example/hook", "", "/hook", "HTTPS", "ws://ok.example/", "https+unix://x/",
    ),
    "host": (
        "http:///x", "https://", "https:///hook", "http:example.com", "https:/ok.example/", "https://?a=b",
        "https://ok..example/", "https://-ok.example/", f"https://{'a' * 64}.example/", "https://ok.example%00/",
        "https://%6f%6b.example/", "https://[fe80::1%25eth0]/", "https://[::1", "https://[hello]/", "https://.../",
        f"https://{'a.' * 130}example/", "https://ok .example/", "https://a,b.example/", "https://ok.example;x/",
    ),
    "user name": (
        "https://user@ok.example/", "https://user:password@ok.example/", "http://ok.example@127.0.0.1/",
        "https://@ok.example/", "https://ok.example:443@127.0.0.1/",
    ),
    "backslash": ("http://ok.example\\@127.0.0.1/", "http://127.0.0.1\\@ok.example", "https:\\\\ok.example\\"),
    "#": ("http://127.0.0.1#@ok.example/", "https://ok.example/#part", "https://ok.example#"),
    "cannot be seen": (
        "https://ok.example/\thook", "https://ok\r\n.example/", "https://ok.example/\0", "https://ok\u200b.example/",
        "https://ok.example/a b", "https://ok.example/\x7f", "\thttps://ok.example/", "https://ok.example/\u202e",
        "https://ok.example/\u00a0",
    ),
    "port": ("https://ok.example:0/", "https://ok.example:-1/", "https://ok.example:99999/", "https://ok.example:http/"),
    "longer": (f"https://ok.example/{'a' * MAX_URL}",),
}  # fmt: skip


@pytest.mark.parametrize(("words", "text"), [(words, text) for words, texts in REFUSED.items() for text in texts])
def test_what_can_be_read_in_two_ways_is_refused(words: str, text: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse(text, "url")
    assert refused.value.field == "url"
    if words != "host":
        assert words in str(refused.value)


@pytest.mark.parametrize(
    ("text", "rebuilt"),
    [
        ("https://ok.example", "https://ok.example/"),
        ("HTTPS://OK.Example:443/Hook?a=B", "https://ok.example/Hook?a=B"),
        ("https://ok.example:8443/", "https://ok.example:8443/"),
        ("http://ok.example:80/x", "http://ok.example/x"),
        ("https://ok.example:/x", "https://ok.example/x"),
        ("https://ok.example?a=b", "https://ok.example/?a=b"),
        ("https://ok.example/ä?q=ö", "https://ok.example/%C3%A4?q=%C3%B6"),
        ("https://ok.example/%7Bx%7D", "https://ok.example/%7Bx%7D"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("http://127.1/", "http://127.0.0.1/"),
        ("http://0x7f000001:8080/", "http://127.0.0.1:8080/"),
        ("http://0177.0.0.1/", "http://127.0.0.1/"),
        ("http://2130706433/", "http://127.0.0.1/"),
        ("http://\uff11\uff12\uff17.\uff10.\uff10.\uff11/", "http://127.0.0.1/"),
        ("http://127\u30020\u30020\u30021/", "http://127.0.0.1/"),
        ("https://[::FFFF:127.0.0.1]/", "https://[::ffff:7f00:1]/"),
        ("https://[2606:4700::1111]:8443/x", "https://[2606:4700::1111]:8443/x"),
        ("https://under_score.example/", "https://under_score.example/"),
    ],
)  # fmt: skip
def test_an_address_is_written_anew_from_what_was_read(text: str, rebuilt: str) -> None:
    found = parse(text, "url")
    assert found.text == rebuilt
    assert parse(rebuilt, "url") == found


def test_an_address_says_where_it_is_dialled() -> None:
    assert parse("https://ok.example/x", "url").destination == Destination("ok.example", 443, WEB_PORTS, encrypted=True)
    assert parse("http://[::1]:81/", "url").destination == Destination("::1", 81, WEB_PORTS, encrypted=False)


def test_an_address_does_not_show_its_path() -> None:
    assert repr(parse("https://ok.example:8443/marked?token=marked", "url")) == "Url(https://ok.example:8443)"


@given(st.text(max_size=60), st.sampled_from(("", "https://", "http://", "https://ok.example/", "https://[")))
def test_any_text_is_an_address_that_stays_the_same_or_names_its_field(text: str, prefix: str) -> None:
    found = _parsed_or_field(prefix + text)
    if isinstance(found, Url):
        assert found.text.isascii()
        assert found.text.isprintable()
        assert parse(found.text, "url") == found
    else:
        assert found == "url"


def _parsed_or_field(text: str) -> Url | str | None:
    try:
        return parse(text, "url")
    except Invalid as refused:
        return refused.field
