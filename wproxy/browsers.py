"""What a User-Agent says about the browser, for old ones that need care (nginx: ngx_http_process_user_agent)."""

from __future__ import annotations


def is_msie(agent: bytes) -> bool:
    """Tell whether it is Internet Explorer; a version must have room after its name."""
    _, found, version = agent.partition(b"MSIE ")
    return bool(found) and len(version) >= 3 and b"Opera" not in agent


def is_msie6(agent: bytes) -> bool:
    """Tell whether it is Internet Explorer 4 to 6, the last without its service pack."""
    if not is_msie(agent):
        return False
    version = agent.partition(b"MSIE ")[2]
    return version[1:2] == b"." and (version[:1] in b"45" or (version[:1] == b"6" and b"SV1" not in version[3:]))


def is_safari(agent: bytes) -> bool:
    """Tell whether it is Safari on a Mac."""
    others = (b"Opera", b"Gecko/", b"Chrome/")
    return b"Safari/" in agent and b"Mac OS X" in agent and not is_msie(agent) and not any(name in agent for name in others)


def stays_connected(method: bytes, agent: bytes, disabled: frozenset[str]) -> bool:
    """Tell whether a browser's connection may be kept after a request. disabled: the words of keepalive_disable."""
    if method == b"POST" and "msie6" in disabled and is_msie6(agent):
        return False
    return not ("safari" in disabled and is_safari(agent))
