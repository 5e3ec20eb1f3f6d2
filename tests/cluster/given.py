"""A cluster for tests that KUBECONFIG names: it is used as it is, and only namespaces with our label are deleted."""

from __future__ import annotations

import os
from pathlib import Path

import httpx

from tests.cluster.api import Api
from tests.cluster.place import ClusterError, Place

QUICK = httpx.Timeout(3, connect=2)


def kubeconfig(place: Place) -> Path | None:
    """Return the file of KUBECONFIG when it names another cluster than ours and that one is ready."""
    text = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    if not text or Path(text) == place.kubeconfig or not Path(text).exists():
        return None
    try:
        api = Api.from_kubeconfig(Path(text), timeout=QUICK)
    except (ClusterError, KeyError, OSError, ValueError):
        return None
    try:
        return Path(text) if api.ready() else None
    except ClusterError:
        return None
    finally:
        api.close()
