"""One call of the operator's heartbeat URL: as it is for ok, with ``/fail`` for not, as healthchecks.io has it."""

from dataclasses import dataclass, field, replace

import trio

import appliance
from appliance.delivery.outgoing.http import HttpRequest, NoAnswer, exchange
from appliance.delivery.outgoing.http_backend import Progress
from appliance.delivery.outgoing.network import Network, NotAllowed, Unreached
from appliance.delivery.outgoing.tls import TlsRefused
from appliance.delivery.outgoing.urls import Url

FAIL = "/fail"
"""What is added to the path when the appliance is not proven."""
HEADERS = (("User-Agent", f"appliance/{appliance.__version__}"), ("Content-Type", "text/plain; charset=utf-8"))


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The URL, and the way to it. The URL is a secret: no trouble quotes more of it than its host."""

    network: Network
    """What the operator's file names may stand on any network."""
    url: Url = field(repr=False)

    async def call(self, text: str, *, ok: bool, seconds: float) -> str | None:
        """Call once, with a text as the body; return why the call failed, None if it was answered with 2xx.

        ``seconds``: what it may take, beside the deadlines of the network.
        """
        url = self.url if ok else failing(self.url)
        request = HttpRequest(url, HEADERS, text.encode())
        try:
            with trio.fail_after(seconds):
                answer = await exchange(self.network, request, Progress())
        except trio.TooSlowError:
            return f"timeout: no answer within {seconds:g} s"
        except (NotAllowed, Unreached, TlsRefused, NoAnswer, OSError, ValueError) as error:
            return str(error)
        return None if 200 <= answer.status < 300 else f"status: answered {answer.status}"


def failing(url: Url) -> Url:
    """Return the address with ``/fail`` at the end of its path."""
    path, mark, asked = url.target.partition("?")
    return replace(url, target=f"{path.rstrip('/')}{FAIL}{mark}{asked}")
