"""One daemon for an instance in PostgreSQL, also where colleagues have instance folders of their own."""

import pytest
import yaml
from automation.test_daemons import require_one_at_a_time

from fly64_assets.automation.moving import Database

pytestmark = pytest.mark.cluster


def test_one_at_a_time_where_runs_are_in_a_database(new_database, tmp_path, monkeypatch):
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump({"storage": Database.from_url(new_database()).settings()}))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    require_one_at_a_time()
