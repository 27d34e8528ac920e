"""A campaign's file, its bases in the store, and what is wrong with a bad one."""

import numpy as np
import pytest

from fly64_assets.contract.npz import load_base
from fly64_assets.errors import ArtifactError, DesignError
from fly64_assets.simulation.objects.making import make_object
from fly64_assets.store.artifacts import ArtifactStore
from fly64_assets.study.campaign import campaign_rows, find_base, generated_parameters, load_campaign, probe_from
from fly64_assets.study.intake import intake_generated
from fly64_assets.study.states import base_state

STUDY = "name: many\ndose_list: [1e3]\n"
CAMPAIGN = "study: many.yaml\nobjects: [cells, grains]\nprobes: [flat, mine.npz]\nseeds: [1, 2]\nobject_size: 132\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "many.yaml").write_text(STUDY)
    (tmp_path / "campaign.yaml").write_text(CAMPAIGN)
    np.savez(tmp_path / "mine.npz", probeGuess=np.eye(64, dtype=complex) + 1)
    return tmp_path


def test_every_combination_is_a_base(folder):
    campaign = load_campaign(folder / "campaign.yaml")
    names = [base.name for base in campaign.bases()]
    assert names[:4] == ["cells_flat_s1", "cells_mine_s1", "grains_flat_s1", "grains_mine_s1"]
    assert len(names) == len(set(names)) == 8
    assert campaign.design().name == "many"
    assert campaign.judged_only


def test_a_base_is_made_once_and_found_by_what_it_is_made_of(folder):
    campaign = load_campaign(folder / "campaign.yaml")
    design, store = campaign.design(), ArtifactStore(folder / "data", "many")
    bases = list(campaign.bases())[:2]
    assert [find_base(store, design, base) for base in bases] == ["", ""]
    for base in bases:
        parameters, probe = generated_parameters(base, design), base.given_probe(64)
        record = intake_generated(store, design, base.recipe, base.name, parameters, probe)
        assert find_base(store, design, base) == record.values["base_id"]
        assert record.values["base_id"].startswith(f"{base.name}_")
    one, two = (load_base(store.layout(find_base(store, design, base)).base) for base in bases)
    np.testing.assert_array_equal(one.object, make_object("cells", 132, 1))
    np.testing.assert_array_equal(two.probe, np.load(folder / "mine.npz")["probeGuess"].astype(np.complex64))
    assert base_state(store, design).name == "fresh"  # although the design's own recipe is another base
    # Another probe in the same file, or another size, is another base.
    np.savez(folder / "mine.npz", probeGuess=np.eye(64, dtype=complex) + 2)
    assert find_base(store, design, bases[0])
    assert find_base(store, design, bases[1]) == ""
    (folder / "campaign.yaml").write_text(CAMPAIGN.replace("132", "140"))
    assert find_base(store, design, next(load_campaign(folder / "campaign.yaml").bases())) == ""
    assert list(campaign_rows(campaign.bases(), design, store)) == []


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("objects: [cells]", "study is missing"),
        ("study: many.yaml\nobjects: [cat]", "must be one of grains"),
        ("study: many.yaml\nobjects: []", "objects = []: expected at least one"),
        (
            "study: many.yaml\nprobes: [round]",
            "probes: round is no kind (flat, curved, structured) and no file NAME.npz",
        ),
        ("study: many.yaml\nprobes: [a/p.npz, b/p.npz]", "two files have the same name"),
        ("study: many.yaml\nseeds: [1, 1]", "must be distinct"),
        ("study: many.yaml\nobject: [cells]", "unknown field"),
        ("study: many.yaml\nfolder: /tmp", "unknown field"),
        ("study: [", "YAML"),
    ],
)
def test_a_bad_file_is_refused_in_a_sentence(folder, text, sentence):
    (folder / "campaign.yaml").write_text(text)
    with pytest.raises(DesignError) as caught:
        load_campaign(folder / "campaign.yaml")
    assert sentence in str(caught.value)


def test_a_campaign_needs_a_study_that_simulates(folder):
    (folder / "campaign.yaml").write_text("study: measured\n")
    with pytest.raises(DesignError, match="simulates its frames"):
        load_campaign(folder / "campaign.yaml").design()
    with pytest.raises(DesignError, match="does not exist"):
        load_campaign(folder / "none.yaml")


def test_a_bad_probe_file_is_refused_in_a_sentence(folder):
    for arrays, sentence in (
        ({"probe": np.ones((64, 64))}, "holds no probeGuess"),
        ({"probeGuess": np.ones((32, 32), complex)}, r"shape \(32, 32\); expected \(64, 64\)"),
    ):
        np.savez(folder / "bad.npz", **arrays)
        with pytest.raises(ArtifactError, match=sentence):
            probe_from(folder / "bad.npz", 64)
    with pytest.raises(ArtifactError, match="does not exist"):
        probe_from(folder / "none.npz", 64)
    modes = np.stack([np.eye(64), 0.5 * np.eye(64)]).astype(complex)
    np.savez(folder / "modes.npz", probeGuess=modes)
    np.testing.assert_array_equal(probe_from(folder / "modes.npz", 64), modes[0])
