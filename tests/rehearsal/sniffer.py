"""The IPv4 packets that pass an interface of this machine; only root may look."""

from __future__ import annotations

import contextlib
import ipaddress
import select
import socket
import threading
from collections.abc import Iterator

_ETH_P_IP = 0x0800
_BUFFER = 8 * 1024 * 1024


@contextlib.contextmanager
def packets_on(interface: str, source: ipaddress.IPv4Network) -> Iterator[list[str]]:
    """Packets from ``source`` on ``interface`` while the block lasts, as "SOURCE > DESTINATION"."""
    seen: list[str] = []
    done, wake = socket.socketpair()
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_IP)) as tap, done, wake:
        tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        tap.bind((interface, _ETH_P_IP))
        reader = threading.Thread(target=_read, args=(tap, done, source, seen))
        reader.start()
        try:
            yield seen
        finally:
            wake.send(b"x")
            reader.join()


def _read(tap: socket.socket, done: socket.socket, source: ipaddress.IPv4Network, seen: list[str]) -> None:
    """Until ``done`` speaks; what has arrived before it is read to the end."""
    while True:
        ready, _, _ = select.select([tap, done], [], [])
        if tap in ready:
            header = tap.recv(20)
            sender, receiver = ipaddress.IPv4Address(header[12:16]), ipaddress.IPv4Address(header[16:20])
            if sender in source:
                seen.append(f"{sender} > {receiver}")
        elif done in ready:
            return
