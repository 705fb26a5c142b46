"""The place where each table of `wproxy.directives` enters the model: one line for each module of nginx.

The bases of a class below are the tables whose directives become attributes of the object that is built on it (model.py).
A new module is an import and a line here.
"""

from __future__ import annotations

from wproxy.config.registry import register, register_accepted
from wproxy.directives.accepted import ACCEPTED
from wproxy.directives.access import AccessDirectives
from wproxy.directives.addition import AdditionDirectives
from wproxy.directives.aio import AioDirectives, ThreadPoolDirectives
from wproxy.directives.api import ApiDirectives
from wproxy.directives.auth import AuthDirectives
from wproxy.directives.auth_request import AuthRequestDirectives
from wproxy.directives.brotli import BrotliDirectives
from wproxy.directives.browser import BrowserDirectives
from wproxy.directives.buffering import BufferingDirectives
from wproxy.directives.cache import CacheDirectives
from wproxy.directives.charset import CharsetDirectives
from wproxy.directives.client_address import LinkDirectives, RealIpDirectives
from wproxy.directives.core import EventsDirectives, MainDirectives
from wproxy.directives.dashboard import DashboardDirectives
from wproxy.directives.dav import DavDirectives
from wproxy.directives.error_page import ErrorPageDirectives
from wproxy.directives.explain_ring import ExplainDirectives
from wproxy.directives.fastcgi import FastcgiDirectives
from wproxy.directives.files import FilesDirectives
from wproxy.directives.geo import GeoDirectives
from wproxy.directives.grpc import GrpcDirectives
from wproxy.directives.gunzip import GunzipDirectives
from wproxy.directives.gzip import GzipDirectives
from wproxy.directives.headers import HeadersDirectives
from wproxy.directives.health_check import HealthCheckDirectives, MatchBlock, MatchDirectives
from wproxy.directives.http2 import HTTP2Directives, HTTP2ServerDirectives
from wproxy.directives.http_core import BlockDirectives, CommonDirectives, LocationDirectives, ServerDirectives
from wproxy.directives.jwt import JwtDirectives
from wproxy.directives.limits import LimitDirectives
from wproxy.directives.listen import ListenDirectives
from wproxy.directives.log import LogDirectives
from wproxy.directives.map import MapDirectives
from wproxy.directives.memcached import MemcachedDirectives
from wproxy.directives.metrics import MetricsDirectives
from wproxy.directives.mirror import MirrorDirectives
from wproxy.directives.otel import OtelBlock, OtelDirectives, OtelExporterDirectives
from wproxy.directives.processes import ProcessDirectives
from wproxy.directives.proxy import ProxyDirectives
from wproxy.directives.proxy_headers import ProxyHeaderDirectives
from wproxy.directives.proxy_tls import ProxyTlsDirectives
from wproxy.directives.request_body import RequestBodyDirectives
from wproxy.directives.resolver import ResolverDirectives
from wproxy.directives.rewrite import LocationIf, RewriteDirectives, ServerIf
from wproxy.directives.scgi import ScgiDirectives
from wproxy.directives.slice import SliceDirectives
from wproxy.directives.split_clients import SplitClientsDirectives
from wproxy.directives.ssi import SsiDirectives
from wproxy.directives.status_zone import LocationZoneDirectives, ServerZoneDirectives
from wproxy.directives.store import StoreDirectives
from wproxy.directives.stub_status import StubStatusDirectives
from wproxy.directives.sub_filter import SubFilterDirectives
from wproxy.directives.tls import TlsDirectives
from wproxy.directives.upstream import UpstreamDirectives
from wproxy.directives.uwsgi import UwsgiDirectives
from wproxy.directives.visitors import UserIdDirectives
from wproxy.directives.zstd import ZstdDirectives


class MainModules(
    MainDirectives,
    ThreadPoolDirectives,
    ProcessDirectives,
    EventsDirectives,
):
    """The directives of a whole configuration."""


class UpstreamModules(
    UpstreamDirectives,
    ResolverDirectives,
):
    """The directives of an upstream."""


class ServerModules(
    CommonDirectives,
    ServerDirectives,
    ListenDirectives,
    TlsDirectives,
    HTTP2ServerDirectives,
    ServerZoneDirectives,
    ServerIf,
):
    """The directives of a virtual server that its locations do not have."""


class LocationModules(
    CommonDirectives,
    LogDirectives,
    ProxyDirectives,
    ProxyHeaderDirectives,
    HTTP2Directives,
    ProxyTlsDirectives,
    RequestBodyDirectives,
    BufferingDirectives,
    StoreDirectives,
    CacheDirectives,
    FastcgiDirectives,
    UwsgiDirectives,
    ScgiDirectives,
    MemcachedDirectives,
    GrpcDirectives,
    RewriteDirectives,
    ErrorPageDirectives,
    FilesDirectives,
    AioDirectives,
    CharsetDirectives,
    HeadersDirectives,
    GunzipDirectives,
    SubFilterDirectives,
    BrotliDirectives,
    ZstdDirectives,
    GzipDirectives,
    ResolverDirectives,
    HealthCheckDirectives,
    LocationDirectives,
    AccessDirectives,
    AuthDirectives,
    JwtDirectives,
    LimitDirectives,
    RealIpDirectives,
    LinkDirectives,
    UserIdDirectives,
    AuthRequestDirectives,
    BrowserDirectives,
    SsiDirectives,
    DavDirectives,
    MirrorDirectives,
    AdditionDirectives,
    SliceDirectives,
    ApiDirectives,
    StubStatusDirectives,
    MetricsDirectives,
    LocationZoneDirectives,
    OtelDirectives,
    DashboardDirectives,
    ExplainDirectives,
    LocationIf,
):
    """The directives of a location, and of the server where no location matches."""


# Blocks of http, and their contents, that become objects of their own.
BLOCKS = (
    BlockDirectives,
    MapDirectives,
    GeoDirectives,
    SplitClientsDirectives,
    MatchBlock,
    MatchDirectives,
    OtelBlock,
    OtelExporterDirectives,
)

# From the outside in: of two rows with one name, a message about a wrong place shows the outer one.
for _owner in (MainModules, *BLOCKS, ServerModules, LocationModules, UpstreamModules):
    register(*_owner.__mro__)
register_accepted(ACCEPTED)
