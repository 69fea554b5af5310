"""The byte stream of one connection: plain TCP, or TLS over it, as its first byte says.

One port serves both. The first byte of a TLS handshake is 22 (RFC 8446 §5.1, RFC 5246 §6.2.1), with which no request
of HTTP begins.
"""

import socket
import ssl
from contextlib import suppress

import trio

HANDSHAKE = b"\x16"
HELLO = 4096
"""Bytes of a client's first message that are looked at: more than those of today take."""
SLICE = 256 * 1024
"""Bytes that are sent at once, with a deadline of their own: a page of a download may be megabytes, and a line slow.
Encrypted at once, the whole of a large answer would be in memory twice."""
GLANCE = 0.1
"""Seconds to see in which language a connection that is turned away for want of a place wants its answer."""
GOODBYE = 1.0
"""Seconds for the close_notify of TLS; a peer that does not read goes without. Shorter than the drain."""


class HandshakeError(Exception):
    """A TLS handshake failed; the text says why."""


class PeerStream:
    """The stream of a peer that must keep reading: Hypercorn shields its sends, so their deadline is here.

    ``secured`` is the TLS over ``accepted``, its handshake done; None over plain TCP.
    """

    def __init__(
        self, accepted: trio.SocketStream, secured: "trio.SSLStream[trio.SocketStream] | None", *, send_time: float
    ) -> None:
        self._accepted = accepted
        self._secured = secured
        self._send_time = send_time
        self._sending = trio.Lock()  # Hypercorn may close a connection while a response is still being sent
        self.socket = accepted.socket
        self.receive_some = accepted.receive_some if secured is None else secured.receive_some

    @property
    def secure(self) -> bool:
        """Return whether it is TLS."""
        return self._secured is not None

    async def send_eof(self) -> None:
        """Signal that nothing more will be sent; under TLS closing does, by its close_notify."""
        if self._secured is None:
            async with self._sending:
                await self._accepted.send_eof()

    async def send_all(self, data: bytes) -> None:
        """Send, or close the stream when the peer does not read a slice in time. Raises BrokenResourceError."""
        whole = memoryview(data)
        with trio.move_on_after(self._send_time) as scope:
            async with self._sending:
                for start in range(0, len(whole), SLICE):
                    scope.deadline = trio.current_time() + self._send_time
                    await (self._secured or self._accepted).send_all(whole[start : start + SLICE])
        if scope.cancelled_caught:
            self.socket.close()
            raise trio.BrokenResourceError

    async def aclose(self) -> None:
        """Close the stream; under TLS say so first, once what is being sent is sent.

        Where a peer does not read there is no close_notify: the end of a cut answer must not look like a whole one's.
        """
        if self._secured is not None:
            with trio.move_on_after(GOODBYE), suppress(trio.ClosedResourceError):
                async with self._sending:
                    await self._secured.aclose()
        await self._accepted.aclose()

    def abort(self) -> None:
        """Close at once; tasks that send or receive get ClosedResourceError."""
        self.socket.close()

    def free(self) -> None:
        """Free the memory of TLS, some 60 KiB; nobody may use the stream any more.

        Trio's stream refers to itself, so that it would stay until cycles are collected: that counts objects, of which
        it has few, so it comes after thousands of connections, and hardly ever for one that was open for long.
        """
        if self._secured is not None:
            vars(self._secured).clear()


async def open_stream(accepted: trio.SocketStream, context: ssl.SSLContext, *, send_time: float) -> PeerStream:
    """Wait for the first byte of a connection, and do the handshake if it begins one; the caller sets the deadline.

    Raises HandshakeError, and OSError when the peer is gone.
    """
    hello = await accepted.socket.recv(HELLO, socket.MSG_PEEK)
    if not hello.startswith(HANDSHAKE):
        return PeerStream(accepted, None, send_time=send_time)
    secured = trio.SSLStream(accepted, context, server_side=True)
    stream = PeerStream(accepted, secured, send_time=send_time)
    try:
        await secured.do_handshake()
    except trio.BrokenResourceError as error:
        stream.free()
        reason = _reason(error.__cause__)
        with suppress(trio.BrokenResourceError):
            await accepted.send_all(_alert(context, hello) if "ALERT" not in reason else b"")
        raise HandshakeError(reason) from error
    except BaseException:
        stream.free()
        raise
    return stream


def _alert(context: ssl.SSLContext, hello: bytes) -> bytes:
    """Return the alert by which OpenSSL refuses the first message of a client; nothing if it does not.

    Trio ends a handshake that fails without sending it, and a client that speaks only TLS 1.1 would not learn why.
    """
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    incoming.write(hello)
    try:
        context.wrap_bio(incoming, outgoing, server_side=True).do_handshake()
    except ssl.SSLWantReadError:  # that is not what failed
        return b""
    except ssl.SSLError:
        return outgoing.read()
    return b""


async def begins_handshake(accepted: trio.SocketStream) -> bool:
    """Return whether a TLS handshake begins, as far as can be seen within :data:`GLANCE`."""
    with trio.move_on_after(GLANCE), suppress(OSError):
        return await accepted.socket.recv(1, socket.MSG_PEEK) == HANDSHAKE
    return False


def _reason(cause: BaseException | None) -> str:
    """Return what OpenSSL says in short, such as TLSV1_ALERT_UNKNOWN_CA, or that the peer has gone."""
    return (isinstance(cause, ssl.SSLError) and cause.reason) or "closed by the peer"
