"""One line per attempt of the router: how it is written (Envoy's format), how it is read again, and what it means.

No path, query or header is in it: which calls are business is decided by the routes, and the route's name tells.
"""

from __future__ import annotations

import re
from enum import StrEnum

BUSINESS = b"business"
"""What the names of routes for business calls begin with."""

_SENT = "COMMON_DURATION(US_TX_BEG:"
FORMAT = (
    f"%UPSTREAM_CLUSTER_RAW% %UPSTREAM_HOST% %RESPONSE_CODE% %{_SENT}US_RX_BEG:us)% %{_SENT}US_RX_END:us)% %DURATION% "
    "%RESPONSE_FLAGS% %ROUTE_NAME%\n"
)
"""Cluster, host, status (0: none), microseconds from the first byte sent to the first and to the last byte answered
(-: none), milliseconds until the attempt ended, response flags (-: none), route."""

LINE = re.compile(
    rb"^(\S+ \S+) (\d{1,3}) (\d{1,12}|-) (\d{1,12}|-) (\d{1,12}) (-|[A-Za-z,]{1,64}) (\S+)$", re.MULTILINE
)
"""The same fields; cluster and host are one. Two torn lines that ran together match it with no known cluster."""

SWITCHED = 101
"""The status of an answer after which the connection belongs to a WebSocket: it has no last byte of its own."""


EARLY = 50
"""Milliseconds by which the router's clock for an attempt may end before the time that its route gives (2 seen)."""


class End(StrEnum):
    """How an attempt ended.

    The router's counters know the head of an answer alone: they take `cut` for good, and do not count an attempt that
    its client abandoned before it (`abandoned unanswered`).
    """

    COMPLETE = "complete"
    FAILED = "failed"
    CUT = "cut"
    ABANDONED = "abandoned"
    ABANDONED_UNANSWERED = "abandoned unanswered"


def end_of(status: int, complete: bool, milliseconds: int, flags: bytes, timeout: int) -> End:
    """How an attempt ended. `complete`: its last byte came; `timeout`: milliseconds that the route gives it.

    The router flags neither the end of that time nor a client that leaves: only the time that passed tells them apart.
    """
    if status >= 500:
        return End.FAILED
    if complete or status == SWITCHED:
        return End.COMPLETE
    if flags != b"-" or milliseconds >= timeout - EARLY:
        return End.CUT if status else End.FAILED
    return End.ABANDONED if status else End.ABANDONED_UNANSWERED
