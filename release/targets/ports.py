"""Ports of this host's loopback that servers may have."""

import socket

PORTS = range(20000, 30000)  # below the ports that Linux gives to outgoing connections: a restarted server finds its own free


def is_free(port: int) -> bool:
    with socket.socket() as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of the last owner may linger
        try:
            attempt.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
