"""The command on a data root of its own, and a small base file."""

import pytest
from click.testing import CliRunner

from fly64_assets.cli.main import main


@pytest.fixture
def fly64(tmp_path):
    """Run the command on a data root of its own."""

    def run(*arguments, study="demo"):
        options = ["--study", str(study), "--data-root", str(tmp_path / "data")]
        return CliRunner().invoke(main, [*options, *map(str, arguments)])

    return run


@pytest.fixture
def base_file(fly64, tmp_path):
    path = tmp_path / "small.npz"
    options = ("--amplitude", "coins", "--phase", "grass", "--size", 140, "--positions", 60)
    assert fly64("base", "make", path, *options).exit_code == 0
    return path
