"""What a cluster uses of this machine: network namespace, cgroups, mounts, kernel settings; how they are given back."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from tests.cluster.place import ClusterError, Place
from tests.cluster.process import end_all, in_namespace, started
from tests.cluster.shell import attempt, run

CGROUPS = Path("/sys/fs/cgroup")
PROGRAMS = {
    "containerd": "containerd",
    "runc": "runc",
    "ip": "iproute2",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "nsenter": "util-linux",
    "openssl": "openssl",
    "etcd": "etcd-server",
    "gcc": "gcc libc6-dev",
}
CNI_PLUGINS = Path("/usr/lib/cni")
KERNEL_SETTINGS = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops")


def missing_parts() -> str:
    """Return a sentence about what this machine lacks for a cluster of its own, or an empty text."""
    if os.geteuid():
        return "a cluster needs root (network namespace, containerd); or set KUBECONFIG to a cluster for tests"
    packages = [package for program, package in PROGRAMS.items() if not shutil.which(program)]
    if not (CNI_PLUGINS / "bridge").exists():
        packages.append("containernetworking-plugins")
    return f"missing programs: apt-get install {' '.join(packages)}" if packages else ""


def mounts() -> list[str]:
    """Return all mount points, the deepest last."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return sorted(line.split()[1].encode().decode("unicode_escape") for line in lines)


def make_network(place: Place) -> None:
    """Make the network namespace, its link to this machine, and the routes to pods and Services."""
    if str(place.netns) not in mounts():
        place.netns.touch()
        run("unshare", f"--net={place.netns}", "true")
    inside = ("nsenter", f"--net={place.netns}")
    outer, inner = f"{place.name}h", f"{place.name}n"
    run(*inside, "ip", "link", "set", "lo", "up")
    if attempt("ip", "link", "show", outer).returncode:
        run("ip", "link", "add", outer, "type", "veth", "peer", "name", inner, "netns", place.netns)
    run("ip", "addr", "replace", f"{place.host_ip}/30", "dev", outer)
    run("ip", "link", "set", outer, "up")
    run(*inside, "ip", "addr", "replace", f"{place.node_ip}/30", "dev", inner)
    run(*inside, "ip", "link", "set", inner, "up")
    # kube-proxy and the kubelet look for a default route; nothing beyond this machine answers there.
    run(*inside, "ip", "route", "replace", "default", "via", place.host_ip)
    for target in (place.pods, place.services):
        run("ip", "route", "replace", target, "via", place.node_ip)
    run(*inside, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.route_localnet=1")


def _hierarchies() -> list[Path]:
    """Return the roots of the cgroup hierarchies: one of version 2, or one for each controller of version 1."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    return [entry for entry in CGROUPS.iterdir() if entry.is_dir() and not entry.is_symlink()]


def cgroups(place: Place) -> Iterator[Path]:
    """Yield the cluster's own cgroup in each hierarchy where it exists."""
    for top in _hierarchies():
        if (top / place.name).is_dir():
            yield top / place.name


def make_cgroups(place: Place) -> None:
    """Make a root for the pods' cgroups: two kubelets below one root would kill each other's pods."""
    for top in _hierarchies():
        own = top / place.name
        try:
            own.mkdir(exist_ok=True)
        except OSError:
            continue
        for key in ("cpuset.cpus", "cpuset.mems"):
            if top != CGROUPS and (top / key).exists():
                (own / key).write_text((top / key).read_text())


def pod_processes(place: Place) -> set[int]:
    """Return the processes in the cluster's cgroups."""
    found: set[int] = set()
    for own in cgroups(place):
        for file in own.rglob("cgroup.procs"):
            with contextlib.suppress(OSError):
                found |= {int(line) for line in file.read_text().split()}
    return found - {0}


def save_kernel_settings(place: Place) -> None:
    """Remember the settings that a kubelet changes for the whole machine."""
    file = place.state / "kernel.json"
    if not file.exists():
        values = {key: Path("/proc/sys", key).read_text().strip() for key in KERNEL_SETTINGS}
        file.write_text(json.dumps(values))


def _restore_kernel_settings(place: Place) -> None:
    with contextlib.suppress(FileNotFoundError):
        for key, value in json.loads((place.state / "kernel.json").read_text()).items():
            Path("/proc/sys", key).write_text(value)


def end_processes(place: Place) -> None:
    """Kill every process in the cluster's cgroups and network namespace; both are the cluster's alone."""
    end = time.monotonic() + 8
    while pids := {pid for pid in pod_processes(place) | set(in_namespace(place.netns)) if started(pid)}:
        if time.monotonic() > end:
            raise ClusterError(f"these processes of the cluster do not end: {sorted(pids)}")
        end_all(pids)


def release(place: Place) -> None:
    """Give back mounts, link, routes, network namespace, cgroups and kernel settings; processes have ended before."""
    owned = (f"{place.state}/", f"{place.run}/")
    for point in reversed([point for point in mounts() if point.startswith(owned) and point != str(place.netns)]):
        run("umount", "-l", point)
    # The link's other end disappears only when the namespace is gone: delete this end first.
    attempt("ip", "link", "del", f"{place.name}h")
    if str(place.netns) in mounts():
        run("umount", place.netns)
    for own in cgroups(place):
        for folder, _, _ in os.walk(own, topdown=False):
            with contextlib.suppress(FileNotFoundError):
                _remove_cgroup(Path(folder))
    _restore_kernel_settings(place)


def _remove_cgroup(folder: Path, tries: int = 100) -> None:
    """Remove an empty cgroup; the kernel needs a moment after its last process has ended."""
    for remaining in reversed(range(tries)):
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            if not remaining:
                raise
            time.sleep(0.02)
        else:
            return


def remove_files(place: Place) -> None:
    """Remove the state folder, sockets, and the links that the kubelet made to the pods' logs."""
    links = Path("/var/log/containers")
    for link in links.iterdir() if links.is_dir() else []:
        if link.is_symlink() and str(link.readlink()).startswith(f"{place.state}/"):
            link.unlink()
    for folder in (place.state, place.run):
        if folder.exists():
            shutil.rmtree(folder)


def left_over(place: Place) -> list[str]:
    """Return what is left of a cluster: processes, mounts, links, cgroups, folders, rules of iptables."""
    found = [f"process {pid}" for pid in pod_processes(place) | set(in_namespace(place.netns)) if started(pid)]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes()
                if f"{place.state}/".encode() in words or f"{place.run}/".encode() in words:
                    found.append(f"process {entry.name}: {words[:80]!r}")
    found += [f"mount {point}" for point in mounts() if point.startswith((f"{place.state}/", f"{place.run}/"))]
    found += [f"link {line.split()[1]}" for line in run("ip", "-o", "link").splitlines() if place.name in line]
    found += [f"route {line}" for line in run("ip", "route").splitlines() if place.node_ip in line]
    found += [f"cgroup {own}" for own in cgroups(place)]
    found += [f"folder {folder}" for folder in (place.state, place.run) if folder.exists()]
    return found


def iptables_rules() -> list[str]:
    """Return this machine's rules of iptables, without counters and comments."""
    lines = attempt("iptables-save").stdout.splitlines()
    return [line.split(" [")[0] for line in lines if not line.startswith("#")]
