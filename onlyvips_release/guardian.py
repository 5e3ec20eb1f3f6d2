"""The dead man's switch. Its process comes with crash safety; until then this says aloud that nobody watches."""

from __future__ import annotations


class NoGuardian:
    """Nobody takes the weight back when the controller is killed with SIGKILL."""

    def start(self) -> str:
        """In words, so that nobody believes otherwise."""
        return "no guardian: if this command is killed (-9), the weight stays until `onlyvips-release recover`"

    def stop(self) -> None:
        """Nothing to end."""
