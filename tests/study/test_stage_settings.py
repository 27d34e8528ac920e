"""On which values a stage depends beyond the words of its design."""

from fly64_assets.store.keys import Cell, StageKey
from fly64_assets.study import stage_settings
from fly64_assets.study.design import StudyDesign
from fly64_assets.study.stages import parameters

TRAINING = StageKey("training", Cell(1000, "dense"), "pinn", 1)


def test_a_training_from_the_pretrained_network_depends_on_the_content_of_its_file(tmp_path, monkeypatch):
    plain = StudyDesign()
    starts = StudyDesign.from_dict({"pinn": {"start": "pretrained"}})
    before, without = parameters(starts, TRAINING), parameters(plain, TRAINING)
    assert "pretrained" not in without
    other = tmp_path / "general.zip"
    other.write_bytes(b"another version of the network in the package")
    monkeypatch.setattr(stage_settings, "bundle_file", lambda _name: other)
    assert parameters(plain, TRAINING) == without
    after = parameters(starts, TRAINING)
    assert {name for name in after if after[name] != before[name]} == {"pretrained"}
