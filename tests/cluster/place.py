"""Names, addresses and folders of a test cluster, and its one error class."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NODE_NAME = "node1"
LAST_SLOT = 60
SLOTS_OF_A_RUN = 4


class ClusterError(Exception):
    """A command of the test cluster failed; the message names the remedy."""


def cache_root() -> Path:
    """Return the folder for built binaries, images and cluster state."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "onlyvips-release-tests"


def slot_from_environment() -> int:
    """Return the slot that ONLYVIPS_CLUSTER_SLOT names, 0 without it."""
    text = os.environ.get("ONLYVIPS_CLUSTER_SLOT", "0")
    if not text.isdecimal() or int(text) > LAST_SLOT:
        raise ClusterError(f"ONLYVIPS_CLUSTER_SLOT is {text!r}; give a whole number from 0 to {LAST_SLOT}")
    return int(text)


@contextmanager
def reserved() -> Iterator[int]:
    """Reserve SLOTS_OF_A_RUN slots in a row for one run of tests: runs on one machine do not disturb each other."""
    cache_root().mkdir(parents=True, exist_ok=True)
    first = slot_from_environment()
    for slot in range(first, LAST_SLOT + 2 - SLOTS_OF_A_RUN, SLOTS_OF_A_RUN):
        with (cache_root() / f"run-{slot}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield slot
            return
    raise ClusterError(f"all slots from {first} on are in use by other runs of these tests; wait for one to end")


@dataclass(frozen=True)
class Place:
    """Where one cluster lives. Clusters of different slots share no name, address or folder."""

    slot: int

    @property
    def name(self) -> str:
        """Return the prefix of links, cgroups and folders below /run."""
        return f"ovc{self.slot}"

    @property
    def state(self) -> Path:
        """Return the folder that `down` removes."""
        return cache_root() / f"cluster-{self.slot}"

    @property
    def run(self) -> Path:
        """Return the folder for sockets and mounts: socket paths must be short."""
        return Path("/run") / self.name

    @property
    def socket(self) -> Path:
        """Return the address of the cluster's own containerd."""
        return self.run / "containerd.sock"

    @property
    def netns(self) -> Path:
        """Return the file that holds the network namespace.

        `ip netns add` is not used: it mounts /run/netns over itself, which breaks the pods of every other cluster.
        """
        return self.run / "net"

    @property
    def host_ip(self) -> str:
        """Return the address of this machine on the link to the node."""
        return f"10.245.254.{4 * self.slot + 1}"

    @property
    def node_ip(self) -> str:
        """Return the address of the node: API server, kubelet and gateways listen there."""
        return f"10.245.254.{4 * self.slot + 2}"

    @property
    def pods(self) -> str:
        """Return the address range of pods."""
        return f"10.245.{self.slot}.0/24"

    @property
    def services(self) -> str:
        """Return the address range of Services."""
        return f"10.246.{self.slot}.0/24"

    @property
    def first_service_ip(self) -> str:
        """Return the address of the Service `kubernetes`."""
        return f"10.246.{self.slot}.1"

    @property
    def api(self) -> str:
        """Return the URL of the API server."""
        return f"https://{self.node_ip}:6443"

    @property
    def kubeconfig(self) -> Path:
        """Return the administrator's kubeconfig."""
        return self.client("admin")

    def client(self, name: str) -> Path:
        """Return the kubeconfig of one client, for example `scheduler`."""
        return self.state / f"{name}.kubeconfig"

    def log(self, name: str) -> Path:
        """Return the log file of one component."""
        return self.state / "log" / name
