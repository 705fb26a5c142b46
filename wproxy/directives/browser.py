"""Old and new browsers (nginx: src/http/modules/ngx_http_browser_module.c)."""

from __future__ import annotations

from wproxy.config.registry import GATHER, HTTP, LOCATION, SERVER, directive
from wproxy.directives.values import text
from wproxy.directives.visitors import ModernBrowser, modern_browser

_LEVELS = HTTP | SERVER | LOCATION


def names(*arguments: str) -> tuple[bytes, ...]:
    """Return texts that a User-Agent may have."""
    return tuple(argument.encode("utf-8", "surrogateescape") for argument in arguments)


class BrowserDirectives:
    """Old and new browsers, for $ancient_browser and $modern_browser."""

    ancient_browser: tuple[tuple[bytes, ...], ...] = directive(
        names, _LEVELS, arity=(1, 1000), inherit=GATHER, doc="Texts in the User-Agent of old browsers; netscape4 for that one."
    )
    modern_browser: tuple[ModernBrowser, ...] = directive(
        modern_browser,
        _LEVELS,
        arity=(1, 2),
        inherit=GATHER,
        doc="A browser that is new from a version on; unlisted: others.",
    )
    ancient_browser_value: tuple[str, ...] = directive(
        text, _LEVELS, inherit=GATHER, doc="The value of $ancient_browser for an old browser; 1 by default."
    )
    modern_browser_value: tuple[str, ...] = directive(
        text, _LEVELS, inherit=GATHER, doc="The value of $modern_browser for a new browser; 1 by default."
    )
