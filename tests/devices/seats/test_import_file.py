"""A CSV file of devices; what is wrong is told with line and column."""

import pytest

from appliance.devices.device import DeviceStatus, NewDevice
from appliance.devices.seats.import_file import ImportRow, joined_tags, read
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
        b"\xef\xbb\xbfDevice ID;Device name\r\nd1;Pumpe\r\n",
        b"Id,NAME\nd1,Pumpe\n",
        b"device-id;name;;;\nd1;Pumpe;;;\n;;;;\n",
        "device_id\tname\r\nd1\tPumpe\r\n".encode("utf-16"),
    ],
)
def test_as_spreadsheets_write_it(data: bytes) -> None:
    assert read(data) == [ImportRow(2, NewDevice("d1", name="Pumpe"))]


@pytest.mark.parametrize("said", ["sep=;", '"sep=;"', "SEP=;", "sep=;;;"])
def test_a_line_that_says_what_separates_cells_is_believed(said: str) -> None:
    text = f"{said}\r\nDevice ID;Name, as people say it;Place\r\nd1;Pump;a, b; c, d\r\n"
    with pytest.raises(Invalid, match="Line 2, column 2: no column is called 'Name, as people say it'"):
        read(text.encode())
    read_of = read(text.replace("Name, as people say it", "Name").replace("; c, d", "").encode())
    assert read_of == [ImportRow(3, NewDevice("d1", name="Pump", place="a, b"))]


def test_empty_lines_before_the_heads_are_left_out() -> None:
    assert read(b";;\n\n;;\nSite;Device;Interval (s)\nhall;d1;2,5\n") == [
        ImportRow(5, NewDevice("d1", site_id="hall", interval=2.5))
    ]


def test_what_the_exported_list_says_beyond_a_description_is_read_or_left_out() -> None:
    heads = "tenant_id,device_id,name,status,presence,learned_interval,last_seen_at,own_credential,created_at"
    row = "acme,'-d1,'=cmd(),REVOKED,ONLINE,60.0,2026-11-26T01:02:03+00:00,true,2026-11-26T01:02:03+00:00"
    assert read(f"{heads}\n{row}\n".encode()) == [
        ImportRow(
            2,
            NewDevice("-d1", name="=cmd()", stated_tenant="acme", stated_status=DeviceStatus.REVOKED),
        )
    ]


@pytest.mark.parametrize(
    "tags",
    [
        ("plain", "with space"),
        ("a|b", "c"),
        ("C:\\", "D:\\temp", "E:\\"),
        ("ends with two\\\\", "|", "\\|"),
        ("one\\",),
        (),
    ],
)
def test_tags_come_back_as_they_were_exported_whatever_is_in_them(tags: tuple[str, ...]) -> None:
    [row] = read(f"device_id,tags\nd1,{joined_tags(tags)}\n".encode())
    assert row.new.tags == tags


def test_a_backslash_says_something_only_before_a_bar() -> None:
    [row] = read(b"device_id,tags\nd1,C:\\temp\\\\x | loud\\|dry |wet\\\n")
    assert row.new.tags == ("C:\\temp\\\\x", "loud|dry", "wet\\")


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
        ("device_id,status\nd1,asleep\n", "Line 2, column status: 'asleep' is not one of PENDING, ACTIVE,"),
        ("device_id,,name\nd1,x,\n", "Line 2: 'x' stands in a column without a name; give it one."),
        ("Device ID,device_id\n", "Line 1, column 2: device_id is there twice."),
    ],
)
def test_what_is_wrong_is_told_with_line_and_column(text: str, words: str) -> None:
    with pytest.raises(Invalid) as caught:
        read(text.encode())
    assert str(caught.value).startswith(words)


def test_another_encoding_is_told_with_its_line() -> None:
    with pytest.raises(Invalid, match="Line 3: not UTF-8"):
        read(b"device_id,name\nd1,a\nd2,Gr\xfc\xdfe\n")
