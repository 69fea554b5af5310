"""Who is connected to the embedded broker, read from its log: a device whose connection is open is not gone.

Enters: every line the broker prints. Leaves: whether a device is connected, and which client has ended the connection
of another by its client id. Never: more than MAX_CLIENTS clients and MAX_USERS users in memory, and nothing across a
restart of the broker, which ends every connection.

The lines, of Mosquitto 2.0 and 2.1 (which puts the address behind the client id in those that end a connection)::

    mosquitto version 2.0.11 starting
    New client connected from 192.0.2.1:41056 as CLIENT (p2, c1, k60, u'acme/device/pump-7').
    Client CLIENT already connected, closing old connection.        the line above follows, for the same client
    Client CLIENT closed its connection.
    Client CLIENT has exceeded timeout, disconnecting.
    Client CLIENT disconnected.                                     or with a reason behind it
    Bad socket read/write on client CLIENT: Connection reset by peer

A client id may look like the end of such a line. Of all readings of a line, the one with the longest client id that is
connected holds.
"""

import re
from collections import Counter, OrderedDict

from appliance.broker.accounts import device_user
from appliance.broker.takeover import Party, Takeover

MAX_CLIENTS = 20_000
"""Clients kept: twice as many as may be connected. Past it a line was lost, and the oldest client goes."""
MAX_USERS = 100_000
"""Users remembered as ones that connect by themselves."""

STARTING = re.compile(r"mosquitto version \S+ starting")
ACCEPTED = re.compile(r"New client connected from (?P<peer>\S*) as (?P<id>.*) \(p\d+, c\d, k\d+, u'(?P<user>.*)'\)\.$")
TAKEN_OVER = re.compile(r"Client (?P<id>.*) already connected, closing old connection\.$")
ENDING = re.compile(r" \[\S*\]| (?:been )?disconnected\b| closed its connection\.| has exceeded timeout|: ")
"""What may follow a client id that is gone."""
GONE = ("Client ", "Bad socket read/write on client ")


class ConnectedUsers:
    """Follows the connections of the broker's users."""

    def __init__(self) -> None:
        self._clients: OrderedDict[str, Party] = OrderedDict()
        """By client id, in the order of connecting."""
        self._closing: tuple[str, Party] | None = None
        """The client whose connection the broker has just closed: the next that connects has taken over its id."""
        self._connections: Counter[str] = Counter()
        """Connections of each user."""
        self._own: OrderedDict[str, None] = OrderedDict()
        """Users that have connected since the broker started, the one that connected last at the end."""

    def heard(self, line: str) -> Takeover | None:
        """Handle one line of the broker's log; return the takeover that it reports, if it does."""
        # With debug logging most lines are about messages: their first letter is enough to skip them.
        match line[:1]:
            case "N":
                if (found := ACCEPTED.match(line)) is not None:
                    address = found["peer"].rpartition(":")[0]
                    return self._connect(found["id"], Party(found["user"], address))
            case "C" | "B":
                if (found := TAKEN_OVER.match(line)) is not None:
                    older = self._clients.get(found["id"])
                    self._closing = None if older is None else (found["id"], older)
                    return None
                for start in GONE:
                    if line.startswith(start):
                        self._end(line[len(start) :])
            case "m" if STARTING.match(line):
                self._clients.clear()
                self._connections.clear()
                self._own.clear()
                self._closing = None
        return None

    def connected(self, tenant_id: str, device_id: str) -> bool | None:
        """Return whether a device is connected; None if it may be one of the clients of its tenant's claim user."""
        user = device_user(tenant_id, device_id)
        if self._connections[user]:
            return True
        # One that has connected as itself has a credential of its own, and with that the claim user is of no use to it.
        return None if user not in self._own and self._connections[tenant_id] else False

    def _connect(self, client_id: str, party: Party) -> Takeover | None:
        closing, self._closing = self._closing, None
        user = party.user
        self._disconnect(client_id)  # taken over by a new connection
        self._clients[client_id] = party
        self._connections[user] += 1
        self._own[user] = None
        self._own.move_to_end(user)
        if len(self._clients) > MAX_CLIENTS:
            self._disconnect(next(iter(self._clients)))
        if len(self._own) > MAX_USERS:
            self._own.popitem(last=False)
        return None if closing is None or closing[0] != client_id else Takeover(client_id, closing[1], party)

    def _end(self, told: str) -> None:
        ids = [told[: ending.start()] for ending in ENDING.finditer(told)]
        client_id = next((one for one in reversed(ids) if one in self._clients), None)
        if client_id is not None:
            self._disconnect(client_id)

    def _disconnect(self, client_id: str) -> None:
        party = self._clients.pop(client_id, None)
        if party is None:
            return
        self._connections[party.user] -= 1
        if not self._connections[party.user]:
            del self._connections[party.user]
