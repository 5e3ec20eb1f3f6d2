"""The judge: compares the canary arm with the stable arm while both serve, and says at any moment what that means.

    raw counters -> ingest -> per metric: guess, projection, evidence E (rollback) and E' (promotion), dispersion phi
                                             |
                       R = sum of w_j E_j  <-+->  every required E'  ->  Judgement with its sentence

Pure and usable alone, by people who have counts from anywhere:

>>> from datetime import timedelta
>>> from onlyvips_release.judge import ReleaseJudge
>>> from onlyvips_release.model import Arm, Series
>>> from onlyvips_release.plan import JudgePlan
>>> judge = ReleaseJudge(JudgePlan(), ["api"], bake=timedelta(minutes=30))
>>> def counters(canary_good, canary_bad, stable_good, stable_bad):
...     return {"api": {Arm.CANARY: (Series("c", "0", canary_good, canary_bad),),
...                     Arm.STABLE: (Series("s", "0", stable_good, stable_bad),)}}
>>> judge.begin_step(10, counters(0, 0, 0, 0))
>>> for tick in range(1, 6):
...     judge.fold(tick, counters(0, 20 * tick, 180 * tick, 0))
>>> judge.look().verdict, judge.look().blame
(<Verdict.FAIL: 'FAIL'>, 'api')
"""

from __future__ import annotations

from onlyvips_release.judge.compare import Compare, Lines
from onlyvips_release.judge.dispersion import Dispersion, History, measure
from onlyvips_release.judge.gauge import Gauge, Leak
from onlyvips_release.judge.history import ServiceHistory
from onlyvips_release.judge.interval import Interval
from onlyvips_release.judge.judgement import Judgement, MetricView
from onlyvips_release.judge.latency import Latency
from onlyvips_release.judge.verdict import ENVIRONMENT, SMOULDERING, ReleaseJudge
from onlyvips_release.judge.volume import Volume

__all__ = [
    "ENVIRONMENT",
    "SMOULDERING",
    "Compare",
    "Dispersion",
    "Gauge",
    "History",
    "Interval",
    "Judgement",
    "Latency",
    "Leak",
    "Lines",
    "MetricView",
    "ReleaseJudge",
    "ServiceHistory",
    "Volume",
    "measure",
]
