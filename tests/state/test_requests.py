"""Requests of operators: each is taken once, and none is lost without a word."""

from __future__ import annotations

from pathlib import Path

import pytest

from onlyvips_release.core.events import Requested
from onlyvips_release.errors import Refused
from onlyvips_release.state.requests import RequestFile

PAUSE = Requested("pause", "me@here", reason="lunch")


@pytest.fixture
def requests(tmp_path: Path) -> RequestFile:
    """Without a request."""
    return RequestFile(tmp_path / "request.json")


def test_request_is_taken_once_and_leaves_nothing_behind(requests: RequestFile, tmp_path: Path) -> None:
    assert requests.take() is None
    requests.ask(PAUSE)
    assert requests.waits()
    assert requests.take() == PAUSE
    assert not requests.waits()
    assert requests.take() is None
    assert list(tmp_path.iterdir()) == []


def test_second_request_is_refused_while_the_first_one_waits(requests: RequestFile) -> None:
    requests.ask(PAUSE)
    with pytest.raises(Refused, match="another request waits"):
        requests.ask(Requested("promote", "you"))
    assert requests.take() == PAUSE


def test_abort_does_not_wait_for_another_request(requests: RequestFile) -> None:
    requests.ask(PAUSE)
    requests.ask(Requested("abort", "you"))
    assert requests.take() == Requested("abort", "you")


def test_request_that_was_withdrawn_is_not_taken(requests: RequestFile) -> None:
    requests.ask(PAUSE)
    requests.withdraw()
    requests.withdraw()
    assert requests.take() is None


@pytest.mark.parametrize("text", ["", "no json", "[]", "7", '{"what": "abort"}', '{"by": "me"}'])
def test_file_that_is_no_request_is_a_request_for_the_unknown(requests: RequestFile, text: str) -> None:
    """So the controller records it, and nobody believes that it was obeyed."""
    requests.path.write_text(text)
    found = requests.take()
    assert found is not None
    assert found.what == "unknown"
    assert requests.take() is None
