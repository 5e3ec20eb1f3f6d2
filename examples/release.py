"""Run a release from Python: `python examples/release.py release.yaml`. Exit code as the command's."""

import sys

from onlyvips_release import Event, Platform, Release, ReleaseError, Sampled


def tell(event: Event, release: Release) -> None:
    if not isinstance(event, Sampled):
        print(f"{release.phase:<12} {event}")


try:
    platform = Platform.load(sys.argv[1])
    platform.clock.listen()  # Ctrl-C rolls back
    release = platform.run(tell)
except ReleaseError as error:
    sys.exit(f"{error}\n  what to do: {error.remedy}")
assert release.finished is not None
print(release.finished.sentence)
sys.exit(release.finished.exit)
