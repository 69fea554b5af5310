"""Names to addresses, in threads of their own: a name server that is silent costs nobody else a thread."""

import socket
import weakref
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address

import trio

from appliance.delivery.outgoing.addresses import IPAddress

Resolver = Callable[[str], Awaitable[Sequence[IPAddress]]]
"""Returns every address of a name. Raises OSError when there is none."""

THREADS = 32
"""Look-ups at a time. The system gives up on a silent name server after 10 to 30 s, long after whoever asked."""
THREADS_OF_NAME = 2
"""Of them for one name, so that a name whose server is silent holds few."""


class _Turn:
    """What a look-up holds until its thread has ended, whether or not anybody still waits for it."""

    def __init__(self, of_name: trio.CapacityLimiter, of_all: trio.CapacityLimiter) -> None:
        self._of_name = of_name
        self._of_all = of_all

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        """Wait for a thread. The method that trio.to_thread calls."""
        await self._of_name.acquire_on_behalf_of(borrower)
        try:
            await self._of_all.acquire_on_behalf_of(borrower)
        except BaseException:
            self._of_name.release_on_behalf_of(borrower)
            raise

    def release_on_behalf_of(self, borrower: object) -> None:
        """Give the thread back. The method that trio.to_thread calls."""
        self._of_all.release_on_behalf_of(borrower)
        self._of_name.release_on_behalf_of(borrower)


class SystemResolver:
    """Asks the resolver of the system (``/etc/hosts``, DNS)."""

    def __init__(self, lookup: Callable[[str], Sequence[IPAddress]]) -> None:
        self._lookup = lookup
        self._all = trio.CapacityLimiter(THREADS)
        self._of_names: weakref.WeakValueDictionary[str, trio.CapacityLimiter] = weakref.WeakValueDictionary()

    async def __call__(self, host: str) -> Sequence[IPAddress]:
        """Return every address of a name, in the system's order of preference. Raises OSError when there is none."""
        of_name = self._of_names.get(host) or trio.CapacityLimiter(THREADS_OF_NAME)
        self._of_names[host] = of_name
        turn = _Turn(of_name, self._all)
        # a CapacityLimiter is asked for by name, though anything with its two methods of borrowing will do
        return await trio.to_thread.run_sync(self._lookup, host, abandon_on_cancel=True, limiter=turn)  # type: ignore[arg-type]


def system_lookup(host: str) -> Sequence[IPAddress]:
    """Return every address of a name, and block until the system knows. Raises OSError when there is none."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise OSError(socket.EAI_NONAME, "not a valid name") from None
    return list(dict.fromkeys(ip_address(entry[4][0]) for entry in found))
