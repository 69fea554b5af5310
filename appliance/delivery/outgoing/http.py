"""One HTTP/1.1 request over one connection to a judged address, and what is read of the answer.

httpcore2 speaks the protocol over a network backend of ours: no proxy and no setting of the environment, no redirect,
no cookie, no connection that is kept, no unpacking. Whatever a receiver does, a request ends by its total deadline, and
a bounded number of bytes is read.
"""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import httpcore2
import trio

from appliance.delivery.outgoing import tls
from appliance.delivery.outgoing.http_backend import MAX_RECEIVED, Backend, Progress
from appliance.delivery.outgoing.network import Network, Unreached
from appliance.delivery.outgoing.urls import Url

MAX_BODY = 65_536
"""Bytes of an answer's body that are read, as they come: packed ones are not unpacked."""
_PROTOCOLS = ("http/1.1",)


class NoAnswer(Exception):
    """The receiver was reached, and gave no answer that can be read."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What is asked."""

    url: Url
    headers: Sequence[tuple[str, str]] = field(repr=False)
    """Beside Host, Content-Length and Connection, which are made here."""
    body: bytes = field(repr=False)
    method: str = "POST"
    ca: str | None = field(default=None, repr=False)
    """The only CA that is trusted, as PEM; None: those of the system."""

    def wire_headers(self) -> list[tuple[str, str]]:
        """Return all headers as they are sent."""
        framing = [("Content-Length", str(len(self.body))), ("Accept-Encoding", "identity"), ("Connection", "close")]
        return [("Host", self.url.authority), *self.headers, *framing]


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What came back."""

    status: int
    headers: Sequence[tuple[str, str]]
    """Names in lower case."""
    body: bytes

    def header(self, name: str) -> str | None:
        """Return the first value of a header."""
        return next((value for key, value in self.headers if key == name), None)


async def exchange(network: Network, request: HttpRequest, progress: Progress) -> HttpAnswer:
    """Send a request and return the answer. Raises NotAllowed, Unreached, TlsRefused, NoAnswer, ValueError (bad CA)."""
    context = tls.client_context(request.ca, _PROTOCOLS) if request.url.scheme == "https" else None
    url = httpcore2.URL(
        scheme=request.url.scheme, host=request.url.host, port=request.url.port, target=request.url.target
    )
    wanted = httpcore2.Request(request.method, url, headers=_encoded(request.wire_headers()), content=request.body)
    backend = Backend(network, request.url.destination, progress)
    connection = httpcore2.AsyncHTTPConnection(url.origin, ssl_context=context, network_backend=backend)
    deadline = trio.current_time() + network.deadlines.total
    try:
        with trio.fail_at(deadline):
            response = await connection.handle_async_request(wanted)
        backend.bound = MAX_RECEIVED
        progress.timings["answer"] = trio.current_time() - backend.answer_awaited_at
        return HttpAnswer(response.status, _decoded(response.headers), await _read(response, deadline))
    except trio.TooSlowError:
        raise _late(progress, network.deadlines.total) from None
    except httpcore2.TimeoutException as error:
        raise NoAnswer(f"timeout: {error}") from None
    except httpcore2.ProtocolError as error:
        raise NoAnswer(f"answer: not HTTP/1.1: {error}") from None
    except httpcore2.NetworkError:
        raise NoAnswer("answer: the connection was closed before the answer") from None
    finally:
        await connection.aclose()


def _late(progress: Progress, seconds: float) -> Unreached | NoAnswer:
    """Return what it means that the total deadline has passed before an answer."""
    if not progress.sent and "write" not in progress.timings:
        return Unreached(f"timeout: no connection within {seconds:g} s")
    return NoAnswer(f"timeout: no answer within {seconds:g} s")


async def _read(response: httpcore2.Response, deadline: float) -> bytes:
    """Return the first bytes of a body. One that is broken or late is cut: the status is known all the same."""
    body = bytearray()
    with trio.move_on_at(deadline):
        try:
            async with aclosing(response.aiter_stream()) as chunks:
                async for chunk in chunks:
                    body += chunk
                    if len(body) >= MAX_BODY:
                        break
        except (httpcore2.ProtocolError, httpcore2.TimeoutException, httpcore2.NetworkError):
            pass
    return bytes(body[:MAX_BODY])


def _encoded(headers: Sequence[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("ascii"), value.encode("utf-8")) for name, value in headers]


def _decoded(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(name.decode("ascii").lower(), value.decode("utf-8", "replace")) for name, value in headers]
