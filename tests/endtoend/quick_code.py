"""``dagster api grpc`` whose run workers are forked from a loaded process, and otherwise the same program.

Dagster starts every run worker from nothing, which costs seconds of loading each.
"""

from __future__ import annotations

import multiprocessing

from dagster._cli import main
from dagster._grpc import server

LOADED = [
    "fly64_assets.definitions",
    "fly64_assets.evaluation.report.figures",
    "matplotlib.pyplot",
    "dagster._grpc.impl",
]

if __name__ == "__main__":
    multiprocessing.set_forkserver_preload(LOADED)
    forkserver = multiprocessing.get_context("forkserver")
    server.multiprocessing.get_context = lambda _method: forkserver
    main()
