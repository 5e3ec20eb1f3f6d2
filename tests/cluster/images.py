"""Container images without a registry: written as archives, loaded into the cluster's containerd."""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import shlex
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.place import ClusterError, Place, cache_root
from tests.cluster.shell import run

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}
LEFT_OUT = {"__pycache__", "ensurepip", "idlelib", "lib2to3", "site-packages", "test", "tests", "tkinter", "turtledemo"}
PAUSE_SOURCE = Path(__file__).parent / "pause.c"
PAUSE = "localhost/pause:1"
PYTHON = "/python"


@dataclass(frozen=True)
class Image:
    """An image archive: equal content gives equal bytes, so the ID changes only when the content does."""

    name: str
    layers: tuple[bytes, ...]
    command: tuple[str, ...]
    environment: tuple[str, ...] = ()

    def config(self) -> bytes:
        """Return the image's configuration; its digest is the image ID."""
        content = {
            "architecture": ARCHITECTURE.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": {"Entrypoint": list(self.command), "Env": ["PATH=/usr/bin:/bin", *self.environment]},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer) for layer in self.layers]},
            "history": [{"created_by": "tests.cluster"} for _ in self.layers],
        }
        return json.dumps(content).encode()

    @property
    def id(self) -> str:
        """Return what a pod's status gives as `imageID`."""
        return _digest(self.config())

    def archive(self, file: Path) -> None:
        """Write the image in the format of `docker save`."""
        names = [f"{_digest(layer).split(':')[1]}.tar" for layer in self.layers]
        config = self.id.split(":")[1] + ".json"
        manifest = [{"Config": config, "RepoTags": [self.name], "Layers": names}]
        with tarfile.open(file, "w") as archive:
            _add(archive, config, self.config())
            for name, layer in dict(zip(names, self.layers, strict=True)).items():
                _add(archive, name, layer)
            _add(archive, "manifest.json", json.dumps(manifest).encode())


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _add(archive: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), mode
    archive.addfile(entry, io.BytesIO(data))


def layer(files: Mapping[str, bytes], links: Mapping[str, str] | None = None) -> bytes:
    """Return a layer with these files, all executable, and symbolic links."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name, content in sorted(files.items()):
            _add(archive, name.lstrip("/"), content, 0o755)
        for name, target in sorted((links or {}).items()):
            entry = tarfile.TarInfo(name.lstrip("/"))
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
        folder = tarfile.TarInfo("tmp")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
        archive.addfile(folder)
    return data.getvalue()


def pause() -> Image:
    """Return the image that holds a pod's namespaces open."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "pause"
        run("gcc", "-static", "-Os", "-s", "-o", program, PAUSE_SOURCE)
        return Image(PAUSE, (layer({"/pause": program.read_bytes()}),), ("/pause",))


def python(
    name: str,
    command: Sequence[str],
    files: Mapping[str, bytes] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Image:
    """Return an image with this very Python and its standard library; `command` is what Python gets as arguments."""
    layers = [_python_layer()]
    if files:
        layers.append(layer(files))
    values = {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", **(environment or {})}
    return Image(name, tuple(layers), (PYTHON, *command), tuple(f"{key}={value}" for key, value in values.items()))


def _python_layer() -> bytes:
    """Return the layer that all Python images share, from the cache where it is there."""
    real = Path(sys.executable).resolve()
    seen = hashlib.sha256(f"{sys.version} {real} {Path(__file__).read_text()}".encode()).hexdigest()[:16]
    kept = cache_root() / f"python-{seen}.layer"
    if not kept.exists():
        files = {str(path): path.read_bytes() for path in _interpreter(real)}
        part = kept.with_suffix(f".{os.getpid()}")
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(layer(files, {PYTHON: str(real)}))
        part.rename(kept)
    return kept.read_bytes()


def _interpreter(real: Path) -> Iterator[Path]:
    """Yield the files of the interpreter: program, standard library, shared libraries of both."""
    library = Path(sysconfig.get_path("stdlib"))
    modules = [path for path in library.rglob("*") if path.is_file() and not LEFT_OUT & set(path.parts)]
    kept = [path for path in modules if path.suffix in (".py", ".so") and not path.parent.name.startswith("config-")]
    yield real
    yield from kept
    needed: set[Path] = set()
    for path in (real, *(path for path in kept if path.suffix == ".so")):
        for line in run("ldd", path).splitlines():
            needed |= {Path(word) for word in line.split() if word.startswith("/")}
    yield from sorted(needed)


def load(place: Place | None, *images: Image) -> None:
    """Load images into the cluster, by name and by name@digest.

    For a cluster that KUBECONFIG names, ONLYVIPS_CLUSTER_LOAD is the command that takes an archive,
    for example `kind load image-archive`.
    """
    for image in images:
        with tempfile.TemporaryDirectory() as folder:
            archive = Path(folder) / "image.tar"
            image.archive(archive)
            if place is None:
                command = os.environ.get("ONLYVIPS_CLUSTER_LOAD")
                if not command:
                    raise ClusterError("ONLYVIPS_CLUSTER_LOAD is not set: name the command that loads an image archive")
                run(*shlex.split(command), archive)
            else:
                _import(place, image.name, archive)


def _import(place: Place, name: str, archive: Path) -> None:
    containerd = ("ctr", "-a", place.socket, "-n", "k8s.io", "images")
    run(*containerd, "import", archive)
    for line in run(*containerd, "ls", f"name=={name}").splitlines()[1:]:
        digest = line.split()[2]
        run(*containerd, "tag", "--force", name, f"{name.rsplit(':', 1)[0]}@{digest}")
