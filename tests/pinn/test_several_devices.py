from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from fly64_assets.contract.npz import write_npz
from fly64_assets.contract.schema import Dataset, dataset_arrays
from fly64_assets.engines.execution import Execution
from fly64_assets.engines.process import run_isolated
from fly64_assets.errors import EngineError
from fly64_assets.pinn.ranks import Ranks, ranks
from fly64_assets.pinn.settings import cnn_settings
from fly64_assets.pinn.training import train


def test_pieces_go_round_the_processes():
    places = [Ranks(rank, 3, "cpu") for rank in range(3)]
    assert [[place.rank for place in places if place.owns(number)] for number in range(4)] == [[0], [1], [2], [0]]


def test_one_process_keeps_what_it_made(tmp_path):
    made = [torch.ones(2)]
    with ranks(Execution(), tmp_path) as place:
        assert place.strategy == "auto"
        assert place.share(5, made) is made


def test_a_lone_process_cannot_train_on_two_devices(measurement, settings, tmp_path, monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(EngineError, match="devices = 2, but this process is one of 1"):
        train(measurement, settings, 1, 7, 1, Execution(devices=2), lambda *_: None, scratch=tmp_path)


def test_the_other_architecture_refuses(measurement, settings, tmp_path):
    cnn = cnn_settings(settings)
    with pytest.raises(EngineError, match="cnn trains on one device; unrolled on several"):
        train(measurement, cnn, 1, 7, 1, Execution(devices=2), lambda *_: None, scratch=tmp_path)


@pytest.mark.slow
def test_two_processes_train_one_network(measurement, settings, obj, tmp_path):
    path, few = tmp_path / "frames.npz", replace(settings, epochs=5, levels=(1.0,))
    metadata = {"physics_parameters": {"intensity_scale": measurement.intensity_scale}}
    frames, x, y = measurement.amplitude, measurement.x, measurement.y
    truth = obj.astype(np.complex64)
    with path.open("wb") as file:
        whole = Dataset(frames, truth, measurement.probe, x, y, measurement.scan_index, None, metadata)
        write_npz(file, dataset_arrays(whole))
    execution = Execution(devices=2)
    found = []
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        request = {
            "measurement": str(path),
            "output_folder": str(folder),
            "arm": "pinn",
            "settings": asdict(few),
            "gridsize": 1,
            "neighbor_count": 7,
            "seeds": {"grouping": 1},
            "provenance": {},
            "execution": execution.to_dict(),
        }
        job, log = "fly64_assets.pinn.job:train_job", folder / "train.log"
        found.append(run_isolated(job, request, execution=execution, log_path=log, processes=2))
    first, second = found
    assert first["bundle_sha256"] == second["bundle_sha256"]
    assert first["best_val_loss"] < first["validation_loss_before"] - 0.5
    alone = train(measurement, few, 1, 7, 1, Execution(), lambda *_: None, scratch=tmp_path)
    # The objects that the processes shared are those that one process finds; from there on both train.
    assert first["path_losses"] == pytest.approx(alone.facts["path_losses"], rel=1e-6)
    assert first["validation_loss_before"] == pytest.approx(alone.facts["validation_loss_before"], rel=1e-6)
    assert first["best_val_loss"] != pytest.approx(alone.best["validation_loss"], rel=1e-7)
