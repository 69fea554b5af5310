"""Serves the dashboard: Hypercorn's HTTP/1.1 and WebSocket protocol behind the appliance's own rules, limits and drain.

One port speaks TLS and plain HTTP, as each connection's first byte asks for (:mod:`appliance.web.http.stream`).

Hypercorn's ``serve`` upgrades to clear-text HTTP/2, lets a peer that stops reading delay the shutdown, and waits its
whole graceful time for open WebSockets. So the accept loop and the connection are ours; the protocol is Hypercorn's.
"""

import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any, Protocol

import h11
import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.logging import Logger
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState
from hypercorn.utils import parse_socket_addr

from appliance.runtime.activity import activity
from appliance.web.http import hardening
from appliance.web.http.forwarding import HERE, Forwarding, Sender, without_proxy_headers
from appliance.web.http.hardening import ConnectionSlots, HostPolicy, RequestHead, RequestLimits, RequestVerdict
from appliance.web.http.listener import open_listener
from appliance.web.http.plain import judge_plain
from appliance.web.http.stream import HandshakeError, PeerStream, begins_handshake, open_stream
from appliance.web.http.tls import STRICT_TRANSPORT_SECURITY, ServerTls
from appliance.web.openapi.problem import CONTENT_TYPE

log = structlog.get_logger(__name__)


class Application(Protocol):
    """An ASGI application with what its server needs to know."""

    @property
    def hosts(self) -> HostPolicy:
        """Return the host names that requests may be addressed to."""

    @property
    def forwarding(self) -> Forwarding:
        """Return which proxies are believed."""

    @property
    def tls(self) -> ServerTls | None:
        """Return the TLS of the port; None: it speaks plain HTTP alone."""

    @property
    def limits(self) -> RequestLimits:
        """Return the limits of requests and connections."""

    async def remember(self) -> None:
        """Read what is needed before the first request; bounded."""

    def close_live_sockets(self) -> None:
        """Close every live WebSocket with 1001; called when the drain begins."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one connection (ASGI 3)."""


class _Log(Logger):
    """Hypercorn's error log, one structured line an event, without its access log."""

    def __init__(self, config: Config) -> None:
        del config

    async def access(self, *_: Any, **__: Any) -> None:
        """Log nothing: pages refresh themselves, and a line for each request would hide what matters."""

    async def exception(self, message: str, *_: Any, **__: Any) -> None:
        """Log an exception that escaped the application; called while it is handled."""
        log.error("web request failed", detail=message, exc_info=sys.exc_info())

    async def warning(self, message: str, *_: Any, **__: Any) -> None:
        """Log a warning of the server itself."""
        log.warning("web server", detail=message)


class _Config(Config):
    """Hypercorn's settings, with the security headers on every response, its own error answers included."""

    logger_class = _Log
    include_server_header = False
    websocket_max_message_size = 1024

    def __init__(self, limits: RequestLimits, *, strict: bool) -> None:
        self.h11_max_incomplete_size = limits.headers
        self.keep_alive_timeout = limits.head_time
        self._headers = (*hardening.SECURITY_HEADERS, *([STRICT_TRANSPORT_SECURITY] if strict else ()))

    def response_headers(self, protocol: str) -> list[tuple[bytes, bytes]]:
        """Return the date and the security headers; ``strict``: browsers are told to insist on TLS."""
        return [*super().response_headers(protocol), *self._headers]


class _Refused(Exception):
    def __init__(self, verdict: RequestVerdict, method: bytes) -> None:
        super().__init__(verdict.detail)
        self.verdict = verdict
        self.method = method


