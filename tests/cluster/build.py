"""Build the cluster's Go programs once and keep them: the key is the hash of sources, sums and the Go version."""

from __future__ import annotations

import fcntl
import fnmatch
import hashlib
import json
import os
import re
import shutil
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.place import ClusterError, cache_root
from tests.cluster.shell import attempt

HERE = Path(__file__).parent
KUBERNETES = "v1.34.4"
OLDEST_GO = (1, 24)
BUILD_SECONDS = 3600
VERSION_FLAG = "-X k8s.io/component-base/version"
LDFLAGS = f"-s -w {VERSION_FLAG}.gitVersion={KUBERNETES} {VERSION_FLAG}.gitMajor=1 {VERSION_FLAG}.gitMinor=34"


@dataclass(frozen=True)
class Program:
    """A Go program: `folder` holds go.mod and go.sum, `package` is what is built there."""

    folder: str
    package: str


NODE = Program("node", ".")
CONTOUR = Program("contour", "github.com/projectcontour/contour/cmd/contour")
METRICS_SERVER = Program("metrics-server", ".")
PROGRAMS = {program.folder: program for program in (NODE, CONTOUR, METRICS_SERVER)}


def go_command() -> Path:
    """Return a Go that is new enough: the one in PATH, or the one that the CI script put into the cache."""
    brought = cache_root() / "go" / "go" / "bin" / "go"
    found = [Path(path) for path in (shutil.which("go"), str(brought)) if path and Path(path).exists()]
    for command in found:
        if version_of(command)[:2] >= OLDEST_GO:
            return command
    have = f"found Go {'.'.join(map(str, version_of(found[0])))}" if found else "found none"
    needed = ".".join(map(str, OLDEST_GO))
    raise ClusterError(f"Go >= {needed} is needed to build the test cluster, {have}: run `.ci/cluster.sh prepare`")


def version_of(go: Path) -> tuple[int, ...]:
    """Return the version of a Go as numbers, (0,) when it does not tell one."""
    text = attempt(go, "env", "GOVERSION", env={**os.environ, "GOTOOLCHAIN": "local"}).stdout
    found = re.match(r"go(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(number or 0) for number in found.groups()) if found else (0,)


def key(program: Program, go: tuple[int, ...]) -> str:
    """Return the cache key of a program."""
    seen = hashlib.sha256(f"{KUBERNETES} {program.package} go{go} {LDFLAGS}".encode())
    for file in sorted((HERE / program.folder).iterdir()):
        if file.suffix in (".go", ".sum", ".mod"):
            seen.update(file.name.encode() + b"\0" + file.read_bytes())
    return seen.hexdigest()[:16]


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """Let only one process at a time fill one entry of the cache."""
    cache_root().mkdir(parents=True, exist_ok=True)
    with (cache_root() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def cached(program: Program) -> Path:
    """Return where the binary of a program is kept, whether it exists or not."""
    return cache_root() / f"{program.folder}-{key(program, version_of(go_command()))}"


def binary(program: Program, *, build: bool = True) -> Path:
    """Return the binary of a program; build it when it is not in the cache."""
    target = cached(program)
    if target.exists():
        return target
    if not build:
        raise ClusterError(f"{target.name} is not built: run `python -m tests.cluster build` (some minutes, once)")
    with _alone(program.folder):
        if not target.exists():
            _compile(program, target)
    return target


def _compile(program: Program, target: Path) -> None:
    begun = time.monotonic()
    sys.stderr.write(f"building {target.name} with nice 10; this takes some minutes, once\n")
    part = target.with_suffix(".part")
    environment = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false"}
    words = ("build", "-C", HERE / program.folder, "-mod=readonly", "-trimpath", "-ldflags", LDFLAGS, "-o", part)
    done = attempt("nice", "-n", "10", go_command(), *words, program.package, seconds=BUILD_SECONDS, env=environment)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if not line.startswith("go: downloading ")]
        raise ClusterError(f"`go build` of {program.folder} failed: exit {done.returncode} {' | '.join(lines)[-2000:]}")
    part.rename(target)
    sys.stderr.write(f"built {target.name} in {time.monotonic() - begun:.0f} s\n")
    _forget_old(target)


def _forget_old(target: Path, keep: int = 3) -> None:
    """Keep the newest binaries of one program only: each has more than 100 MB."""
    stem = target.name.rsplit("-", 1)[0]
    same = [file for file in target.parent.glob(f"{stem}-*") if re.fullmatch(rf"{stem}-[0-9a-f]{{16}}", file.name)]
    for file in sorted(same, key=lambda file: file.stat().st_mtime)[:-keep]:
        file.unlink()


def _module(folder: str, module: str) -> zipfile.ZipFile:
    """Open a Go module that `folder`/go.mod requires, checked against its go.sum.

    The archive is read, not Go's unpacked folder: Go unpacks no module that names a newer Go than itself.
    """
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly"}
    where = HERE / folder
    done = attempt(go_command(), "-C", where, "mod", "download", "-json", module, seconds=300, env=environment)
    found = json.loads(done.stdout) if done.stdout.startswith("{") else {}
    if "Zip" not in found:
        raise ClusterError(f"`go mod download {module}` failed: {found.get('Error', done.stderr).strip()[-1000:]}")
    wanted = f"{module} {found['Version']} {found['Sum']}"
    if wanted not in (where / "go.sum").read_text().splitlines():
        raise ClusterError(f"the checksum of {module} differs from {folder}/go.sum: {wanted}")
    return zipfile.ZipFile(found["Zip"])


def manifests(name: str, folder: str, module: str, pattern: str) -> str:
    """Return YAML documents of a Go module, kept in the cache by the module's checksum."""
    sums = hashlib.sha256((HERE / folder / "go.sum").read_bytes()).hexdigest()[:16]
    target = cache_root() / f"{name}-{sums}.yaml"
    if not target.exists():
        with _alone(name), _module(folder, module) as archive:
            files = sorted(fnmatch.filter(archive.namelist(), f"{module}@*/{pattern}"))
            if not files:
                raise ClusterError(f"no file {pattern} in the Go module {module}")
            part = target.with_suffix(".part")
            part.write_text("\n---\n".join(archive.read(file).decode() for file in files))
            part.rename(target)
    return target.read_text()


def _program(name: str) -> Program:
    if name not in PROGRAMS:
        raise ClusterError(f"unknown program {name!r}; known: {', '.join(PROGRAMS)}")
    return PROGRAMS[name]


def main(names: list[str]) -> int:
    """Build the named programs, all that CI needs without names; `--go` prints which Go does it.

    This file needs the standard library alone: CI starts it before there is a virtual environment.
    """
    try:
        if names == ["--go"]:
            print(go_command())
            return 0
        for name in names or [NODE.folder, CONTOUR.folder]:
            print(binary(_program(name)), flush=True)
    except ClusterError as error:
        print(f"tests.cluster: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
