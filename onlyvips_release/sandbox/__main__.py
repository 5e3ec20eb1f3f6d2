"""`python -m onlyvips_release.sandbox SERVICE [PORT]`: one service of the stand-in, until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NoReturn

from onlyvips_release.sandbox import bot, faults
from onlyvips_release.sandbox.faults import Faults
from onlyvips_release.sandbox.http import Answer, Server

SERVICES = ("backend-api", "miniapp", "showcu-panel", "flirt-bot")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line asks for. `port` is 0 for the bot, `control` 0 for no control port."""

    service: str
    port: int
    control: int
    start_delay: float
    access_log: bool
    faults: MappingProxyType[str, object]


def parse(arguments: Sequence[str]) -> Settings:
    """The settings; a mistake is one clear line and exit 2."""
    parser = argparse.ArgumentParser(
        prog="python -m onlyvips_release.sandbox",
        description=__doc__,
        epilog=faults.help_text(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("service", choices=SERVICES)
    parser.add_argument("port", type=int, nargs="?", default=0, help="on 127.0.0.1; the bot takes none")
    parser.add_argument("--build", help="a label that tells two revisions' command lines apart; shown nowhere")
    parser.add_argument("--fault", action="append", default=[], metavar="NAME[=VALUE]", help="see below; repeatable")
    parser.add_argument("--control", type=int, default=0, metavar="PORT", help="GET, PUT, DELETE /faults there")
    parser.add_argument("--start-delay", type=float, default=0.0, metavar="SECONDS", help="wait before the port opens")
    parser.add_argument("--access-log", action="store_true", help="one line a request on stdout")
    found = parser.parse_args(arguments)
    is_bot = found.service == "flirt-bot"
    if is_bot == bool(found.port) or not 0 <= found.port < 65536:
        _refuse("flirt-bot takes no port" if is_bot else f"{found.service} needs a port in 1..65535")
    pairs = (text.partition("=") for text in found.fault)
    wanted = MappingProxyType({name: value if equals else "1" for name, equals, value in pairs})
    return Settings(found.service, found.port, found.control, found.start_delay, found.access_log, wanted)


def _refuse(message: str) -> NoReturn:
    sys.stderr.write(f"sandbox: {message}\n")
    raise SystemExit(2)


def _log(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _application(service: str, state: Faults) -> Answer:
    """The service with its faults around it. Each process imports only what it serves."""
    if service == "backend-api":
        from onlyvips_release.sandbox import backend  # noqa: PLC0415

        return faults.spoil(backend.create(state).answer, state, backend.is_health)
    from onlyvips_release.sandbox import front  # noqa: PLC0415

    return faults.spoil(front.Front(service, state).answer, state, front.is_health)


class Host:
    """Runs one service: its port, its control port, its background faults, its end."""

    def __init__(self, settings: Settings, state: Faults) -> None:
        self._settings = settings
        self._faults = state
        self._server: Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        self._spawn(faults.run_background(self._faults))
        if self._settings.control:
            await Server(faults.control(self._faults)).open(self._settings.control)
        if self._settings.start_delay:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._settings.start_delay)
        if not stop.is_set():
            await self._start()
            await stop.wait()
        if self._server is not None:
            await self._server.drain()
        _log(f"{self._settings.service}: stopped")

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _start(self) -> None:
        settings = self._settings
        if settings.service == "flirt-bot":
            self._spawn(bot.run(self._faults))
            return _log(f"flirt-bot: started, pid {os.getpid()}")
        self._server = Server(_application(settings.service, self._faults), access_log=settings.access_log)
        self._faults.changed = lambda: self._spawn(self._follow())
        await self._follow()
        return _log(f"{settings.service}: started on 127.0.0.1:{settings.port}, pid {os.getpid()}")

    async def _follow(self) -> None:
        """Open or close the port as the faults want it."""
        assert self._server is not None
        if self._faults.on("not_listening") or self._faults.on("close_listener"):
            self._server.cut()
        elif not self._server.draining:
            await self._server.open(self._settings.port)


def main() -> int:
    """The exit code: 0 stopped by a signal, 1 the port is taken or a fault says so, 2 the command line is wrong."""
    settings = parse(sys.argv[1:])
    try:
        state = Faults(settings.service, settings.faults)
    except faults.BadFault as error:
        _refuse(str(error))
    if settings.service == "flirt-bot" and not os.environ.get("BOT_TOKEN"):
        _refuse("flirt-bot needs the environment variable BOT_TOKEN")
    if state.on("exit_at_start"):
        faults.die("exit_at_start")
    try:
        asyncio.run(Host(settings, state).run())
    except OSError as error:
        sys.stderr.write(f"sandbox: cannot listen: {error.strerror}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