class _Protocol(H11Protocol):
    """HTTP/1.1 and WebSocket only, each request judged by ``hardening`` before the application."""

    def __init__(self, server: "_Server", peer: str, secure: bool, *args: Any) -> None:
        super().__init__(*args)
        self._server = server
        self._peer = peer
        self._secure = secure
        self._sender = Sender(peer, "http", None, here=False)
        self._counted: str | None = None

    async def handle(self, event: Event) -> None:
        """Handle what was received; a refused request is answered and the connection closed."""
        try:
            await super().handle(event)
        except _Refused as refused:
            await self._refuse(refused.verdict, refused.method)
            await self.send(Closed())

    async def _check_protocol(self, event: h11.Request) -> None:
        """Judge the request, in place of Hypercorn's upgrade to HTTP/2, which RFC 9113 §3.1 made obsolete."""
        local = self.server[0] if self.server else ""
        headers = list(event.headers)
        self._sender = self._server.forwarding.sender_of(self._peer, headers, event.http_version, secure=self._secure)
        head = RequestHead(event.method, event.target, event.http_version, headers, local, self._sender.host)
        verdict = hardening.judge(head, self._server.hosts, self._server.limits) or self._judge_plain(head)
        verdict = verdict or self._count_client(self._sender)
        if verdict is not None:
            raise _Refused(verdict, event.method)

    def _judge_plain(self, head: RequestHead) -> RequestVerdict | None:
        """Judge a request that its browser sent over plain HTTP, though it can have TLS."""
        tls, forwarding = self._server.tls, self._server.forwarding
        if tls is None or self._sender.scheme == "https":
            return None
        return judge_plain(head, forwarding.https_host(self._peer, head.host or b""), plain=tls.plain)

    def _count_client(self, sender: Sender) -> RequestVerdict | None:
        """Count the request for the client that a trusted proxy names; return why it is refused, or None."""
        if not self._server.forwarding.trusts(self._peer):
            return None  # its connection is counted
        if not self._server.clients.take(sender.address, for_many=self._server.forwarding.is_for_many(sender.address)):
            return RequestVerdict(HTTPStatus.SERVICE_UNAVAILABLE, "Too many requests at once from your address.")
        self._counted = sender.address
        return None

    def release(self) -> None:
        """Release what is counted for the client of the request that has ended, if anything is."""
        if self._counted is not None:
            self._server.clients.release(self._counted)
            self._counted = None

    async def _close_stream(self) -> None:
        """Close the request or WebSocket; its client may send another."""
        self.release()
        await super()._close_stream()

    async def _create_stream(self, request: h11.Request) -> None:
        """Open the request as its sender's own, not as a proxy's.

        WebSocket compression is not offered: a small compressed frame could expand to any size.
        """
        sender = self._sender
        self.client, self.ssl = (sender.address, 0), sender.scheme == "https"
        self.connection_state[HERE] = sender.here
        headers = [
            (name, value)
            for name, value in without_proxy_headers(list(request.headers), sender.host)
            if name != b"sec-websocket-extensions"
        ]
        await super()._create_stream(
            h11.Request(
                method=request.method, target=request.target, headers=headers, http_version=request.http_version
            )
        )

    async def _refuse(self, verdict: RequestVerdict, method: bytes) -> None:
        text = verdict.problem or f"{verdict.status.value} {verdict.detail}\n".encode()
        body = b"" if method == b"HEAD" else text
        headers = [
            (b"content-type", CONTENT_TYPE if verdict.problem else b"text/plain; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            (b"connection", b"close"),
            *self.config.response_headers("h11"),
        ]
        if verdict.status is HTTPStatus.SERVICE_UNAVAILABLE:
            headers.append((b"retry-after", str(hardening.RETRY_AFTER).encode()))
        if verdict.location is not None:
            headers.append((b"location", verdict.location))
        await self._send_h11_event(h11.Response(status_code=verdict.status, headers=headers))
        if body:
            await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())


class _Connection(TCPServer):
    """One connection, from its first byte to its last.

    Quart-Trio cancels a request's task as soon as Hypercorn reports the end of the request, and in the same task
    Hypercorn then closes the connection or starts the idle timer. Without changes, both are lost: "Connection: close"
    leaves the connection open, and a second request may take for ever. So what follows a request is shielded here, and
    when the connection is closed, all of its tasks end.
    """

    def __init__(self, server: "_Server", stream: PeerStream) -> None:
        super().__init__(server.app, server.config_of(stream), server.context, ConnectionState({}), stream)  # type: ignore[arg-type]
        self._server = server
        self._secure = stream.secure
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        """Serve the connection, as Hypercorn does, without HTTP/2."""
        with self._scope, suppress(OSError):  # OSError: the peer is gone
            client = parse_socket_addr(self.stream.socket.family, self.stream.socket.getpeername())
            local = parse_socket_addr(self.stream.socket.family, self.stream.socket.getsockname())
            async with TaskGroup() as task_group:
                self._task_group = task_group
                protocol = _Protocol(
                    self._server,
                    client[0] if client else "",
                    self._secure,
                    self.app,
                    self.config,
                    self.context,
                    task_group,
                    ConnectionState({}),
                    False,
                    client,
                    local,
                    self.protocol_send,
                )
                self.protocol = protocol  # type: ignore[assignment]
                try:
                    await self.idle_task.restart(task_group, self._idle_timeout)
                    await self._read_data()
                    await self._close()
                finally:
                    protocol.release()

    async def protocol_send(self, event: Event) -> None:
        """Send bytes, or finish a request; the latter never waits for the peer."""
        with trio.CancelScope(shield=not isinstance(event, RawData)):
            await super().protocol_send(event)

    async def _close(self) -> None:
        """Close the stream and cancel all tasks of this connection."""
        await super()._close()
        self._scope.cancel()


