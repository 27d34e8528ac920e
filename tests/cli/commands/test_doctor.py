"""``fly64 doctor``."""

import json
import sys

import pytest

SLURM = """
run_launcher: {module: fly64_assets.automation.slurm, class: SlurmRunLauncher}
run_monitoring: {enabled: true, free_slots_after_run_end_seconds: 1}
"""


@pytest.fixture
def cluster(fly64, tmp_path, monkeypatch):
    """What the doctor says of the cluster, for the settings of an instance."""
    monkeypatch.setattr("fly64_assets.cli.commands.doctor.ENGINES", ())
    for variable in ("FLY64_EXECUTOR", "FLY64_STEP_CPUS", "FLY64_STEP_GPUS", "FLY64_STEP_MEMORY_GIB"):
        monkeypatch.delenv(variable, raising=False)
    home = tmp_path / "home"
    monkeypatch.setenv("DAGSTER_HOME", str(home))

    def examined(settings=""):
        if settings:
            home.mkdir(exist_ok=True)
            (home / "dagster.yaml").write_text(settings)
        answer = fly64("doctor", "--json")
        (found,) = [one for one in json.loads(answer.output)["findings"] if one["subject"] == "cluster"]
        assert (found["level"] == "bad") <= (answer.exit_code == 1)
        return found["level"], found["sentence"]

    return examined


def test_doctor_finds_what_is_wrong(fly64, base_file, tmp_path, monkeypatch):
    monkeypatch.setattr("fly64_assets.cli.commands.doctor.ENGINES", ("h5py",))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    answer = fly64("doctor", "--json")
    assert answer.exit_code == 0, answer.output
    found = {one["subject"]: one for one in json.loads(answer.output)["findings"]}
    assert set(found) == {
        "versions",
        "design",
        "disk",
        "files",
        "instance",
        "slots",
        "cluster",
        "study",
        "garbage",
        "machine",
        "engine",
    }
    assert {one["level"] for one in found.values()} <= {"good", "warning"}
    assert not (tmp_path / "data").exists()

    fly64("base", "import", base_file)
    (folder,) = [path.parent for path in (tmp_path / "data").rglob("base.npz")]
    (folder / "stray.npz").write_bytes(b"12345")
    monkeypatch.setattr("fly64_assets.cli.commands.doctor.ENGINES", ("nothing_of_this_name",))
    answer = fly64("doctor")
    assert answer.exit_code == 1
    assert "✗ engine       nothing_of_this_name cannot be imported" in answer.output
    assert "! garbage      1 of no use, 5 bytes" in answer.output
    assert "1 fresh, " in answer.output
    # A damaged base is a finding, not the end of the examination.
    (folder / "base.json").unlink()
    answer = fly64("doctor")
    assert "✗ study" in answer.output
    assert "import its file again" in answer.output
    assert "machine" in answer.output


def test_where_no_cluster_is_set_doctor_says_that(cluster):
    nothing = ("good", "no cluster is set: runs work on this machine")
    assert cluster() == nothing
    assert cluster("telemetry: {enabled: false}\n") == nothing


def test_doctor_names_every_wrong_variable_of_a_cluster(cluster, monkeypatch):
    monkeypatch.setenv("FLY64_EXECUTOR", "raay")
    monkeypatch.setenv("FLY64_STEP_GPUS", "x")
    level, said = cluster()
    assert level == "bad"
    assert "FLY64_EXECUTOR='raay': expected one of in_run, ray, kubernetes" in said
    assert "FLY64_STEP_GPUS='x': expected a whole number of GPUs" in said


def test_doctor_says_which_extra_an_executor_lacks(cluster, monkeypatch):
    monkeypatch.setenv("FLY64_EXECUTOR", "ray")
    monkeypatch.setitem(sys.modules, "dagster_ray", None)
    level, said = cluster()
    assert level == "bad"
    assert "pip install 'fly64-assets[ray]'" in said


def test_doctor_looks_for_the_commands_that_the_slurm_launcher_needs(cluster, tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    for name in ("sbatch",):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    here = "not installed here: runs are launched where Slurm's commands are"
    assert cluster(SLURM) == ("bad", f"scontrol, scancel are {here}")
    for name in ("scontrol", "scancel"):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("FLY64_STEP_GPUS", "2")
    asked = "an engine requests 1 core(s), 2 GPU(s), 4 GiB of memory"
    assert cluster(SLURM) == ("good", f"runs by SlurmRunLauncher, steps by their run; {asked}")


def test_doctor_leaves_settings_that_dagster_refuses_to_the_instance(cluster, monkeypatch):
    monkeypatch.setenv("FLY64_STEP_CPUS", "0")
    level, said = cluster("run_launcher: 7\n")
    assert level == "bad"
    assert said.startswith("FLY64_STEP_CPUS='0'")
    monkeypatch.delenv("FLY64_STEP_CPUS")
    assert cluster() == ("warning", "where runs work is not known: see instance")
