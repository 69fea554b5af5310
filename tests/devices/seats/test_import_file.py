"""A CSV file of devices; what is wrong is told with line and column."""

import pytest

from appliance.devices.device import NewDevice
from appliance.devices.seats.import_file import ImportRow, read
from appliance.errors import Invalid

HEAD = "device_id,name,site_id,place,tags,subscription_id,interval\n"


def test_a_full_row() -> None:
    text = HEAD + 'd1,"Pump, old",hall,"3rd\nfloor",wet | loud,SUB-1,60.5\n\nd2,,,,,,\n'
    assert read(text.encode()) == [
        ImportRow(2, NewDevice("d1", "hall", "Pump, old", "3rd\nfloor", ("wet", "loud"), 60.5, "SUB-1")),
        ImportRow(5, NewDevice("d2")),
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbfname;device_id\r\nPumpe;d1\r\n",
        b"device_id\tname\nd1\tPumpe\n",
        b" device_id , name \n d1 , Pumpe \n",
        b"device_id,name\nd1,Pumpe",
    ],
)
def test_as_spreadsheets_write_it(data: bytes) -> None:
    assert read(data) == [ImportRow(2, NewDevice("d1", name="Pumpe"))]


def test_only_the_id_is_needed() -> None:
    assert read(b"device_id\n") == []
    assert [row.new.device_id for row in read(b"device_id\na\nb\n")] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Line 1: there is no column device_id."),
        ("name\nx\n", "Line 1: there is no column device_id."),
        ("device_id,intervall\n", "Line 1, column 2: no column is called 'intervall'; did you mean interval?"),
        ("device_id,zzz\n", "Line 1, column 2: no column is called 'zzz'; there are device_id, name,"),
        ("device_id,name,name\n", "Line 1, column 3: name is there twice."),
        ("device_id,name\nd1,a,b\n", "Line 2: 3 cells, but 2 columns."),
        ("device_id,name\nd1,a\n,b\n", "Line 3, column device_id: it is empty."),
        ("device_id,interval\nd1,soon\n", "Line 2, column interval: 'soon' is not a number of seconds."),
        ("device_id,interval\nd1,nan\n", "Line 2, column interval: 'nan' is not a number of seconds."),
        ('device_id,name\nd1,"open\n', "Line 2: unexpected end of data."),
    ],
)
def test_what_is_wrong_is_told_with_line_and_column(text: str, words: str) -> None:
    with pytest.raises(Invalid) as caught:
        read(text.encode())
    assert str(caught.value).startswith(words)


def test_another_encoding_is_told_with_its_line() -> None:
    with pytest.raises(Invalid, match="Line 3: not UTF-8"):
        read(b"device_id,name\nd1,a\nd2,Gr\xfc\xdfe\n")
