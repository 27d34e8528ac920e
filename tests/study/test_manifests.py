from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fly64_assets.errors import EngineError
from fly64_assets.store.keys import BASE, Cell, Dose, Half, StageKey
from fly64_assets.store.layout import Layout
from fly64_assets.store.sidecars import verified
from fly64_assets.study.manifests import write_manifests

SPLITS = {
    "train": {
        "outcome": "succeeded",
        "reason": "",
        "selection_strategy": "greedy",
        "acceptance_rate": 0.029,
        "spacing_threshold": 51.2,
        "n_accepted": 29,
        "n_rejected": 971,
        "n_offered": 1000,
    },
    "test": {"outcome": "skipped", "reason": "3 positions are at least 51.2 px apart; 4 are needed"},
}


class Cells:
    """Runs the stages of cells, each with files where the layout wants them."""

    def __init__(self, workshop: Any, layout: Layout) -> None:
        self.workshop, self.layout = workshop, layout

    def view(self, dose: int, view: str = "dense", **options: Any) -> None:
        if not self.layout.record(StageKey("simulated", Dose(dose))).exists():
            self.workshop.simulated(dose, b"frames %d" % dose)
        files = {self.layout.view_metrics(Half(dose, view, "train")): b"{}"}
        if view != "baseline":
            files[self.layout.view_frames(Half(dose, view, "train"))] = b"view %d" % dose
        options = {"files": files, "values": {"splits": SPLITS}, **options}
        inputs = [self.layout.patched(Dose(dose), "train"), self.layout.patched(Dose(dose), "test")]
        self.workshop.make(StageKey("view", Cell(dose, view)), inputs=inputs, **options)

    def training(self, dose: int, arm: str = "pinn", **options: Any) -> None:
        key = StageKey("training", Cell(dose, "dense"), arm, 2)
        files = {self.layout.result(StageKey("training", Cell(dose, "dense"), arm, 2)): b"weights %d" % dose}
        logs = {self.layout.output(key, "train.log"): b"log"}
        values = {"final_loss": 0.5, "epochs_completed": 7}
        self.workshop.make(key, **{"files": files, "logs": logs, "values": values, **options})

    def reconstruction(self, dose: int, split: str = "train", view: str = "dense") -> None:
        key = StageKey("reconstruction", Half(dose, view, split), "lsqml")
        files = {self.layout.result(StageKey("reconstruction", Half(dose, view, split), "lsqml")): b"object %d" % dose}
        logs = {self.layout.output(key, "ptychi.log"): b"log"}
        values = {"algorithm": "LSQML", "epochs_run": 40, "stop_reason": "discrepancy", "returncode": 0}
        self.workshop.make(key, files, logs=logs, values=values, parameters={"lsqml": {"epochs": 100}})

    def manifests(self) -> dict[str, Any]:
        write_manifests(self.layout, self.workshop.design, {"dose": [1000]})
        names = ("training", "reconstruction", "skip_summary", "run", "overlap")
        return {name: json.loads(self.layout.manifest(name).read_text()) for name in names}


@pytest.fixture
def cells(workshop: Any, layout: Layout) -> Cells:
    return Cells(workshop, layout)


def test_running_one_cell_does_not_erase_another(cells: Cells) -> None:
    for dose in (1000, 10000):
        cells.view(dose)
        cells.training(dose)
        cells.reconstruction(dose)
        found = cells.manifests()
    rows = (
        found["training"]["jobs"],
        found["reconstruction"]["jobs"],
        found["reconstruction"]["execution_results"],
        found["skip_summary"]["skipped_views"],
        found["run"]["doses"],
        found["overlap"]["views"],
    )
    for row in rows:
        assert [entry["dose"] for entry in row] == [1000, 10000]


SNIPPET = """
import hashlib, json, pathlib, sys
manifest = pathlib.Path(sys.argv[1]) / "training_manifest.json"
for job in json.loads(manifest.read_text())["jobs"]:
    result = job["result"]
    bundle = manifest.parent / result["bundle_path"]
    good = bundle.is_file() and hashlib.sha256(bundle.read_bytes()).hexdigest() == result["bundle_sha256"]
    print(job["dose"], job["view"], "OK" if good else "BAD")
"""


