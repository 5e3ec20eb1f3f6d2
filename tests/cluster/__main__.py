"""Command line of the test cluster."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from tests.cluster import build, cycles, given
from tests.cluster.cluster import Cluster
from tests.cluster.place import ClusterError, Place, slot_from_environment

TEXT = """\
A real one-node Kubernetes cluster for tests: API server, controllers, scheduler, kubelet, containerd, two gateways.
It has its own network namespace, cgroups and state folder; it runs beside a Docker engine or another cluster.
"""
NOTES = """\
The first `up` compiles Kubernetes (minutes, with nice 10) and keeps the binary; later ones take seconds.
Where KUBECONFIG names a cluster that answers, tests use that one, and these commands start nothing.

environment:
  KUBECONFIG              a cluster for tests that exists already (kind, k3d, any)
  ONLYVIPS_CLUSTER_LOAD   the command that loads an image archive there, e.g. `kind load image-archive`
  ONLYVIPS_CLUSTER_SLOT   0 to 60: clusters of different slots run side by side (default 0)
  XDG_CACHE_HOME          binaries, images and state lie in onlyvips-release-tests below it (default ~/.cache)
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    raw = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser("python -m tests.cluster", description=TEXT, epilog=NOTES, formatter_class=raw)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="start what does not run; print how long each part took")
    up.add_argument("--no-gateways", action="store_true", help="start neither Traefik nor Contour")
    up.add_argument("--metrics", action="store_true", help="start the metrics server too (compiles it once)")
    up.add_argument("--throttle", default="", help="shortest time between two configurations of Traefik (at first 2s)")
    commands.add_parser("stop", help="end all processes; the next `up` goes on with the same state")
    commands.add_parser("down", help="end all processes and remove everything but the cache")
    commands.add_parser("status", help="list components with process id and memory (proportional set size)")
    commands.add_parser("env", help='print shell commands for kubectl: eval "$(python -m tests.cluster env)"')
    logs = commands.add_parser("logs", help="print the end of a component's log")
    logs.add_argument("component", nargs="?", help="for example kubelet; without it: names of all logs")
    made = commands.add_parser("build", help="compile what is not in the cache, start nothing")
    made.add_argument("program", nargs="*", help=f"of {', '.join(build.PROGRAMS)}")
    cycles = commands.add_parser("cycles", help="measure `up` and `down` several times against the limits")
    cycles.add_argument("count", nargs="?", type=int, default=10)
    return top


def main(words: list[str] | None = None) -> int:
    """Run one command; return its exit code."""
    options = parser().parse_args(words)
    try:
        if options.command == "build":
            return build.main(options.program)
        return _on_cluster(options)
    except ClusterError as error:
        print(f"tests.cluster: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `up | head`: what was asked for is done, and nobody reads the rest
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _on_cluster(options: argparse.Namespace) -> int:
    place = Place(slot_from_environment())
    own = Cluster(place)
    kubeconfig = given.kubeconfig(place)
    if kubeconfig and options.command in ("up", "status", "env", "logs"):
        print(f"KUBECONFIG names a cluster that answers: {kubeconfig}; tests use it, and nothing is started or stopped")
        return 0
    commands: dict[str, Callable[[], int]] = {
        "up": lambda: _up(own, options),
        "stop": lambda: _done(own.stop),
        "down": lambda: _done(own.down),
        "status": lambda: _print(own.status()),
        "env": lambda: _env(place),
        "logs": lambda: _logs(own, options.component),
        "cycles": lambda: cycles.report(options.count),
    }
    return commands[options.command]()


def _up(own: Cluster, options: argparse.Namespace) -> int:
    times = own.up(with_gateways=not options.no_gateways, with_metrics=options.metrics, throttle=options.throttle)
    for name, seconds in times.moments.items():
        print(f"{seconds:6.1f} s  {name}")
    return _env(own.place)


def _done(action: Callable[[], None]) -> int:
    action()
    return 0


def _print(text: str) -> int:
    print(text)
    return 0


def _env(place: Place) -> int:
    if not place.kubeconfig.exists():
        raise ClusterError("there is no cluster: run `python -m tests.cluster up`")
    print(f"export KUBECONFIG={place.kubeconfig}")
    print(f'export PATH="{place.state / "bin"}{os.pathsep}$PATH"')
    return 0


def _logs(own: Cluster, component: str | None) -> int:
    folder: Path = own.place.state / "log"
    known = sorted(file.name for file in folder.iterdir()) if folder.exists() else []
    if component is None:
        return _print("\n".join(known))
    if component not in known:
        raise ClusterError(f"no log of {component!r}; there are: {', '.join(known) or 'none, run `up` first'}")
    return _print(own.daemons.tail(component, 20_000))


if __name__ == "__main__":
    sys.exit(main())
