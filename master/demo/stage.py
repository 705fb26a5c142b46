"""The addresses of the demo: read from the configuration, so that it shows the very file a user will edit next.

The first listener is the front door; the peers of the first upstream block are the applications.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

from wproxy.address import Address
from wproxy.config.load import load_configuration
from wproxy.config.model import Configuration

NAMES = ("one", "two", "three", "four", "five", "six", "seven", "eight")


class CannotShow(Exception):
    """An obstacle to the demo, in one line."""


@dataclass(frozen=True, slots=True)
class Stage:
    """The addresses."""

    file: str
    front: Address
    applications: dict[str, Address]

    @property
    def url(self) -> str:
        """The front door, for people."""
        return f"http://{self.front}"


def set_stage(file: str) -> Stage:
    """Read the addresses, and check that they are free; raises ConfigurationError or CannotShow."""

    def refuse(host: str, port: int) -> list[Address]:
        raise CannotShow(f'the demo needs numeric addresses, not "{host}", in {file}')

    configuration = load_configuration(file, os.path.dirname(os.path.abspath(file)), refuse)
    stage = Stage(file, front_address(configuration), application_addresses(configuration))
    check_free(stage.front, "wproxy")
    for name, address in stage.applications.items():
        check_free(address, f"the demo application {name}")
    return stage


def front_address(configuration: Configuration) -> Address:
    """Return the address of the front door: the first listener, on this machine."""
    for listener in configuration.listeners:
        address = listener.address
        if not address.is_unix:
            return Address("127.0.0.1", address.port) if address.host == "0.0.0.0" else address
    raise CannotShow(f"nothing listens on a port in {configuration.file}")


def application_addresses(configuration: Configuration) -> dict[str, Address]:
    """Return the addresses of the applications: the peers of the first upstream block."""
    for upstream in configuration.upstreams:
        if upstream.implicit:
            continue
        peers = [peer.address for peer in upstream.peers]
        if len(peers) < 2 or any(peer.is_unix or peer.host != "127.0.0.1" for peer in peers):
            raise CannotShow(f"the demo needs two or more servers on 127.0.0.1 in {upstream.position}")
        return dict(zip(NAMES, peers))
    raise CannotShow(f"no upstream in {configuration.file}")


def check_free(address: Address, user: str) -> None:
    """Check a port before wproxy does: its listeners could share it (SO_REUSEPORT) with another wproxy of the same user."""
    with socket.socket(socket.AF_INET6 if address.is_ipv6 else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            raise CannotShow(f"{user} cannot listen on {address}: {error.strerror}") from None
