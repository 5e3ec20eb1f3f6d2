"""`init` writes all of its files or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from onlyvips_release.cli import init


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["disk", "Ctrl-C"])
def test_interrupted_init_leaves_no_file_behind(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text = Path.write_text

    def interrupted(path: Path, text: str) -> int:
        if path.name == "pytest.ini":
            raise error
        return write_text(path, text)

    monkeypatch.setattr(Path, "write_text", interrupted)
    with pytest.raises(type(error)):
        init.write_files(tmp_path / "shop")
    assert [path for path in (tmp_path / "shop").rglob("*") if path.is_file()] == []
