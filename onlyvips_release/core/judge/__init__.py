"""The judge: compares the canary arm with the stable arm while both serve, and says at any moment what that means.

    raw counters -> ingest -> per metric: guess, projection, evidence E (rollback) and E' (promotion), dispersion phi
                                             |
                       R = sum of w_j E_j  <-+->  every required E'  ->  Judgement with its sentence

Pure and usable alone, by people who have counts from anywhere:

>>> from datetime import timedelta
>>> from onlyvips_release.core.judge import ReleaseJudge
>>> from onlyvips_release.core.model import Arm, Series
>>> from onlyvips_release.core.plan import JudgePlan
>>> judge = ReleaseJudge(JudgePlan(), ["api"], bake=timedelta(minutes=30))
>>> def counters(canary_good, canary_bad, stable_good, stable_bad):
...     return {"api": {Arm.CANARY: (Series("c", "0", canary_good, canary_bad),),
...                     Arm.STABLE: (Series("s", "0", stable_good, stable_bad),)}}
>>> judge.begin_step(10, counters(0, 0, 0, 0))
>>> for tick in range(1, 6):
...     judge.fold(tick, counters(0, 20 * tick, 180 * tick, 0))
>>> judge.look().verdict, judge.look().blame
(<Verdict.FAIL: 'FAIL'>, 'api')

One comparison alone: bad and all requests of canary and stable, tick by tick. E speaks for stopping, E' for promoting;
1 = nothing seen, 20 = wrong in 5 % at most, however often one looks.

>>> from onlyvips_release.core.judge import Compare, Interval, Lines, Volume
>>> better = Compare(Lines(rho=1.2, delta=0.001, rho_p=1.5, delta_p=0.005), dt=5, planned=360)
>>> worse = Compare(Lines(rho=1.2, delta=0.001), dt=5, planned=360)
>>> for _ in range(60):
...     better.fold(xc=0, nc=50, xb=1, nb=450)
...     worse.fold(xc=2, nc=50, xb=1, nb=450)
>>> better.evidence < 1, better.promote_evidence > 20, worse.evidence > 20
(True, True, True)

How much worse, at any moment, with 95 %; and events that must not become fewer:

>>> interval, orders = Interval(rate=0.002, dt=5), Volume(rho=0.9, dt=5, planned=360)
>>> for _ in range(60):
...     interval.fold(xc=2, nc=50, xb=1, nb=450)
...     orders.fold(yc=2, nc=50, yb=45, nb=450)
>>> low, high = interval.bounds
>>> 0 < low < 2 / 50 - 1 / 450 < high, orders.evidence > 20
(True, True)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onlyvips_release.core.judge.compare import Compare, Lines
    from onlyvips_release.core.judge.decision import ENVIRONMENT, SMOULDERING, Judgement, MetricView, ReleaseJudge
    from onlyvips_release.core.judge.dispersion import Dispersion, History, measure
    from onlyvips_release.core.judge.gauge import Gauge, Leak
    from onlyvips_release.core.judge.interval import Interval
    from onlyvips_release.core.judge.latency import Latency
    from onlyvips_release.core.judge.service_history import ServiceHistory
    from onlyvips_release.core.judge.volume import Volume

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

MODULES = {
    "compare": ("Compare", "Lines"),
    "decision": ("ENVIRONMENT", "SMOULDERING", "Judgement", "MetricView", "ReleaseJudge"),
    "dispersion": ("Dispersion", "History", "measure"),
    "gauge": ("Gauge", "Leak"),
    "interval": ("Interval",),
    "latency": ("Latency",),
    "service_history": ("ServiceHistory",),
    "volume": ("Volume",),
}
"""Each is imported when it is asked for: `status` and `recover` read journals, and need no judge."""


def __getattr__(name: str) -> Any:
    for module, names in MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
