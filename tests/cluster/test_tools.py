"""What needs no cluster: cache keys, image archives, addresses, refusals, the command line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.cluster import __main__ as command
from tests.cluster import build, given
from tests.cluster.conftest import skip_or_fail
from tests.cluster.images import Image, layer
from tests.cluster.load import Aim, Tally
from tests.cluster.place import ClusterError, Place, reserved, slot_from_environment
from tests.cluster.process import send, started, wait

GO = (1, 26, 0)


def test_places_of_two_slots_share_nothing() -> None:
    names = ("name", "state", "run", "host_ip", "node_ip", "pods", "services", "api", "kubeconfig")
    assert not {getattr(Place(0), name) for name in names} & {getattr(Place(60), name) for name in names}


@pytest.mark.parametrize("text", ["-1", "61", "x", ""])
def test_wrong_slot_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("ONLYVIPS_CLUSTER_SLOT", text)
    with pytest.raises(ClusterError, match="from 0 to 60"):
        slot_from_environment()


def test_two_runs_on_one_machine_have_slots_of_their_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("ONLYVIPS_CLUSTER_SLOT", "52")
    with reserved() as one, reserved() as two:
        assert (one, two) == (52, 56)
        with pytest.raises(ClusterError, match="all slots"), reserved():
            pass
    with reserved() as again:
        assert again == 52


def test_key_changes_with_sums_sources_and_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = build.Program("node", ".")
    (tmp_path / "node").mkdir()
    monkeypatch.setattr(build, "HERE", tmp_path)
    seen = set()
    for name, text in (("go.sum", "a"), ("go.sum", "b"), ("main.go", "a"), ("main.go", "b"), ("go.mod", "a")):
        (tmp_path / "node" / name).write_text(text)
        seen.add(build.key(program, GO))
    seen.add(build.key(program, (1, 27, 0)))
    assert len(seen) == 6
    (tmp_path / "node" / "notes.txt").write_text("other files do not count")
    assert build.key(program, (1, 27, 0)) in seen


def test_too_old_go_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    go = tmp_path / "go"
    go.write_text("#!/bin/sh\necho go1.19.8\n")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ClusterError, match=r"Go >= 1\.24 is needed .* found Go 1\.19\.8: run"):
        build.go_command()


def test_missing_binary_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(build, "cached", lambda program: tmp_path / program.folder)
    with pytest.raises(ClusterError, match=r"python -m tests\.cluster build"):
        build.binary(build.NODE, build=False)


def test_equal_images_have_equal_bytes(tmp_path: Path) -> None:
    def made(revision: str) -> Image:
        return Image("localhost/x:1", (layer({"/b": b"2", "/a": b"1"}),), ("/a",), (f"REVISION={revision}",))

    for name, revision in (("one", "1"), ("two", "1"), ("three", "2")):
        made(revision).archive(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert made("1").id != made("2").id
    with tarfile.open(tmp_path / "one") as archive:
        stream = archive.extractfile("manifest.json")
        assert stream is not None
        (manifest,) = json.load(stream)
        assert f"sha256:{manifest['Config'].removesuffix('.json')}" == made("1").id
        assert set(manifest["Layers"]) <= set(archive.getnames())


@pytest.mark.parametrize("address", ["192.168.0.1", "8.8.8.8", "10.0.0.1"])
def test_load_goes_to_this_machine_alone(address: str) -> None:
    with pytest.raises(ClusterError, match="not to"):
        Aim((address, 80), "x").check()


@pytest.mark.parametrize("more", [{"requests": 10**6}, {"requests": 0}, {"seconds": 10**4}])
def test_load_without_bounds_is_refused(more: dict[str, int]) -> None:
    with pytest.raises(ClusterError, match="at most"):
        Aim(("127.0.0.1", 80), "x", **more).check()  # type: ignore[arg-type]


def test_not_found_and_broken_requests_are_failures() -> None:
    tally = Tally()
    for status in ("200", "302", "404", "503", "ConnectionResetError"):
        tally.add(status, "", 0.1)
    tally.add("200", "v1", 6.0)
    assert (tally.requests, tally.failures, tally.hangs) == (6, 3, 1)


@pytest.mark.parametrize("text", ["", "not: [yaml", "{}", json.dumps({"users": [], "current-context": "x"})])
def test_kubeconfig_that_names_no_cluster_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "config"
    file.write_text(text)
    monkeypatch.setenv("KUBECONFIG", str(file))
    assert given.kubeconfig(Place(0)) is None


def test_own_kubeconfig_does_not_name_another_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(Place(0).kubeconfig))
    assert given.kubeconfig(Place(0)) is None


def test_missing_part_fails_where_all_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONLYVIPS_CLUSTER_REQUIRED", raising=False)
    with pytest.raises(pytest.skip.Exception):
        skip_or_fail("no Go")
    monkeypatch.setenv("ONLYVIPS_CLUSTER_REQUIRED", "1")
    with pytest.raises(pytest.fail.Exception, match="no Go"):
        skip_or_fail("no Go")


def test_signal_reaches_no_process_with_another_start_time() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        assert not send(process.pid, "1", signal.SIGKILL)
        assert process.poll() is None
        assert send(process.pid, started(process.pid), signal.SIGKILL)
        process.wait(10)


def test_waiting_in_vain_names_what_and_the_last_error() -> None:
    def fail() -> bool:
        raise ClusterError("the reason")

    with pytest.raises(ClusterError, match=r"not within 0\.1 s: the thing; last error: the reason"):
        wait("the thing", fail, 0.1)


@pytest.mark.parametrize("words", [["env"], ["logs", "kubelet"], ["build", "nothing"]], ids=lambda words: words[0])
def test_command_without_a_cluster_fails_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, words: list[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    assert command.main(words) == 1
    assert "tests.cluster: " in capsys.readouterr().err


def test_each_command_has_a_help_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for name in ("up", "stop", "down", "status", "env", "logs", "build", "cycles", "KUBECONFIG"):
        assert name in text
