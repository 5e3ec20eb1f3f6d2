"""Processor time and memory of the instances that run here, from /proc: each process with all its descendants."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from onlyvips_release.model import Instance

SCAN_EVERY = 10.0
"""Seconds between two looks for new descendants: a look at every process of the machine costs 14 us for each."""

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Stat:
    """One line of /proc/<pid>/stat. `cpu`: clock ticks, children that ended included; `resident`: pages."""

    parent: int
    cpu: int
    started: int
    resident: int


@dataclass(slots=True)
class Account:
    """What one instance used so far. `gone`: ticks of descendants that ended, and that no parent took over."""

    started: int
    last: int = 0
    gone: int = 0

    def total(self, now: int) -> int:
        """Clock ticks, never less than before."""
        self.gone += max(0, self.last - now)
        self.last = now
        return now + self.gone


class Usage:
    """Remembers what it saw of each instance. On a machine without /proc it sees nothing, and says so once."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self.proc = proc
        self.accounts: dict[str, Account] = {}
        self.children: dict[int, list[int]] = {}
        self.scan_due = 0.0
        self.blind = not (proc / "self" / "stat").exists()
        if self.blind:
            logging.getLogger(__name__).warning("no /proc here: processor time and memory are not seen")

    def read(self, instances: Iterable[Instance]) -> dict[str, tuple[float, int]]:
        """`<host>:<port>` of each living process instance -> (CPU seconds used so far, resident bytes now)."""
        if self.blind:
            return {}
        if time.monotonic() >= self.scan_due:
            self.children, self.scan_due = self._scan(), time.monotonic() + SCAN_EVERY
        found = {}
        for instance in instances:
            where, used = instance.endpoint, self._of(instance)
            if where is not None and used is not None:
                found[f"{where.host}:{where.port}"] = used
        return found

    def _of(self, instance: Instance) -> tuple[float, int] | None:
        root = self._stat(instance.pid) if instance.pid and instance.alive else None
        if root is None or instance.pid is None:
            return None
        account = self.accounts.setdefault(instance.identity, Account(root.started))
        if account.started != root.started:
            return None
        family = [root, *self._descendants(instance.pid)]
        return account.total(sum(s.cpu for s in family)) / TICKS, sum(s.resident for s in family) * PAGE

    def _descendants(self, pid: int) -> list[Stat]:
        """As of the last scan; a pid that has another parent by now belongs to somebody else."""
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
        """None: it is gone."""
        try:
            with open(self.proc / str(pid) / "stat", "rb") as file:
                line = file.read()
        except (FileNotFoundError, ProcessLookupError):
            return None
        words = line[line.rfind(b")") + 2 :].split()  # a name may hold spaces and brackets
        return Stat(int(words[1]), sum(map(int, words[11:15])), int(words[19]), int(words[21]))