class _Server:
    """The connections of one dashboard: counted, and cut when the drain is over."""

    def __init__(self, app: Application) -> None:
        self.app: AppWrapper = ASGIWrapper(app)
        self._application = app
        self.forwarding = app.forwarding
        self.limits = app.limits
        self.tls = app.tls
        self._config, self._strict_config = (_Config(app.limits, strict=strict) for strict in (False, True))
        self.context = WorkerContext(None)
        self._slots = ConnectionSlots(app.limits)
        self.clients = ConnectionSlots(app.limits)
        self._arriving: set[trio.CancelScope] = set()
        self._turned_away = trio.Semaphore(hardening.MOST_TURNED_AWAY)
        self._open: set[PeerStream] = set()
        self._empty = trio.Event()

    @property
    def hosts(self) -> HostPolicy:
        """Return the host names that requests may be addressed to now: those of a new certificate are among them."""
        return self._application.hosts

    def config_of(self, stream: PeerStream) -> _Config:
        """Return the settings of a connection."""
        strict = stream.secure and self.tls is not None and self.tls.trusted_by_browsers
        return self._strict_config if strict else self._config

    async def handle(self, accepted: trio.SocketStream) -> None:
        """Serve one accepted connection, or answer 503 if there are too many."""
        try:
            address = str(accepted.socket.getpeername()[0])
        except OSError:  # the peer is already gone
            await accepted.aclose()
            return
        if not self._slots.take(address, for_many=self.forwarding.is_for_many(address)):
            await self._reject(accepted)
            return
        try:
            stream = await self._arrive(accepted, address)
            if stream is not None:
                await self._serve(stream)
        finally:
            self._slots.release(address)

    async def _arrive(self, accepted: trio.SocketStream, address: str) -> PeerStream | None:
        """Return the stream of a connection, its handshake done; None if it was none within the time, or is drained."""
        if self.tls is None:
            return PeerStream(accepted, None, send_time=self.limits.send_time)
        with trio.move_on_after(self.limits.handshake_time) as scope:
            self._arriving.add(scope)
            try:
                return await open_stream(accepted, self.tls.context, send_time=self.limits.send_time)
            except HandshakeError as error:
                self.tls.failures.note(address, str(error))
            except OSError:  # the peer is gone
                pass
            finally:
                self._arriving.discard(scope)
        await trio.aclose_forcefully(accepted)
        return None

    async def _serve(self, stream: PeerStream) -> None:
        self._open.add(stream)
        try:
            await _Connection(self, stream).run()
        finally:
            self._open.discard(stream)
            stream.free()
            if not self._open:
                self._empty.set()

    async def drained(self) -> None:
        """Wait until no connection is left, for ``drain_time`` at most. Those that have asked for nothing yet end."""
        await self.context.terminated.set()
        for scope in tuple(self._arriving):
            scope.cancel()
        with trio.move_on_after(self.limits.drain_time):
            while self._open:
                self._empty = trio.Event()
                await self._empty.wait()

    def abort(self) -> None:
        """Cut the connections that are still open."""
        for stream in tuple(self._open):
            stream.abort()

    async def _reject(self, accepted: trio.SocketStream) -> None:
        """Answer 503; a client that wants TLS can read no answer without the handshake, and gets none.

        Nobody gets one while many wait for it: each holds a file, and a flood would take those of everything else.
        """
        status = HTTPStatus.SERVICE_UNAVAILABLE
        head = [f"HTTP/1.1 {status.value} {status.phrase}", f"retry-after: {hardening.RETRY_AFTER}"]
        head += ["connection: close", "content-length: 0"]
        head += [f"{name.decode()}: {value.decode()}" for name, value in hardening.SECURITY_HEADERS]
        if self._turned_away.value:
            async with self._turned_away:
                if self.tls is None or not await begins_handshake(accepted):
                    stream = PeerStream(accepted, None, send_time=self.limits.send_time)
                    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                        await stream.send_all("\r\n".join([*head, "", ""]).encode())
        await accepted.aclose()


async def serve(
    app: Application,
    host: str,
    port: int,
    *,
    shutdown_trigger: Callable[[], Awaitable[object]],
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until ``shutdown_trigger`` returns, then drain: WebSockets are closed with 1001, requests may finish.

    Reports the port that it listens on as started. Returns within 2 seconds of the trigger. Raises ApplianceError if
    the port is not available.
    """
    listener = await open_listener(host, port)
    server = _Server(app)
    await app.remember()
    async with trio.open_nursery() as connections:
        try:
            async with trio.open_nursery() as accepting:
                accepting.start_soon(
                    partial(trio.serve_listeners, server.handle, [listener], handler_nursery=connections)
                )
                activity().doing("serves pages, the API and HTTP ingest")
                task_status.started(listener.socket.getsockname()[1])
                await shutdown_trigger()
                accepting.cancel_scope.cancel()
            app.close_live_sockets()
            await server.drained()
        finally:
            server.abort()
        connections.cancel_scope.cancel()