def test_a_copied_folder_holds_every_bundle_that_its_manifest_names(
    cells: Cells, layout: Layout, tmp_path: Path
) -> None:
    """Nine trainings; the copy is judged from another folder, by nothing but the standard library and coreutils."""
    for dose in (1000, 10000, 100000):
        for view in ("baseline", "dense", "sparse"):
            gridsize = 1 if view == "baseline" else 2
            key = StageKey("training", Cell(dose, view), "pinn", gridsize)
            content = f"weights {dose} {view}".encode()
            cells.workshop.make(key, {layout.result(StageKey("training", Cell(dose, view), "pinn", gridsize)): content})
    cells.manifests()
    copy, elsewhere = tmp_path / "usb" / "copy", tmp_path / "elsewhere"
    shutil.copytree(layout.folder, copy)
    shutil.rmtree(layout.data_root)
    elsewhere.mkdir()

    def judged() -> list[str]:
        command = [sys.executable, "-I", "-c", SNIPPET, str(copy)]
        return subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, check=True).stdout.splitlines()

    assert len(judged()) == 9
    assert all(line.endswith(" OK") for line in judged())
    sums = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=copy / "report", capture_output=True, check=False)
    assert sums.returncode == 0

    (copy / "training/dose_1000/dense/gs2/pinn/wts.h5.zip").write_bytes(b"weights of a stranger")
    assert [line for line in judged() if not line.endswith(" OK")] == ["1000 dense BAD"]


def test_training_manifest(cells: Cells, layout: Layout) -> None:
    cells.view(1000)
    cells.training(1000)
    found = cells.manifests()["training"]
    fields = ["timestamp", "filters", "jobs", "skipped_views", "skipped_count", "skip_summary_path"]
    assert list(found) == fields
    assert found["filters"] == {"dose": [1000]}
    assert found["skip_summary_path"] == "skip_summary.json"
    content = b"weights 1000"
    folder = "training/dose_1000/dense/gs2/pinn"
    job = found["jobs"][0]
    assert job["result"].pop("seconds") >= 0
    assert job == {
        "dose": 1000,
        "view": "dense",
        "gridsize": 2,
        "backend": "pinn",
        "train_data_path": "dose_1000/dense/dense_train.npz",
        "test_data_path": "dose_1000/dense/dense_test.npz",
        "artifact_dir": folder,
        "log_path": f"{folder}/train.log",
        "result": {
            "status": "succeeded",
            "final_loss": 0.5,
            "epochs_completed": 7,
            "bundle_path": f"{folder}/wts.h5.zip",
            "bundle_sha256": hashlib.sha256(content).hexdigest(),
            "bundle_size_bytes": len(content),
            "error": None,
        },
    }
    assert (layout.folder / job["result"]["bundle_path"]).read_bytes() == content


def test_a_failed_training_says_why(cells: Cells, layout: Layout, workshop: Any) -> None:
    key = StageKey("training", Cell(1000, "baseline"), "pinn", 1)

    def explode() -> None:
        with workshop.store.build(
            layout, key, inputs=(), parameters={}, design_sha256=workshop.design.sha256(), code_version="1", seeds={}
        ):
            raise EngineError("out of memory")

    with pytest.raises(EngineError):
        explode()
    job = cells.manifests()["training"]["jobs"][0]
    assert job["train_data_path"] == "dose_1000/patched_train.npz"
    assert job["log_path"] is None
    result = job["result"]
    assert (result["status"], result["error"], result["bundle_path"]) == ("failed", "out of memory", None)
    assert result["bundle_sha256"] is result["bundle_size_bytes"] is result["final_loss"] is None


def test_reconstruction_manifest(cells: Cells) -> None:
    cells.view(1000)
    cells.reconstruction(1000)
    found = cells.manifests()["reconstruction"]
    assert list(found) == ["timestamp", "filters", "total_jobs", "jobs", "execution_results", "missing_jobs"]
    folder = "reconstruction/lsqml/dose_1000/dense/train"
    assert found["total_jobs"] == 1
    assert found["jobs"] == [
        {
            "dose": 1000,
            "view": "dense",
            "split": "train",
            "input_npz": "dose_1000/dense/dense_train.npz",
            "output_dir": folder,
            "algorithm": "LSQML",
            "num_epochs": 100,
        }
    ]
    assert found["execution_results"] == [
        {
            "dose": 1000,
            "view": "dense",
            "split": "train",
            "returncode": 0,
            "status": "succeeded",
            "log_path": f"{folder}/ptychi.log",
            "epochs_run": 40,
            "stop_reason": "discrepancy",
            "selection_strategy": "greedy",
            "acceptance_rate": 0.029,
            "spacing_threshold": 51.2,
            "n_accepted": 29,
            "n_rejected": 971,
            "sha256": hashlib.sha256(b"object 1000").hexdigest(),
        }
    ]
    missing = [(row["dose"], row["view"], row["split"]) for row in found["missing_jobs"]]
    assert len(missing) == 53, "18 of each of the three methods without training that every study has"
    reasons = [row["reason"] for row in found["missing_jobs"] if (row["dose"], row["view"]) == (1000, "dense")]
    assert not any("reconstruction lsqml train" in reason for reason in reasons)
    assert sum("reconstruction tv_ml train" in reason for reason in reasons) == 1
    assert missing.count((1000, "dense", "test")) == 3


