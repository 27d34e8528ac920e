"""``fly64 legacy`` as a user has it."""

import json

import pytest
from click.testing import CliRunner

from fly64_assets.cli.main import main
from fly64_assets.study.design import load_design


@pytest.fixture
def call():
    return lambda *arguments: CliRunner().invoke(main, ["legacy", *map(str, arguments)])


def test_a_good_configuration_becomes_a_design_file(call, tmp_path):
    (tmp_path / "t.yaml").write_text("model: {N: 64, gridsize: 2}\nneighbor_count: 7\nnepochs: 3\nnphotons: 1e4\n")
    result = call("config", tmp_path / "t.yaml", "--design", tmp_path / "study.yaml")
    assert result.exit_code == 0, result.output
    assert "understood nepochs = 3: pinn.epochs" in result.output
    design = load_design(tmp_path / "study.yaml")
    assert (design.pinn.epochs, design.doses) == (3, (10000,))


def test_a_refused_key_writes_nothing_and_fails(call, tmp_path):
    (tmp_path / "t.yaml").write_text("nepoch: 3\n")
    result = call("config", tmp_path / "t.yaml", "--design", tmp_path / "study.yaml")
    assert result.exit_code == 1
    assert "did you mean nepochs" in result.output
    assert not (tmp_path / "study.yaml").exists()
    document = json.loads(call("config", tmp_path / "t.yaml", "--json").output)
    assert (document["ok"], document["entries"][0]["verdict"]) == (False, "refused")


def test_what_is_no_file_is_one_sentence(call, tmp_path):
    for command in (("config", "no.yaml"), ("import", "no.npz", "out.npz"), ("export", "no.npz", "out.npz")):
        result = call(*(tmp_path / part if "." in part else part for part in command))
        assert result.exit_code == 1
        assert "Traceback" not in result.output
        assert list(tmp_path.iterdir()) == []
