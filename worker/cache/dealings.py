"""The dealings of one request with a cache: from the look for its key to the end of the response that is stored.

They are shared by the request and by what stores its answer, which may go on after the request: the last of the two gives the
entry back, so that requests that wait for it continue at once.
"""

from __future__ import annotations

from worker.cache.cache import Cache
from worker.cache.plan import CachePlan
from worker.cache.use import Use
from worker.cache.variants import variant_digest
from worker.logs import log_request, shown
from wproxy.cache import counters
from wproxy.cache.key import CacheKey
from wproxy.caching import CacheNotes
from wproxy.http import Request

# The values of $upstream_cache_status.
HIT, STALE, UPDATING, REVALIDATED = b"HIT", b"STALE", b"UPDATING", b"REVALIDATED"
MISS, EXPIRED, BYPASS = b"MISS", b"EXPIRED", b"BYPASS"
# Their numbers for the counters.
NUMBERS = {name.encode(): number for number, name in enumerate(counters.NAMES)}


class Dealings(CacheNotes):
    """A request's use of a cache, from the first look on.

    use: the entry of its key, once it was looked for. stores: whether the answer may be stored. is_settled: whether the answer is
    not the upstream's own: an older one that is stored, an error page, or that of another location. is_background: whether no
    client waits for it. is_converted: whether the client's HEAD is a GET for now. outlasts_errors: whether stale-if-error allows
    to send the stored response if there is no new one.
    """

    __slots__ = (
        "_holders", "cache", "digested", "is_background", "is_converted", "is_settled", "outlasts_errors", "plan", "request",
        "stores", "use",
    )  # fmt: skip

    def __init__(self, request: Request, plan: CachePlan, cache: Cache, key: CacheKey) -> None:
        super().__init__(key.text)
        self.request = request
        self.plan = plan
        self.cache = cache
        self.digested = key
        self.use: Use | None = None
        self.stores = True
        self.is_settled = self.is_background = self.is_converted = self.outlasts_errors = False
        self._holders = 0

    def look_up(self) -> Use:
        """Look for the entry of the key; it is given back at the end of the request, or of what holds it longer."""
        self.use = use = self.cache.look_up(self.digested, self.plan.min_uses, self.variant_of)
        self._holders = 1
        return use

    def variant_of(self, vary: bytes) -> bytes:
        """Return the digest of the variant that fits the request. vary: the names that a stored response depends on."""
        return variant_digest(self.digested.main, vary, self.request.fields)

    def hold(self) -> None:
        """Keep the entry beyond the end of the request, until one more `release`."""
        self._holders += 1

    def release(self) -> None:
        """Give the entry back, unless it is held."""
        self._holders -= 1
        if not self._holders and self.use is not None:
            self.use.end()

    def part(self) -> None:
        """End with the request: without the cycle of both none waits for the collector."""
        self.request.cached = None
        self.release()

    def hand_over(self) -> Use:
        """Return the entry, which is the business of other dealings from now on."""
        use, self.use = self.use, None
        assert use is not None
        return use

    def take_over(self, use: Use) -> None:
        """Go on with an entry that was looked for before."""
        self.use = use
        self._holders = 1

    def convert_head(self) -> None:
        """Make GET of a HEAD, so that the response can be stored."""
        if self.request.method == b"HEAD" and self.plan.converts_head:
            self.request.method = b"GET"
            self.is_converted = True

    def settle(self) -> None:
        """Note that the upstream's own answer is not sent: the request is the client's again."""
        self.is_settled = True
        self.restore_head()

    def restore_head(self) -> None:
        """Make HEAD of it again."""
        if self.is_converted:
            self.request.method = b"HEAD"
            self.is_converted = False

    def count(self, size: int, written: int | None = None) -> None:
        """Count the response. size: bytes of its body; written: those that were stored, None if it was not."""
        self.cache.count(NUMBERS[self.status], size, written)

    def note(self, reason: str) -> None:
        """Note why the response does not come from the cache, or is not stored."""
        self.reason = f"{self.reason}; {reason}" if self.reason else reason

    def learn(self, reason: str) -> None:
        """Note a reason that only showed when the line of this request was written, and log it in one of its own."""
        self.note(reason)
        log_request(self.request, "info", f"cache {self.status.decode()}: {reason}")

    def complain(self, trouble: Exception) -> None:
        """Log that the disk does not take the response."""
        self.note("not stored: the disk does not take it")
        where = shown(self.cache.zone.path.encode("utf-8", "surrogateescape"))
        log_request(self.request, "crit", f'a response cannot be stored in "{where}" ({trouble}) while reading upstream')

    def log(self) -> None:
        """Log the reason, if there is one, in one line."""
        if self.reason:
            log_request(self.request, "info", f"cache {self.status.decode()}: {self.reason}")
