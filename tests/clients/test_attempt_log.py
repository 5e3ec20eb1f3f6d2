"""What a line of the attempt log means: how the attempt ended."""

from __future__ import annotations

import pytest

from onlyvips_release.clients.attempt_log import End, end_of

TIMEOUT = 15_000


@pytest.mark.parametrize(
    ("status", "complete", "milliseconds", "flags", "end"),
    [
        pytest.param(200, True, 1, "-", End.COMPLETE, id="whole answer"),
        pytest.param(404, True, 1, "-", End.COMPLETE, id="refusal"),
        pytest.param(200, True, 20_000, "-", End.COMPLETE, id="whole answer of a long download"),
        pytest.param(101, False, 400_000, "-", End.COMPLETE, id="WebSocket that its client closed"),
        pytest.param(500, True, 1, "-", End.FAILED, id="5xx"),
        pytest.param(503, False, 1, "-", End.FAILED, id="5xx that is tried again"),
        pytest.param(0, False, 2, "UC", End.FAILED, id="reset without an answer"),
        pytest.param(0, False, 250, "UF", End.FAILED, id="no connection"),
        pytest.param(0, False, 7_004, "UT", End.FAILED, id="first try over its time"),
        pytest.param(0, False, 15_001, "-", End.FAILED, id="no answer within the route's time"),
        pytest.param(200, False, 50, "UPE", End.CUT, id="connection closed behind the head"),
        pytest.param(200, False, 50, "UC,UPE", End.CUT, id="two flags"),
        pytest.param(200, False, 15_001, "-", End.CUT, id="no last byte within the route's time"),
        pytest.param(200, False, 14_998, "-", End.CUT, id="the same, as the router measures it"),
        pytest.param(200, False, 14_900, "-", End.ABANDONED, id="client left behind the head"),
        pytest.param(0, False, 500, "-", End.ABANDONED_UNANSWERED, id="client left before the head"),
    ],
)
def test_attempt_is_judged_by_its_end(status: int, complete: bool, milliseconds: int, flags: str, end: End) -> None:
    assert end_of(status, complete, milliseconds, flags.encode(), TIMEOUT) is end
