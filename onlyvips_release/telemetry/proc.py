"""Processor time and memory of the instances that run here, from /proc: each process with all its descendants."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from onlyvips_release.clients.process import Stat, read_stat
from onlyvips_release.core.model import Instance

LOOK_EVERY = 10.0
"""Seconds between two looks for new instances and descendants: they cost 14 us for each process of the machine."""

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True)
class Account:
    """What one instance used so far. `gone`: ticks of descendants that ended, and that no parent took over."""

    identity: str
    pid: int
    started: int
    last: int = 0
    gone: int = 0

    def total(self, now: int) -> int:
        """Clock ticks, never less than before."""
        self.gone += max(0, self.last - now)
        self.last = now
        return now + self.gone


class Usage:
    """Gauges of the processes of this machine. Without /proc there are none, and one warning says so."""

    def __init__(self, instances: Callable[[], Iterable[Instance]], proc: Path = Path("/proc")) -> None:
        self.instances, self.proc = instances, proc
        self.accounts: dict[str, Account] = {}
        self.children: dict[int, list[int]] = {}
        self.look_due = 0.0
        self.blind = not (proc / "self" / "stat").exists()
        if self.blind:
            logging.getLogger(__name__).warning("no /proc here: processor time and memory are not seen")

    def read(self) -> dict[str, tuple[float, int]]:
        """`<host>:<port>` of each living process instance -> (CPU seconds used so far, resident bytes now).

        An instance that was started since the last look comes with the next one.
        """
        if self.blind:
            return {}
        if time.monotonic() >= self.look_due:
            self._look()
        return {where: used for where, account in self.accounts.items() if (used := self._of(account))}

    def _look(self) -> None:
        """Who lives (their workload has just compared start times), and who is whose child."""
        accounts, self.accounts = {account.identity: account for account in self.accounts.values()}, {}
        for one in self.instances():
            root = self._stat(one.pid) if one.alive and one.pid else None
            if root and one.pid and (where := one.endpoint):
                account = accounts.get(one.identity) or Account(one.identity, one.pid, root.started)
                self.accounts[f"{where.host}:{where.port}"] = account
        self.children = self._scan()
        self.look_due = time.monotonic() + LOOK_EVERY

    def _of(self, account: Account) -> tuple[float, int] | None:
        root = self._stat(account.pid)
        if root is None or root.started != account.started or not root.resident:
            return None  # gone, somebody else's by now, or a zombie
        family = [root, *self._descendants(account.pid)]
        return account.total(sum(s.cpu for s in family)) / TICKS, sum(s.resident for s in family) * PAGE

    def _descendants(self, pid: int) -> list[Stat]:
        """As of the last look; a pid that has another parent by now belongs to somebody else."""
        found = []
        for child in self.children.get(pid, ()):
            stat = self._stat(child)
            if stat is not None and stat.parent == pid:
                found += [stat, *self._descendants(child)]
        return found

    def _scan(self) -> dict[int, list[int]]:
        children: dict[int, list[int]] = {}
        for name in os.listdir(self.proc):
            if name.isdecimal() and (stat := self._stat(int(name))):
                children.setdefault(stat.parent, []).append(int(name))
        return children

    def _stat(self, pid: int) -> Stat | None:
        return read_stat(pid, self.proc)
