"""The OnlyVips stand-in: four small services with switchable faults, and a load generator that tells the truth.

`python -m onlyvips_release.sandbox SERVICE PORT` runs one service, `python -m onlyvips_release.sandbox.load` its users.
Standard library only, loopback only, and nothing else of `onlyvips_release` is imported (the demo alone does): this is
what the library is tried on, so it must not share its mistakes. What the services answer is the measured platform,
quirks included.
"""
