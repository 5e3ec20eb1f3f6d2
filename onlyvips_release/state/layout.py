"""Every path of the state folder and of the reports folder, each named once.

```
<state>/<platform>/live/      what is true now: lease, requests, processes, the router's files
                   log/       output of router, guardian and services, bounded
                   history/   what earlier releases measured, a file per service
                   releases/<id>/{journal.jsonl, token}
<reports>/index.html, history.jsonl     of all platforms
<reports>/<platform>/<id>/              the report of one release
```
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

LEASE = "lease.json"
"""The lease record, below `live/`."""

ROUTES_FILE = "rds.json"
"""The file with the routes in force, below `live/router/`."""

SUITES = "suites"
"""The folder of a report that holds one folder for each run of a suite."""


@dataclass
class Layout:
    """The paths of one platform. `state`: the folder of all platforms of this machine."""

    state: Path
    platform: str

    def __post_init__(self) -> None:
        self.folder = self.state / self.platform
        """The platform's own folder."""
        self.live = self.folder / "live"
        """Files that are true now; whoever holds the lease writes them."""
        self.request = self.live / "request.json"
        """What an operator asks of the running release."""
        self.router = self.live / "router"
        """The files of a router that runs on this machine."""
        self.routes = self.router / ROUTES_FILE
        """The routes in force, with the weight."""
        self.log = self.folder / "log"
        """The folder of all logs."""
        self.attempts_log = self.log / "attempts.log"
        """One line per attempt of the router; beside it the file before it, `attempts.log.1`."""
        self.guardian_log = self.log / "guardian.log"
        """The guardian's errors."""
        self.history = self.folder / "history"
        """What earlier releases measured, a file per service."""
        self.freeze = self.folder / "freeze"
        """Why new releases are blocked; no file = they are not."""

    @classmethod
    def at(cls, folder: Path) -> Layout:
        """The paths of the platform whose own folder is `folder`."""
        return cls(folder.parent, folder.name)

    def folders(self) -> list[Path]:
        """Every folder that this tool keeps for the platform, and the one of all platforms."""
        places = (self.live, self.router, self.by_hand(0).parent, self.log, self.history)
        return [self.state, self.folder, *places, self.folder / "releases", *self.folder.glob("releases/r*")]

    def by_hand(self, percent: float) -> Path:
        """The routes that a person copies to set a safe weight without this tool."""
        return self.live / "by-hand" / f"weight-{percent:g}.json"

    def processes(self, service: str) -> Path:
        """The processes of a service that this tool runs."""
        return self.live / f"workload.{service}.json"

    def external(self, service: str) -> Path:
        """The revision that users of a service are on which others run."""
        return self.live / f"external.{service}.json"

    def in_live(self, path: Path) -> str:
        """The name of a live file as the port Files takes it: relative to `live`."""
        return path.relative_to(self.live).as_posix()

    def service_log(self, service: str, slot: str) -> Path:
        """The output of one instance."""
        return self.log / f"{service}.{slot}.log"

    def release(self, name: str) -> Path:
        """The folder of one release's records."""
        return self.folder / "releases" / name

    def journal(self, name: str) -> Path:
        """The journal of one release."""
        return self.release(name) / "journal.jsonl"

    def token(self, name: str) -> Path:
        """The secret in one release's pins."""
        return self.release(name) / "token"

    def journals(self) -> list[Path]:
        """The journals of all releases, oldest first."""
        found = self.folder.glob("releases/r*/journal.jsonl")
        return sorted((path for path in found if is_release(path.parent.name)), key=lambda p: int(p.parent.name[1:]))

    def releases(self) -> list[str]:
        """The ids of all releases that have a journal, oldest first."""
        return [path.parent.name for path in self.journals()]


@dataclass
class Reports:
    """The paths of one platform's reports. `root`: the folder of all reports."""

    root: Path
    platform: str

    def __post_init__(self) -> None:
        self.index = self.root / "index.html"
        """The list of the releases of all platforms."""
        self.history = self.root / "history.jsonl"
        """Allure's history of all platforms."""
        self.folder = self.root / self.platform
        """The folder of this platform's reports."""

    def release(self, name: str) -> Path:
        """The folder of one release's report."""
        return self.folder / name

    def page(self, name: str) -> Path:
        """The report of one release, for people."""
        return self.release(name) / "report.html"


def platforms(state: Path) -> list[Layout]:
    """The platforms that were ever installed or released on this machine, by name."""
    return [Layout.at(live.parent) for live in sorted(state.glob("*/live"))]


def is_release(name: str) -> bool:
    """Whether a folder's name is the id of a release."""
    return re.fullmatch(r"r\d+", name) is not None


# --- the folders of claims, below live/ -------------------------------------------------------------------------------


def stage_folder(live: Path, fence: int) -> Path:
    """The folder out of which the holder of claim number `fence` writes live files."""
    return live / f"stage-{fence}"


def claim_folder(live: Path, fence: int, mark: str) -> Path:
    """A stage in the making, by somebody who wants the claim after `fence`."""
    return live / f"claim-{fence}-{mark}"


def revoked_folder(live: Path, fence: int, mark: str) -> Path:
    """A stage that was taken away from its holder; number 0: a folder that is being removed."""
    return live / f"revoked-{fence}-{mark}"


def stages(live: Path) -> list[tuple[int, Path]]:
    """Stage folders by fence."""
    found = ((re.fullmatch(r"stage-(\d+)", path.name), path) for path in live.glob("stage-*"))
    return sorted((int(match[1]), path) for match, path in found if match)


def leftovers(live: Path, fence: int) -> list[Path]:
    """Folders that nobody can use once claim number `fence` is taken: revoked stages, and claims on lower numbers."""
    found = ((re.match(r"(?:revoked|claim)-(\d+)", path.name), path) for path in live.iterdir())
    return [path for match, path in found if match and int(match[1]) < fence]


def is_revoked(live: Path, fence: int) -> bool:
    """Whether the stage of claim number `fence` was taken away from its holder."""
    return any(live.glob(f"revoked-{fence}-*"))
