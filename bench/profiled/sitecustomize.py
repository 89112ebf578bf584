"""Runs at the start of every process of a mesh that bench.profile starts: profiles the one whose module it names."""

from __future__ import annotations

import atexit
import cProfile
import os
import sys

_WANTED, _INTO = os.environ.get("FORGEMESH_BENCH_MODULE"), os.environ.get("FORGEMESH_BENCH_INTO")

if _WANTED and _INTO and _WANTED in sys.orig_argv:
    _profile = cProfile.Profile()
    atexit.register(_profile.dump_stats, _INTO)
    atexit.register(_profile.disable)
    _profile.enable()
