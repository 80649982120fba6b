"""Whether something answers at an address."""

import http.client
import socket

TIMEOUT = 2.0
"""Seconds an answer may take."""


def listens(address: str, port: int) -> bool:
    """Whether a TCP connection is accepted."""
    with socket.socket() as probe:
        probe.settimeout(TIMEOUT)
        return probe.connect_ex((address, port)) == 0


def answers(address: str, port: int, path: str) -> bool:
    """Whether an HTTP request is answered with 200."""
    connection = http.client.HTTPConnection(address, port, timeout=TIMEOUT)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