def test_only_real_skips_are_in_the_summary(cells: Cells) -> None:
    cells.view(1000)
    cells.view(10000, "sparse", files={}, skip="3 positions", values={})
    cells.view(100000, "baseline", values={})
    cells.training(1000, arm="pinn", files={}, logs={}, skip="no frames", values={})
    cells.training(1000, arm="legacy_pinn", files={}, logs={}, skip="no frames", values={})
    found = cells.manifests()
    partial = "3 positions are at least 51.2 px apart; 4 are needed"
    views = [
        {"dose": 1000, "view": "dense", "reason": partial},
        {"dose": 10000, "view": "sparse", "reason": "3 positions"},
    ]
    assert found["skip_summary"]["skipped_views"] == views
    assert found["skip_summary"]["skipped_count"] == 2
    assert found["training"]["jobs"] == []
    assert found["training"]["skipped_views"] == [*views, {"dose": 1000, "view": "dense", "reason": "no frames"}]
    assert found["training"]["skipped_count"] == 3


def test_files_of_runs_and_views_have_their_hashes(cells: Cells, layout: Layout, workshop: Any, tmp_path: Path) -> None:
    workshop.base()
    cells.view(1000)
    cells.view(1000, "baseline")
    found = cells.manifests()
    copy = tmp_path / "copy"
    shutil.copytree(layout.folder, copy)
    files = [*found["run"]["base"], *found["run"]["doses"][0]["files"]]
    views = {row["view"]: [file["path"] for file in row["files"]] for row in found["overlap"]["views"]}
    files += [file for row in found["overlap"]["views"] for file in row["files"]]
    assert len(files) == 1 + 2 + 2 + 3
    for file in files:
        content = (copy / file["path"]).read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (file["sha256"], file["bytes"])
    assert "dose_1000/patched_train.npz" in views["baseline"]
    assert "dose_1000/patched_train.npz" not in views["dense"]
    assert found["overlap"]["views"][1]["splits"] == SPLITS


def test_a_second_writing_changes_no_byte(cells: Cells, layout: Layout, workshop: Any) -> None:
    cells.view(1000)
    paths = write_manifests(layout, workshop.design, {})
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in paths]
    assert write_manifests(layout, workshop.design, {}) == paths
    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in paths] == before
    layout.manifest("training").write_text("{}")
    write_manifests(layout, workshop.design, {})
    assert [verified(path).path for path in paths] == list(paths)
    cells.training(1000)
    write_manifests(layout, workshop.design, {})
    assert layout.manifest("training").read_bytes() != before[0][0]


def test_a_damaged_record_leaves_the_manifest(cells: Cells, layout: Layout) -> None:
    cells.reconstruction(1000)
    cells.reconstruction(10000)
    layout.record(StageKey("reconstruction", Half(1000, "dense", "train"), "lsqml")).write_text("{}")
    found = cells.manifests()["reconstruction"]
    assert [job["dose"] for job in found["jobs"]] == [10000]
    assert len(found["missing_jobs"]) == 53


def test_a_record_copied_to_another_cell_is_not_counted(cells: Cells, layout: Layout) -> None:
    cells.reconstruction(1000)
    source = layout.folder_of(StageKey("reconstruction", Half(1000, "dense", "train"), "lsqml"))
    target = layout.folder_of(StageKey("reconstruction", Half(10000, "dense", "train"), "lsqml"))
    shutil.copytree(source, target)
    assert [job["dose"] for job in cells.manifests()["reconstruction"]["jobs"]] == [1000]


def test_repeats_have_their_own_rows_and_paths(cells: Cells, layout: Layout, workshop: Any) -> None:
    for repeat in (1, 2):
        key = StageKey("training", Cell(1000, "dense", repeat), "pinn", 2)
        workshop.make(
            key, {layout.result(StageKey("training", Cell(1000, "dense", repeat), "pinn", 2)): b"w%d" % repeat}
        )
    paths = [job["result"]["bundle_path"] for job in cells.manifests()["training"]["jobs"]]
    assert paths == [
        "training/dose_1000/dense/gs2/pinn/wts.h5.zip",
        "repeat_2/training/dose_1000/dense/gs2/pinn/wts.h5.zip",
    ]


def test_a_base_of_measured_frames_brings_the_facts_of_its_calibration(cells: Cells, workshop: Any) -> None:
    workshop.base()
    assert "calibration" not in cells.manifests()["run"]
    facts = {"measured_photons": 456789.0, "frames": 516, "calibration_seconds": 300.0, "stop_reason": "converged"}
    workshop.make(BASE, {workshop.layout.base: b"other"}, values=facts | {"origin": "imported"})
    assert cells.manifests()["run"]["calibration"] == facts
