"""What all commands share: a setting of an older design that has moved is said, beside the command's own output."""

import json

from click.testing import CliRunner

from fly64_assets.cli.main import main
from fly64_assets.definitions import build_definitions


def test_what_moved_in_an_older_design_is_said_on_standard_error(tmp_path):
    study = tmp_path / "study.yaml"
    study.write_text("name: old\npinn: {batch_size: 8}\nlsqml: {windows: bilinear, fast_shift: true}\n")
    answer = CliRunner().invoke(main, ["--study", str(study), "--data-root", str(tmp_path / "data"), "plan", "--json"])
    assert answer.exit_code == 0
    assert json.loads(answer.stdout)
    said = answer.stderr.splitlines()
    assert [line.split()[1] for line in said] == ["pinn.batch_size", "lsqml.windows", "lsqml.fast_shift"]
    assert all(line.startswith("fly64: ") for line in said)


def test_the_code_location_logs_what_moved(tmp_path, monkeypatch, caplog):
    study = tmp_path / "study.yaml"
    study.write_text("name: old\nlsqml: {windows: bilinear}\n")
    monkeypatch.setenv("FLY64_STUDY", str(study))
    build_definitions()
    assert "study old: lsqml.windows is called lsqml.subpixel now" in caplog.text
