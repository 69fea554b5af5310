"""A number with its noun, which agrees with it: "1 tenant", "1,200 tenants". Wherever something is said of a count."""


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return ``number`` with ``noun``, or with ``plural`` (by default the noun and an s) unless it is one."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
