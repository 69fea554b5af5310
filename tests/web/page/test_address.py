"""Links of a list keep its filters, change what they change, and leave places and results behind."""

from appliance.web.page.address import Address

LIST = Address(
    "/devices", (("status", "ACTIVE"), ("status", "PENDING"), ("sort", "name"), ("cursor", "x"), ("done", "y"))
)


def test_a_change_replaces_all_values_of_its_name_and_begins_the_list_anew() -> None:
    assert str(LIST.having(status="ACTIVE")) == "/devices?sort=name&status=ACTIVE"
    assert str(LIST.having(status=["A B", "&"], sort=None)) == "/devices?status=A+B&status=%26"
    assert str(LIST.having(status=None, sort=None)) == "/devices"


def test_the_next_page_keeps_the_filters() -> None:
    assert str(LIST.having(cursor="z")) == "/devices?status=ACTIVE&status=PENDING&sort=name&cursor=z"


def test_a_column_clicked_twice_is_sorted_the_other_way_round() -> None:
    assert LIST.sorted_by("seen").first("sort") == "seen"
    assert LIST.sorted_by("name").first("sort") == "-name"
    assert LIST.sorted_by("name").sorted_by("name").first("sort") == "name"


def test_a_form_carries_along_what_it_does_not_ask_for() -> None:
    assert LIST.without(["status"]) == [("sort", "name")]
