"""Sends at a time: over all, and of one tenant."""

from appliance.delivery.outbox.slots import Slots


def test_one_tenant_leaves_slots_to_others() -> None:
    slots = Slots(most=10, most_of_tenant=6)
    assert slots.take("a", 8) == 6
    assert slots.take("a", 1) == 0
    assert slots.take("b", 8) == 4
    assert slots.take("c", 1) == 0
    assert slots.in_use == 10


def test_a_slot_that_is_given_back_is_told_once() -> None:
    slots = Slots(most=1, most_of_tenant=1)
    slots.take("a", 1)
    freed = slots.freed()
    slots.give("a", 0)
    assert not freed.is_set()
    slots.give("a", 1)
    assert freed.is_set()
    assert not slots.freed().is_set()
    assert slots.take("b", 5) == 1
