"""The judge's names are imported when they are asked for: who only reads a journal needs none of them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from onlyvips_release.core import judge


@pytest.mark.parametrize("name", judge.__all__)
def test_every_name_of_the_judge_can_be_imported(name: str) -> None:
    assert getattr(judge, name) is not None


def test_name_that_the_judge_does_not_have_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Nothing"):
        judge.Nothing  # noqa: B018


def test_journal_without_its_samples_is_read_without_a_judge() -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom onlyvips_release.core.lifecycle import fold\n"
        "from onlyvips_release.state.journal import FileJournal\n"
        "path = next(Path('tests/reporting/releases/promoted').glob('*/journal.jsonl'))\n"
        "print(fold(FileJournal(path).read(samples=False)).phase)\n"
        "print('onlyvips_release.core.judge.decision' in sys.modules, 'statistics' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["PROMOTED", "False", "False"]
