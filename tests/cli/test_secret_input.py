"""Secrets from standard input."""

import io
import sys

import pytest

from appliance.cli.secret_input import first_line
from appliance.errors import Invalid


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_a_line_is_text_in_any_locale_or_refused(errors: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def given(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), "utf-8", errors))

    given("a späce \r\nmore\n".encode())
    assert first_line("passphrase") == "a späce "
    given(b"a sp\xe4ce\n")
    with pytest.raises(Invalid, match="the passphrase on standard input is not UTF-8 text"):
        first_line("passphrase")
