"""The passing of requests from a location to its upstream, computed at load: proxy_*, fastcgi_* and the like are read here."""

from __future__ import annotations

from worker.services import Services
from worker.upstream.answers import AnswerPlan
from worker.upstream.buffering import buffering_of
from worker.upstream.manner import constant_manner, socket_settings
from worker.upstream.module_settings import ModuleSettings
from worker.upstream.outgoing import streaming_of
from worker.upstream.passing import Passing, Retries
from worker.upstream.peers import Group
from worker.upstream.protocols import protocol_of
from worker.upstream.reshaping import head_writer, reshaping
from worker.upstream.tls.plan import SecurePlan
from wproxy.directives.proxy import ProxyTarget
from wproxy.upstream_tls import upstream_tls


def make_passing(settings: ModuleSettings, group: Group, answer_plan: AnswerPlan, services: Services) -> Passing:
    """Compute how a location passes requests to a group, and register it with the group."""
    absolute, workers = services.configuration.path, services.workers
    location, protocol = settings.location, protocol_of(settings)
    plan = protocol.plan(location)
    settings.secure_plan = secure_plan(settings, services)
    words: frozenset[str] = frozenset(_SAME.get(word, word) for word in settings.get("next_upstream", ()))
    retries = Retries(
        words,
        settings.get("next_upstream_tries", 0),
        settings.get("next_upstream_timeout", 0.0),
        settings.get("next_upstream_budget"),
    )
    intercepts = settings.get("intercept_errors", False)
    noticed = frozenset(int(word[5:]) for word in words if word[:5] == "http_")
    if intercepts:
        noticed |= {status for line in location.error_page for status in line.statuses}
    if not protocol.has_pages:
        noticed |= {404}
    streaming = streaming_of(settings, plan.sends_unknown_length)
    place = settings.get("temp_path")
    manner = constant_manner(settings, group.is_local)
    passing = Passing(
        location=location,
        settings=settings,
        group=group,
        manner=manner,
        protocol=protocol,
        is_pooled=plan.keeps_connections,
        socket_settings=socket_settings(manner),
        opens_plainly=manner is not None and manner.secured is None and not protocol.is_shared,
        scheme=protocol.scheme if settings.secure_plan is None else protocol.secure_scheme,
        head=head_writer(settings, plan),
        head_plan=plan,
        answer_plan=answer_plan,
        reshape=reshaping(settings, streaming),
        streaming=streaming,
        retries=retries,
        intercepts=intercepts,
        noticed_statuses=noticed,
        connect_timeout=settings.get("connect_timeout"),
        send_timeout=settings.get("send_timeout"),
        read_timeout=settings.get("read_timeout"),
        tunnel_timeout=settings.get("tunnel_timeout"),
        buffer_size=settings.get("buffer_size"),
        buffering=buffering_of(settings),
        temp_path=None if place is None else place.below(absolute),
    )
    group.lead_here(passing.buffer_size, passing.manner, protocol.is_shared, workers if retries.budget is not None else 0)
    return passing


def secure_plan(settings: ModuleSettings, services: Services) -> SecurePlan | None:
    """Return how the connections of a location are encrypted; None where they are not."""
    target: ProxyTarget = settings.get("target")
    if not target.is_secure:
        return None
    load_openssl()
    absolute = services.configuration.path_beside
    return SecurePlan(
        services.connectors.for_settings(upstream_tls(settings.location, settings.module, absolute)),
        settings.get("ssl_name"),
        target.host,
        settings.get("ssl_server_name", False),
        settings.get("ssl_certificate"),
        settings.get("ssl_certificate_key"),
        absolute,
    )


def load_openssl() -> None:
    """Import what a first connection over TLS needs: it takes 20 ms, and must not hold up the requests of others."""
    import worker.upstream.tls.open  # noqa: F401


# Words of memcached_next_upstream for failures that have another name everywhere else.
_SAME = {"invalid_response": "invalid_header", "not_found": "http_404"}
