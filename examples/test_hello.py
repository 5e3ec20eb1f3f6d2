"""The smoke suite of `own_service.py`: the arm under test greets with its own revision."""

import httpx

from onlyvips_release.expect import Target


def test_greets_with_its_revision(service: Target, api: httpx.Client) -> None:
    assert api.get("/").text == f"hello from {service.revision}\n"
