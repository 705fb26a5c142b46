"""The choice of the listener for a request."""

from __future__ import annotations

from wproxy.address import is_ip, parse_listen_address
from wproxy.config.model import Configuration, Listener, Server
from wproxy.explain import CannotExplain, Url


def servers_of(listener: Listener) -> list[Server]:
    """Return the servers of a listener, each once."""
    names = listener.servers
    tables = [*names.exact.values(), *names.suffixes.values(), *names.prefixes.values(), *(server for _, server in names.regexes)]
    return list({id(server): server for server in [names.default, *tables] if server is not None}.values())


def choose_listener(configuration: Configuration, url: Url, wanted: str) -> tuple[Listener, str]:
    """Return the listener that gets a request for this URL, or the wanted one, and the reason. Raises CannotExplain."""
    listeners = configuration.listeners
    known = ", ".join(str(listener.address) for listener in listeners) or "nothing"
    if wanted:
        try:
            address = parse_listen_address(wanted)
        except ValueError as error:
            raise CannotExplain(f"{error}: there is {known}") from None
        for listener in listeners:
            if listener.address == address:
                return listener, "it was asked for"
        raise CannotExplain(f'nothing listens on "{address}": there is {known}')
    port = url.port or url.default_port
    same_port = [listener for listener in listeners if listener.address.port == port]
    if not same_port:
        tcp = [listener for listener in listeners if not listener.address.is_unix]
        if url.port or not tcp:
            raise CannotExplain(f"nothing listens on port {port}: there is {known}; --listen ADDRESS chooses one")
        return tcp[0], f"nothing listens on port {port} and the URL names none: the first listener"
    hosts = {"localhost": ("127.0.0.1", "::1")}.get(url.host.lower(), (url.host,))
    for listener in same_port:
        if listener.address.host in hosts:
            return listener, "it listens on that address"
    wildcards = ("::",) if ":" in url.host else ("0.0.0.0",) if is_ip(url.host) else ("0.0.0.0", "::")
    for listener in same_port:
        if listener.address.host in wildcards:
            return listener, f"it listens on port {port} of all addresses"
    if is_ip(url.host):
        raise CannotExplain(f"nothing listens on {url.host} port {port}: there is {known}; --listen ADDRESS chooses one")
    return same_port[0], f"it listens on port {port}"
