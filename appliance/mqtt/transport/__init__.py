"""Ways to get a byte stream to a broker: TCP, Unix socket, TLS, WebSocket, and WebSocket under TLS.

Enters: an address, certificates. Leaves: an open stream for one connection, or an error that says what to mend. Never:
MQTT, a deadline (the caller's), a nursery of its own (the caller's as well), a password in an error.

Transports are put around one another: ``WebSocket(Tls(Tcp(...)))``. Each closes what it has opened when a later step
fails or is cancelled, and the stream that it returns closes all of them.
"""

from ssl import SSLContext

from appliance.mqtt.transport.address import Address
from appliance.mqtt.transport.sockets import Tcp, Unix
from appliance.mqtt.transport.stream import BROKEN, OpenStream, Transport
from appliance.mqtt.transport.tls import Tls, TlsFileError, TlsFiles
from appliance.mqtt.transport.websocket import WebSocket

__all__ = ["BROKEN", "Address", "OpenStream", "Tcp", "Tls", "TlsFileError", "TlsFiles", "Transport", "Unix"]
__all__ += ["WebSocket", "transport_to"]


def transport_to(address: Address, tls: SSLContext | TlsFiles) -> Transport:
    """Return the transport of an address; ``tls`` counts where the address is encrypted."""
    if address.scheme == "unix":
        return Unix(address.path)
    transport: Transport = Tcp(address.host, address.port)
    if address.encrypted:
        transport = Tls(transport, tls, address.host)
    if address.websocket:
        transport = WebSocket(transport, address.authority, address.path)
    return transport
