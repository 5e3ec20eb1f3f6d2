"""How a release ends: exit code and sentence. Pure.

Exit 3, 1, 130 and 143 claim that users are on stable, so each of them needs its proof; without it the exit is 4.
"""

from __future__ import annotations

from onlyvips_release.core.events import Finished, Phase
from onlyvips_release.core.lifecycle import Release
from onlyvips_release.core.model import Verdict

SIGNAL_EXIT = {2: 130, 15: 143}


def ending(release: Release) -> Finished:
    """The last event of the command that carries this release out."""
    match release.phase:
        case Phase.PROMOTED:
            return _promoted(release)
        case Phase.PAUSED:
            why = release.pause.why if release.pause else ""
            sentence = f"PAUSED, users are on stable: {why}; go on with `resume`, end it with `abort`"
            return Finished(release.phase, 5, sentence)
        case Phase.ROLLED_BACK:
            return _rolled_back(release)
        case _:
            return _unfinished(release)


def _promoted(release: Release) -> Finished:
    word = release.outcome.sentence if release.outcome else ""
    watch = release.watched.sentence if release.watched else ""
    users = ", ".join(f"{name} {revision}" for name, revision in release.new.items())
    kind = "INSTALLED" if release.first else "PROMOTED"
    return Finished(release.phase, SIGNAL_EXIT.get(release.signal, 0), f"{kind} ({users}): {word} {watch}".strip())


def _rolled_back(release: Release) -> Finished:
    cause = release.cause.cause if release.cause else ""
    signal_exit = SIGNAL_EXIT.get(release.signal, 0)
    if release.restore:
        return Finished(release.phase, signal_exit, f"RESTORED: {cause}")
    code = signal_exit or (1 if release.cause and release.cause.tool else 3)
    if release.first:
        return Finished(release.phase, code, f"NOT INSTALLED, everything was removed again: {cause}")
    undecided = release.outcome is not None and release.outcome.verdict is Verdict.INCONCLUSIVE
    return Finished(release.phase, code, f"{'INCONCLUSIVE, rolled back' if undecided else 'ROLLED BACK'}: {cause}")


def _unfinished(release: Release) -> Finished:
    """Given up in the middle of a rollback: only a stable that was proven at weight 0 is no reason to page a person."""
    cause = release.cause.cause if release.cause else ""
    if release.weight == 0 and release.stable_proven and not release.committed:
        code = SIGNAL_EXIT.get(release.signal, 3)
        return Finished(release.phase, code, f"users are on stable, clean-up was left out: {cause}")
    return Finished(release.phase, 4, f"NOT CONFIRMED that users are on stable: {cause}")
