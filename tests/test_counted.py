"""A count and its noun agree."""

from appliance.counted import counted


def test_only_one_is_singular() -> None:
    assert [counted(number, "tenant") for number in (0, 1, 2, 1200)] == [
        "0 tenants", "1 tenant", "2 tenants", "1,200 tenants",
    ]  # fmt: skip
    assert [counted(number, "delivery is", "deliveries are") for number in (1, 2)] == [
        "1 delivery is",
        "2 deliveries are",
    ]
