"""One line per attempt of the router: how it is written (Envoy's format) and how it is read again.

No path, query or header is in it: which calls are business is decided by the routes, and the route's name tells.
"""

from __future__ import annotations

import re

BUSINESS = b"business"
"""What the names of routes for business calls begin with."""

_FIRST_BYTE = "%COMMON_DURATION(US_TX_BEG:US_RX_BEG:us)%"
FORMAT = f"%UPSTREAM_CLUSTER_RAW% %UPSTREAM_HOST% %RESPONSE_CODE% {_FIRST_BYTE} %ROUTE_NAME%\n"
"""Cluster, host, status (0: none), microseconds from first byte sent to first byte answered (-: none), route."""

LINE = re.compile(rb"^(\S+ \S+) (\d{1,3}) (\d{1,12}|-) (\S+)$", re.MULTILINE)
"""Cluster and host, status, microseconds, route. Two torn lines that ran together match it with no known cluster."""
