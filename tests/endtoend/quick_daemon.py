"""``dagster-daemon`` that looks at backfills and sensors every other second, and otherwise the same program.

Dagster looks at backfills every thirty seconds and at a sensor as often as its definition says.
"""

from __future__ import annotations

from dagster._core.remote_representation.external import RemoteSensor
from dagster._daemon import asset_daemon, controller, sensor
from dagster._daemon.cli import main

if __name__ == "__main__":
    controller.DEFAULT_DAEMON_INTERVAL_SECONDS = 2
    sensor.MIN_INTERVAL_LOOP_TIME = 2
    asset_daemon.MIN_INTERVAL_LOOP_SECONDS = 2
    RemoteSensor.min_interval_seconds = property(lambda self: 2)
    main()
