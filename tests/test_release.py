"""The wheel and the source archive: complete, and of use in an environment and a folder of their own.

The environment has every dependency but TensorFlow, for which some systems have no package.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import yaml

import fly64_assets

ROOT = Path(__file__).parents[1]
ABSENT = ("tensorflow", "keras", "fly64_assets", "__editable__", "_virtualenv", "distutils-precedence")
"""How the names of what the environment lacks begin."""


def tracked() -> list[str]:
    """Files of the package in the repository."""
    listed = subprocess.run(["git", "ls-files", "-z", "."], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Wheel and source archive, made of the files that are in the repository alone."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs the repository, which says what belongs to the package")
    source, dist = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in tracked():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", dist, source]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (wheel,), (archive,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    return wheel, archive


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """Run a command of an environment that has the wheel, in an empty folder."""
    folder, empty = tmp_path_factory.mktemp("environment"), tmp_path_factory.mktemp("empty")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not path.name.startswith(ABSENT):
            (packages / path.name).symlink_to(path)
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--quiet", "--no-index"]
    subprocess.run([*pip, "--no-deps", built[0]], check=True)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("FLY64", "DAGSTER", "PYTHON"))}

    def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [folder / "bin" / name, *arguments]
        return subprocess.run(command, cwd=empty, env=clean, capture_output=True, text=True, check=False)

    run.folder, run.empty = folder, empty
    return run


@pytest.mark.slow
def test_both_archives_hold_the_whole_package_and_nothing_else(built):
    package = {name for name in tracked() if name.startswith("fly64_assets/")}
    assert any(name.endswith("demo.yaml") for name in package)
    wheel, archive = built
    with zipfile.ZipFile(wheel) as file:
        names = {name for name in file.namelist() if ".dist-info/" not in name}
        (about,) = (file.read(name).decode() for name in file.namelist() if name.endswith(".dist-info/METADATA"))
        licences = [name for name in file.namelist() if name.endswith("LICENSE")]
    assert names == package
    assert len(licences) == 1
    assert f"Version: {fly64_assets.__version__}\n" in about
    with tarfile.open(archive) as file:
        held = {name.partition("/")[2] for name in file.getnames() if file.getmember(name).isfile()}
    assert package <= held
    assert {"README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "SECURITY.md", "pyproject.toml"} <= held
    assert not [name for name in held if name.startswith(("tests/", "docs/", "benchmarks/"))]


@pytest.mark.slow
def test_the_wheel_is_of_use_in_an_empty_folder_and_without_tensorflow(installed):
    place = installed("python", "-c", "import fly64_assets; print(fly64_assets.__file__)").stdout
    assert place.startswith(str(installed.folder))
    assert "How few photons" in installed("fly64", "--help").stdout
    doctor = installed("fly64", "doctor")
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    assert "! engine       tensorflow is not installed: only the method legacy_pinn" in doctor.stdout
    assert f"✓ engine       torch {metadata.version('torch')}" in doctor.stdout
    plan = installed("fly64", "run", "--dry-run")
    assert plan.returncode == 0, plan.stdout + plan.stderr
    assert "stages would run; nothing was written" in plan.stdout
    assert list(installed.empty.iterdir()) == []
    network = installed("python", "-c", "import fly64_assets.engines.tensorflow_compat")
    last = network.stderr.strip().splitlines()[-1]
    assert "tensorflow cannot be imported" in last
    assert "leave the backend at pytorch" in last


def test_who_cites_the_project_cites_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == fly64_assets.__version__
    assert citation["license"] == metadata.metadata("fly64-assets")["License-Expression"]
    assert f"## {fly64_assets.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_forge_runs_what_everybody_runs():
    workflow = yaml.load((ROOT / ".github" / "workflows" / "ci.yml").read_text(), yaml.BaseLoader)
    job = workflow["jobs"]["test"]
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    (python,) = (step["with"]["python-version"] for step in job["steps"] if "with" in step)
    assert f">={python}" in metadata.metadata("fly64-assets")["Requires-Python"].split(",")
    assert workflow["permissions"] == {"contents": "read"}
