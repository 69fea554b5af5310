"""Which passwords are taken, and how they are kept."""

from typing import Any

import pytest
import trio

from appliance.people.passwords import AT_ONCE, MAX_LENGTH, Cost, Hasher, fault_of
from tests.support.people import CHEAP


@pytest.mark.parametrize(
    "password",
    [
        "a walrus on a bicycle",
        "korrekt pferd batterie",
        "x7#Kq9!mZ2$w",
        "пароль которого нет нигде",
        "ingrid likes 4 herrings",
        "v" * 3 + "brümsle quoft gnarp",
    ],
)
def test_taken(password: str) -> None:
    assert fault_of(password, ("ingrid@norrvik.example", "Ingrid Vik")) is None


@pytest.mark.parametrize(
    ("password", "words"),
    [
        ("short", "at least 12"),
        ("elevenchars", "at least 12"),
        ("x" * (MAX_LENGTH + 1), "at most 256"),
        ("aaaaaaaaaaaa", "repeats itself"),
        ("abcabcabcabcabc", "repeats itself"),
        ("password1234", "common words"),
        ("P@ssw0rd!!!!", "common words"),
        ("welcome!2026!", "common words"),
        ("correct horse battery staple", "common words"),
        ("qwertyuiop123", "common words"),
        ("ingrid@norrvik", "common words"),
        ("Ingrid-Vik-2026!", "common words"),
        ("admin administrator", "common words"),
    ],
)
def test_not_taken(password: str, words: str) -> None:
    fault = fault_of(password, ("ingrid@norrvik.example", "Ingrid Vik"))
    assert fault is not None
    assert words in fault


async def test_a_hash_is_argon2id_with_a_salt_of_its_own_and_matches_its_password_alone() -> None:
    hasher = Hasher(CHEAP)
    one, two = [await hasher.hash("a walrus on a bicycle") for _ in range(2)]
    assert one.startswith("$argon2id$")
    assert one != two
    assert await hasher.matches(one, "a walrus on a bicycle")
    assert not await hasher.matches(one, "a walrus on a bicyclf")


async def test_nobody_has_a_password_and_costs_as_much() -> None:
    hasher = Hasher(CHEAP)
    assert not await hasher.matches(None, "a password that nobody has")
    assert hasher.made == 1


async def test_what_is_no_hash_matches_nothing() -> None:
    assert not await Hasher(CHEAP).matches("$argon2id$nonsense", "x")


async def test_the_same_characters_however_they_were_typed() -> None:
    hasher = Hasher(CHEAP)
    kept = await hasher.hash("zwölf boxkämpfer")
    assert await hasher.matches(kept, "zwo\u0308lf boxka\u0308mpfer")


async def test_half_a_character_is_no_surprise() -> None:
    hasher = Hasher(CHEAP)
    assert not await hasher.matches(None, "\ud800 and so on and on")


async def test_a_hash_of_another_cost_is_outdated() -> None:
    dear = Hasher(Cost(memory_kib=128, passes=1))
    assert dear.is_outdated(await Hasher(CHEAP).hash("x"))
    assert not dear.is_outdated(await dear.hash("x"))


async def test_however_many_come_two_hashes_are_in_the_making(monkeypatch: pytest.MonkeyPatch) -> None:
    hasher, running, most = Hasher(CHEAP), 0, 0
    plain = trio.to_thread.run_sync

    async def counted(*arguments: object, **options: Any) -> object:
        nonlocal running, most

        def work() -> object:
            nonlocal running, most
            running += 1
            most = max(most, running)
            try:
                return arguments[0](*arguments[1:])  # type: ignore[operator] # the function that is run
            finally:
                running -= 1

        return await plain(work, **options)

    monkeypatch.setattr(trio.to_thread, "run_sync", counted)
    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(hasher.matches, None, "x")
    assert 1 <= most <= AT_ONCE
    assert hasher.made == 50
