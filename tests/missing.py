"""`make test` ends with what this machine could not run, and the one command that provides each."""

from __future__ import annotations

import shutil
import sys

PARTS = {
    "Docker engine": ("dockerd", "no test needs it yet"),
    "Kubernetes cluster": ("containerd", "the cluster's tests, as root: .ci/cluster.sh prepare, then make cluster"),
    "Chromium": ("chromium", "reports in a browser: apt-get install chromium, then make node"),
    "Prometheus": ("prometheus", "no test needs it yet"),
}


def main() -> None:
    """One line per part."""
    for part, (program, told) in PARTS.items():
        sys.stdout.write(f"{part}: {'here' if shutil.which(program) else 'not here'}; {told}\n")


if __name__ == "__main__":
    main()
