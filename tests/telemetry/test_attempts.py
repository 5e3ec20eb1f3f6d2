"""The tail of the attempt log: exact over turned files and torn lines, blind rather than wrong when lines are lost."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from bisect import bisect_right
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onlyvips_release.clients import log_pump as logpump
from onlyvips_release.core.judge.buckets import bucket
from onlyvips_release.errors import Unavailable
from onlyvips_release.telemetry.attempts import LONGEST_LINE, Attempts, Tally

STABLE, CANARY = "api__stable 127.0.0.1:1", "api__canary 127.0.0.1:2"
BOTH = (STABLE, CANARY)


def line(
    endpoint: str = STABLE,
    status: int = 200,
    took: object = 1000,
    route: str = "users-safe",
    *,
    last: object = None,
    ms: int = 1,
    flags: str = "-",
) -> bytes:
    """One attempt; `took`: to the first byte of its answer, and to the `last` one, if that is not given."""
    return f"{endpoint} {status} {took} {took if last is None else last} {ms} {flags} {route}\n".encode()


class Log:
    """A log that is written and turned as the pump does it, and its reader, which has seen the beginning."""

    def __init__(self, folder: Path, before: bytes = b"") -> None:
        self.path = folder / "attempts.log"
        self.path.write_bytes(before)
        self.reader = Attempts(self.path)
        self.read()

    def write(self, data: bytes) -> None:
        """At the end."""
        with self.path.open("ab") as file:
            file.write(data)

    def turn(self) -> None:
        """A new file."""
        self.path.replace(f"{self.path}.1")
        self.path.touch()

    def read(self) -> tuple[int, int]:
        """Lines of stable and canary."""
        self.reader.read(BOTH)
        stable, canary = (self.reader.tallies[name.encode()] for name in BOTH)
        return stable.lines, canary.lines


@pytest.fixture
def log(tmp_path: Path) -> Log:
    """Empty, and read once."""
    return Log(tmp_path)


def test_lines_that_were_written_between_the_last_look_and_the_turn_are_counted(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    turned = log.reader._turned

    def turn() -> bool:
        log.write(line() * 2)
        log.turn()
        log.write(line())
        return turned()

    log.write(line())
    monkeypatch.setattr(log.reader, "_turned", turn)
    assert log.read() == (4, 0)


def test_answers_are_counted_by_bucket_and_endpoint(log: Log) -> None:
    log.write(line(took=1000) * 3 + line(CANARY, took=51_000) + line(CANARY, took=51_001) + line(took=90_000_000_000))
    log.read()
    stable, canary = (log.reader.of(name, 0) for name in BOTH)
    assert stable is not None
    assert canary is not None
    assert stable.latency == {bucket(1.0): 3, 159: 1}
    assert canary.latency == {bucket(51.0): 2}


@pytest.mark.parametrize(
    ("attempt", "business"),
    [
        pytest.param(line(route="business"), 1, id="good"),
        pytest.param(line(status=204, route="business-new"), 1, id="good, of a user without a cookie"),
        pytest.param(line(status=409, route="business"), 0, id="refused"),
        pytest.param(line(status=500, route="business"), 0, id="failed"),
        pytest.param(line(status=307, route="business"), 0, id="redirected"),
        pytest.param(line(status=0, took="-", flags="UC", route="business"), 0, id="never answered"),
        pytest.param(line(route="users-unsafe"), 0, id="another call"),
    ],
)
def test_only_2xx_on_a_business_route_is_business(log: Log, attempt: bytes, business: int) -> None:
    log.write(attempt)
    assert log.read() == (1, 0)
    assert log.reader.tallies[STABLE.encode()].business == business


def test_attempt_that_was_never_answered_has_no_latency(log: Log) -> None:
    log.write(line(status=0, took="-", flags="UC"))
    assert log.read() == (1, 0)
    assert log.reader.tallies[STABLE.encode()].latency == {}


def test_attempts_count_by_their_end_and_good_ones_are_never_taken_back(log: Log) -> None:
    cut, left = line(last="-", flags="UPE"), line(status=0, took="-", ms=300)
    log.write(line() * 5)
    log.read()
    tally = log.reader.tallies[STABLE.encode()]
    assert tally.ended(8, 1) == (8, 1)  # the lines of three answers have not come yet
    log.write(cut * 3)
    assert log.read() == (8, 0)
    assert tally.ended(8, 1) == (8, 4)
    log.write(line() * 4 + left * 2)
    log.read()
    assert tally.ended(12, 1) == (12 - 3 + 2, 4)


def test_latency_is_that_of_the_last_byte_and_only_of_answers_that_have_one(log: Log) -> None:
    log.write(line(took=1000, last=900_000) + line(took=1000, last="-", flags="UPE") + line(status=503, last="-"))
    log.read()
    assert log.reader.tallies[STABLE.encode()].latency == {bucket(900): 1, bucket(1): 1}


def test_answer_that_is_under_way_is_missing_in_no_log(log: Log) -> None:
    for counted, seen in ((0, True), (100, True), (200, True), (300, True)):
        assert (log.reader.of(STABLE, counted, under_way=200) is not None) == seen
    assert log.reader.of(STABLE, 400, under_way=99) is None


@pytest.mark.parametrize(
    "foreign",
    [
        pytest.param(line("api__retry 127.0.0.1:1"), id="a retry"),
        pytest.param(line("api__pin-canary 127.0.0.1:2", route="business"), id="a pin"),
        pytest.param(line("api__stable 127.0.0.1:9"), id="an endpoint that is gone"),
        pytest.param(b"\n\0\xff\n%\n200 1 1 1 - x\n", id="garbage"),
        pytest.param(line()[:-3] + line(), id="two lines that ran together"),
        pytest.param(b"api__stable 127" + line(), id="torn host before a line"),
        pytest.param(b"api__stable" + line(), id="torn cluster before a line"),
        pytest.param(line(took="1.5") + line(took=-1) + line(status=-1) + line(took="9" * 13), id="no numbers"),
        pytest.param(b"x" * (3 * LONGEST_LINE) + line(), id="endless line"),
    ],
)
def test_what_is_no_line_of_a_user_is_nobodys(log: Log, foreign: bytes) -> None:
    for part in (foreign[: len(foreign) // 2], foreign[len(foreign) // 2 :], line(CANARY)):
        log.write(part)
        found = log.read()
        assert set(log.reader.tallies) == {name.encode() for name in BOTH}
        assert len(log.reader.torn) <= LONGEST_LINE
    assert found == (0, 1)


@pytest.mark.parametrize("cut", [0, 1, 20, len(line()) - 1])
def test_reader_begins_at_the_end_also_in_the_middle_of_a_line(tmp_path: Path, cut: int) -> None:
    log = Log(tmp_path, line(CANARY) * 5 + line()[:cut])
    assert log.read() == (0, 0)
    log.write(line()[cut:] + line(CANARY))
    assert log.read() == (0 if cut else 1, 1)


def test_rest_of_a_line_is_not_taken_for_a_line_of_another_service(tmp_path: Path) -> None:
    log = Log(tmp_path, b"big-")
    log.write(line())
    assert log.read() == (0, 0)


def test_turned_file_is_finished_first_and_a_line_may_lie_over_the_turn(log: Log) -> None:
    log.write(line())
    log.read()
    log.write(line() + line(CANARY)[:30])
    log.turn()
    log.write(line(CANARY)[30:] + line())
    assert log.read() == (3, 1)


def test_file_turned_twice_between_two_reads_loses_the_one_between_and_counts_none_twice(log: Log) -> None:
    for _ in range(2):
        log.write(line())
        log.turn()
    log.write(line(CANARY))
    assert log.read() == (1, 1)


def test_truncated_file_is_read_from_its_beginning(log: Log) -> None:
    log.write(line() * 5)
    log.read()
    log.path.write_bytes(line(CANARY))
    assert log.read() == (5, 1)


def test_log_that_was_taken_away_is_read_on_until_a_new_one_is_begun(log: Log) -> None:
    with log.path.open("ab", buffering=0) as writer:
        log.path.unlink()
        writer.write(line())
        assert log.read() == (1, 0)
        writer.write(line())
    log.write(line(CANARY))
    assert log.read() == (2, 1)


def test_no_log_is_unavailable_until_there_is_one(tmp_path: Path) -> None:
    reader = Attempts(tmp_path / "attempts.log")
    with pytest.raises(Unavailable, match="log of attempts"):
        reader.read(BOTH)
    Log(tmp_path)
    reader.read(BOTH)


def test_endpoint_that_left_and_came_back_begins_at_zero(log: Log) -> None:
    log.write(line() * 3)
    log.read()
    log.reader.read([CANARY])
    log.write(line())
    assert log.read() == (1, 0)


def test_counters_that_fell_begin_a_new_tally(log: Log) -> None:
    log.write(line() * 3)
    log.read()
    assert log.reader.of(STABLE, 3)
    found = log.reader.of(STABLE, 1)
    assert found is not None
    assert (found.lines, found.latency) == (0, {})


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 400), st.sampled_from(["", "", "turn"])), max_size=25), st.integers(0, 99))
def test_totals_are_exact_however_the_lines_are_cut(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[tuple[int, str]], seed: int
) -> None:
    """One turn between two reads at most."""
    source = random.Random(seed)
    kinds = (line(), line(CANARY), line("api__retry 127.0.0.1:1"), b"noise\n")
    log = Log(tmp_path_factory.mktemp("log"))
    sent = [source.choice(kinds) for _ in range(80)]
    data = b"".join(sent)
    for length, act in cuts:
        log.write(data[:length])
        data = data[length:]
        if act:
            log.turn()
        if act or source.random() < 0.5:
            log.read()
    log.write(data)
    assert log.read() == (sent.count(kinds[0]), sent.count(kinds[1]))


@pytest.mark.slow
def test_million_lines_at_once_take_little_memory_and_are_all_counted(log: Log) -> None:
    block = b"".join(line(STABLE if n % 10 else CANARY, took=n * 7) for n in range(10_000))
    for _ in range(100):
        log.write(block)
    process = psutil.Process()
    before, begun = process.memory_info().rss, time.process_time()
    assert log.read() == (900_000, 100_000)
    took = time.process_time() - begun
    assert process.memory_info().rss - before < 16e6
    assert took < 10, "10 us per line"
    assert all(len(tally.latency) <= 160 for tally in log.reader.tallies.values())


@pytest.mark.slow
def test_no_line_is_lost_or_doubled_while_a_pump_turns_the_file(tmp_path: Path) -> None:
    path, limit = tmp_path / "attempts.log", 100_000
    command = [sys.executable, "-I", "-S", logpump.__file__, str(path), str(limit)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as pump:
        assert pump.stdin is not None
        while not path.exists():
            time.sleep(0.01)
        reader = Attempts(path)
        reader.read(BOTH)
        chunk = line() * 300 + line(CANARY) * 100
        for _ in range(100):
            pump.stdin.write(chunk)
            pump.stdin.flush()
            reader.read(BOTH)
            time.sleep(0.002)
        pump.stdin.close()
        pump.wait(10)
    reader.read(BOTH)
    assert [reader.tallies[name.encode()].lines for name in BOTH] == [30_000, 10_000]
    assert path.with_name("attempts.log.1").exists()


# --- not seen rather than wrong ---------------------------------------------------------------------------------------


def ticks(rates: list[float], kept: list[float], seed: int, lag: float = 0.1) -> list[bool]:
    """Per tick of 2 s whether it was seen; `rates`: attempts/s, `kept`: share of them that the log gets, per tick."""
    source, tally = random.Random(seed), Tally()
    attempts = sorted(2 * tick + source.random() * 2 for tick, rate in enumerate(rates) for _ in range(round(rate * 2)))
    logged = sorted(t + source.random() * lag for t in attempts if source.random() < kept[int(t // 2)])
    seen = [tally.complete(0)]
    for tick in range(1, len(rates) + 1):
        tally.lines = bisect_right(logged, 2 * tick)
        seen.append(tally.complete(bisect_right(attempts, 2 * tick)))
    return seen[1:]


@pytest.mark.parametrize("rate", [0.5, 3, 60, 600])
@pytest.mark.parametrize("seed", range(5))
def test_log_that_only_lags_is_always_seen(rate: float, seed: int) -> None:
    wild = [0.0, rate, rate * 5, 0.0, rate, 0.0, 0.0, rate * 10, rate, rate / 2, rate]
    assert all(ticks(wild, [1.0] * len(wild), seed))


@pytest.mark.parametrize("rate", [0.5, 3, 60, 600])
def test_log_that_stops_is_not_seen_until_it_goes_on(rate: float) -> None:
    for seed in range(20 if rate < 100 else 3):
        seen = ticks([rate] * 18, [1.0] * 4 + [0.0] * 6 + [1.0] * 8, seed)
        assert all(seen[:4])
        assert not any(seen[5:10]), "one tick of a dead log may pass: its lines were not due yet"
        assert sum(seen[10:]) >= (8 if rate > 20 else 5)


def test_log_that_loses_a_fifth_is_not_seen_and_one_that_loses_a_little_is() -> None:
    assert sum(ticks([300] * 12, [0.8] * 12, seed=2)[6:]) == 0
    assert all(ticks([300] * 30, [0.98] * 30, seed=2)[:6])
