"""Your own HTTP service behind the router, in ten lines: `python examples/own_service.py` serves until Ctrl-C."""

from onlyvips_release import MINUTE, Health, Platform, Process, ReleasePlan, Revision, Service, Suite

old, new = (Revision(n, ("{python}", "examples/hello.py", "{port}", n)) for n in ("v1", "v2"))
service = Service("hello", canary=new, stable=old, health=Health("/"), runs=Process((18211, 18212)))
plan = ReleasePlan("hello", (service,), listen=("127.0.0.1", 18200), smoke=Suite("examples/test_hello.py", MINUTE))
platform = Platform(plan)
platform.clock.listen()
platform.up(print)
platform.supervise(print)
