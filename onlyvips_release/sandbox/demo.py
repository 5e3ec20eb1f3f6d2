"""The demo: an ordinary plan, the sandbox's services, traffic of its own; nothing else in the library knows of it."""

from __future__ import annotations

import secrets
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from string import Template

from onlyvips_release.clock import SystemClock
from onlyvips_release.core.events import Phase
from onlyvips_release.core.lifecycle import Release
from onlyvips_release.environment import Environment, read_environment
from onlyvips_release.platform import Platform
from onlyvips_release.reporting.terminal import Printer
from onlyvips_release.sandbox.load import Load

RATE = 600
"""Users' requests per second, over the three services with HTTP."""

BAD = ", --fault, errors=1.0, --fault, error_methods=GET, --fault, errors_after=14"
"""The bad release: its backend passes the smoke tests, and some seconds later answers every GET with 500."""


def demo(echo: Callable[[str], None], *, keep: bool = False) -> int:
    """Both releases; 0 only if the good one was promoted, the bad one rolled back, and no user saw a failure."""
    clock = SystemClock()
    clock.listen()
    with demo_folder(echo, clock, keep=keep) as (environment, folder, ports):
        echo("== installing v1: four services behind a router")
        installed = platform(folder, environment, clock, ports).up(echo)
        if installed and installed.finished and installed.phase is not Phase.PROMOTED:
            echo(f"== v1: {installed.finished.sentence}")
            return installed.finished.exit
        load = Load(url=f"http://127.0.0.1:{ports['ROUTER']}", rate=RATE, seconds=150)
        try:
            echo(f"== {RATE} user requests a second; now release v2, which is good")
            good = run_release(platform(folder, environment, clock, ports), echo)
            bad = None
            if good.phase is Phase.PROMOTED:
                echo("== now release v3, whose backend will answer every GET with 500 once users are on it")
                bad = run_release(platform(folder, environment, clock, ports, "v2", "v3", BAD), echo)
        finally:
            truth = load.stop()
    return print_result(echo, good, bad, truth, environment)


def print_result(
    echo: Callable[[str], None], good: Release, bad: Release | None, truth: dict[str, int], environment: Environment
) -> int:
    """Print what users got and how both releases ended; the exit code."""
    echo(f"== users made {truth['sent']} requests, {truth['failed']} of them failed")
    fine = good.phase is Phase.PROMOTED and bad is not None and bad.phase is Phase.ROLLED_BACK
    for name, release in (("v2", good), ("v3", bad)):
        if release is not None and release.finished is not None:
            echo(f"== {name}: {release.finished.sentence}")
    echo(f"== reports: {environment.reports / 'index.html'}")
    if bad is None and good.finished is not None and good.finished.exit > 128:
        return good.finished.exit
    if bad is not None and bad.finished is not None and bad.finished.exit > 128:
        return bad.finished.exit
    return 0 if fine and truth["failed"] == 0 else 1


@contextmanager
def demo_folder(
    echo: Callable[[str], None], clock: SystemClock, *, keep: bool
) -> Iterator[tuple[Environment, Path, dict[str, int]]]:
    """A state folder, free ports and secrets of our own; everything is stopped at the end, whatever happened."""
    folder = Path(tempfile.mkdtemp(prefix="onlyvips-demo-"))
    found = read_environment()
    env = {**found.variables, "SECRET_KEY": secrets.token_hex(16), "BOT_TOKEN": secrets.token_hex(16)}
    environment = replace(found, state=folder, variables=env)
    ports = free_ports(["ROUTER", "P1", "P2", "P3", "P4", "P5", "P6"])
    try:
        yield environment, folder, ports
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        platform(folder, environment, SystemClock(), ports).down()
        if keep:
            echo(f"== state kept in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def platform(
    folder: Path, environment: Environment, clock: SystemClock, ports: dict[str, int], *builds: str
) -> Platform:
    """The plan of one release; `builds`: stable, canary, and the canary's fault (default: v1, v2, none)."""
    stable, canary, fault = (*builds, *("v1", "v2", "")[len(builds) :])
    text = Template((Path(__file__).parent / "demo.yaml").read_text())
    path = folder / f"{canary}.yaml"
    path.write_text(text.substitute(ports, STABLE=stable, CANARY=canary, FAULT=fault))
    return Platform.load(path, environment, clock)


def run_release(platform: Platform, echo: Callable[[str], None]) -> Release:
    """One release with its events as lines."""
    printer = Printer(echo, lambda: platform.clock.now().astimezone(), every=2.0)
    return platform.run(printer)


def free_ports(names: list[str]) -> dict[str, int]:
    """A free loopback port for each name, all different."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in names]
    try:
        return {name: server.getsockname()[1] for name, server in zip(names, sockets, strict=True)}
    finally:
        for server in sockets:
            server.close()
