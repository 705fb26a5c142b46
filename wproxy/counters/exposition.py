"""The text formats of Prometheus: 0.0.4, and OpenMetrics 1.0.0 (prometheus.io: exposition formats; openmetrics.io).

The lines of a family are together, after what says its type. Differences of OpenMetrics: a counter's family is named without
`_total`, and a counter that has another name is of an unknown type there; units are named; exemplars; `# EOF`. Bounds and numbers
are written in one way in both, since another spelling would be another series.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from wproxy.counters.totals import Histogram, indexes_of, up_to

TEXT = b"text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = b"application/openmetrics-text; version=1.0.0; charset=utf-8"

COUNTER, GAUGE, HISTOGRAM, INFO = "counter", "gauge", "histogram", "info"
_UNITS = ("seconds", "bytes")

# Label names and values as they are written: `{server="x",code="200"}`.
Labels = str


class Exemplar(NamedTuple):
    """A request that stands for a bucket. at: unix seconds."""

    trace_id: str
    span_id: str
    seconds: float
    at: float


Exemplars = Mapping[int, Exemplar]  # by the index of the bucket


def labels(**values: str) -> Labels:
    """Return labels as they are written, without those that are empty."""
    return ",".join([f'{name.rstrip("_")}="{escaped(value)}"' for name, value in values.items() if value])


def escaped(value: str) -> str:
    """Return a label's value between its quotes; what is not UTF-8 becomes a replacement character."""
    if not value.isascii():
        value = value.encode("utf-8", "replace" if value.isprintable() else "surrogateescape").decode("utf-8", "replace")
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def number(value: float) -> str:
    """Return a number as both formats have it."""
    return str(value) if isinstance(value, int) else repr(value)


class Exposition:
    """A page in the making. is_open: whether it is OpenMetrics. wants: the beginnings of names of families, none for all."""

    def __init__(self, is_open: bool, bounds: Sequence[float], wants: Sequence[str] = ()) -> None:
        """bounds: those of the buckets that are shown."""
        self.is_open = is_open
        self.lines: list[str] = []
        self._bounds = tuple(bounds)
        self._indexes = indexes_of(self._bounds)
        self._wants = tuple(wants)
        self._heads = [f'le="{number(bound)}"' for bound in self._bounds] + ['le="+Inf"']

    def family(self, name: str, kind: str, text: str) -> bool:
        """Begin a family; return False if it is not wanted. name: with the `_total` of a counter."""
        if self._wants and not name.startswith(self._wants):
            return False
        if self.is_open:
            if kind == COUNTER:
                if name.endswith("_total"):
                    name = name.removesuffix("_total")
                else:
                    kind = "unknown"
            elif kind == INFO:
                name = name.removesuffix("_info")
            self.lines.append(f"# TYPE {name} {kind}")
            unit = name.rsplit("_", 1)[-1]
            if unit in _UNITS:
                self.lines.append(f"# UNIT {name} {unit}")
            self.lines.append(f"# HELP {name} {text}")
        else:
            self.lines.append(f"# HELP {name} {text}")
            self.lines.append(f"# TYPE {name} {GAUGE if kind == INFO else kind}")
        return True

    def samples(self, name: str, kind: str, text: str, samples: Iterable[tuple[Labels, float]]) -> None:
        """Write a family of counters or gauges; none that has no sample."""
        values = [f"{name}{{{label}}} {value}" if label else f"{name} {value}" for label, value in samples]
        if values and self.family(name, kind, text):
            self.lines += values

    def histogram(self, name: str, label: Labels, times: Histogram, exemplars: Exemplars | None = None) -> None:
        """Write the lines of one histogram of a family that has begun."""
        lines, counts = self.lines, up_to(times.buckets, self._indexes)
        comma = "," if label else ""
        if exemplars and self.is_open:
            shown = self._shown_exemplars(exemplars)
            for index, (head, count) in enumerate(zip(self._heads, counts)):
                lines.append(f"{name}_bucket{{{label}{comma}{head}}} {count}{shown.get(index, '')}")
        else:
            begin = f"{name}_bucket{{{label}{comma}"
            lines += [f"{begin}{head}}} {count}" for head, count in zip(self._heads, counts)]
        around = f"{{{label}}}" if label else ""
        lines.append(f"{name}_sum{around} {number(times.seconds)}")
        lines.append(f"{name}_count{around} {counts[-1]}")

    def _shown_exemplars(self, exemplars: Exemplars) -> dict[int, str]:
        """Return the exemplars by the index of the shown bucket: a bucket that is not shown is part of the next one that is."""
        found: dict[int, str] = {}
        for exemplar in exemplars.values():
            index = next((at for at, bound in enumerate(self._bounds) if exemplar.seconds <= bound), len(self._bounds))
            ids = f'trace_id="{exemplar.trace_id}"' + (f',span_id="{exemplar.span_id}"' if exemplar.span_id else "")
            found[index] = f" # {{{ids}}} {number(exemplar.seconds)} {exemplar.at:.3f}"
        return found

    def take(self) -> str:
        """Return the lines so far, and forget them."""
        text = "".join([f"{line}\n" for line in self.lines])
        self.lines.clear()
        return text

    def end(self) -> None:
        """Write what the page ends with."""
        if self.is_open:
            self.lines.append("# EOF")


def wants_openmetrics(accept: bytes | None) -> bool:
    """Whether an Accept names OpenMetrics, and nothing plainer with a higher quality (RFC 9110, 12.5.1)."""
    best = {b"application/openmetrics-text": 0.0, b"text/plain": 0.0}
    for item in (accept or b"").lower().split(b","):
        kind, *parameters = (part.strip() for part in item.split(b";"))
        if kind not in best:
            continue
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith(b"q="):
                try:
                    quality = float(parameter[2:])
                except ValueError:
                    quality = 0.0
        best[kind] = max(best[kind], quality)
    opened, plain = best.values()
    return opened > 0 and opened >= plain
