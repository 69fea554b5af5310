"""The file: its listing comes first, and says what is there, what is missing and why."""

import hashlib
import zipfile
from datetime import UTC, datetime
from io import BytesIO

from appliance.support_bundle.archive import LISTING, Part, write

NOW = datetime(1970, 1, 1, tzinfo=UTC)
PARTS = [Part("a.json", "What is.", b"{}\n"), Part("b.txt", "What was.", None, "nobody knows")]


def test_the_first_file_says_what_is_there_and_what_is_missing() -> None:
    with zipfile.ZipFile(BytesIO(write(PARTS, "Of this appliance", NOW))) as archive:
        assert archive.namelist() == [LISTING, "a.json"]
        told = archive.read(LISTING).decode()
        assert archive.testzip() is None
    assert told.startswith("Of this appliance\n")
    assert f"a.json  (3 bytes)\n    What is.\n    SHA-256 {hashlib.sha256(b'{}' + b'%c' % 10).hexdigest()}" in told
    assert "Missing:\nb.txt: What was. nobody knows" in told
    assert "Not in it: passwords" in told
