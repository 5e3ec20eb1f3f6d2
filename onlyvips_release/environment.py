"""The process environment: the one place where the library reads it, and what of it a child process inherits."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

BASIC = ("PATH", "HOME", "LANG", "TZ", "TMPDIR")
"""Variables that every process needs which this tool starts; all others are inherited by name only."""


@dataclass(frozen=True, slots=True)
class Environment:
    """The variables of this command, and the settings among them.

    `state`: the folder of all platforms' records; `reports`: the folder of all reports; `variables`: everything that
    is set; `router_binary`: the one that the user wants, None = the packaged one; `keep_reports`: how many report
    folders of a platform are kept, 0 = all.
    """

    state: Path
    reports: Path
    variables: Mapping[str, str]
    router_binary: Path | None = None
    keep_reports: int = 0

    @property
    def in_github(self) -> bool:
        """Whether a GitHub workflow runs this command."""
        return self.variables.get("GITHUB_ACTIONS") == "true"

    @property
    def simple_terminal(self) -> bool:
        """Whether the terminal can only append lines."""
        return self.variables.get("TERM") == "dumb"

    @property
    def ci_job(self) -> str:
        """The address of the CI job that runs this command, "" = none."""
        names = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
        return self.variables.get("CI_JOB_URL") or "/".join(self.variables.get(name, "") for name in names).strip("/")

    @property
    def commit(self) -> str:
        """The commit that the CI job has checked out, "" = not known."""
        return self.variables.get("GITHUB_SHA") or self.variables.get("CI_COMMIT_SHA") or ""


def read_environment(variables: Mapping[str, str] | None = None) -> Environment:
    """From `variables`, by default those of this process: ONLYVIPS_STATE, ONLYVIPS_REPORTS, ONLYVIPS_KEEP_REPORTS and
    ONLYVIPS_ENVOY, with their defaults."""
    found = dict(os.environ if variables is None else variables)
    home = Path(found.get("XDG_STATE_HOME") or Path(found.get("HOME", "/")) / ".local" / "state") / "onlyvips-release"
    binary, keep = found.get("ONLYVIPS_ENVOY"), found.get("ONLYVIPS_KEEP_REPORTS", "")
    return Environment(
        state=Path(found.get("ONLYVIPS_STATE") or home).absolute(),
        reports=Path(found.get("ONLYVIPS_REPORTS") or "reports").absolute(),
        variables=found,
        router_binary=Path(binary) if binary else None,
        keep_reports=int(keep) if keep.isdigit() else 0,
    )


def inherited(variables: Mapping[str, str], *names: str) -> dict[str, str]:
    """What a child process gets of `variables`: the basic ones and those of these names, as far as they are set."""
    return {name: variables[name] for name in (*BASIC, *names) if name in variables}


def caller() -> str:
    """Who runs this command, for people."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def describe_caller(environment: Environment) -> dict[str, str]:
    """Who runs this command, where, and for which CI job."""
    process = {"host": socket.gethostname(), "user": getpass.getuser(), "pid": str(os.getpid())}
    return {**process, "ci": environment.ci_job, "commit": environment.commit}
