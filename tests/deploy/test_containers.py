"""Containers without an engine: the files agree with each other and with the commands that they start."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")


def instructions(name):
    """Arguments of every instruction of this name, in order."""
    return re.findall(rf"^{name} (.*)$", DOCKERFILE, flags=re.M)


def test_what_is_copied_exists_and_reaches_the_engine():
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [source for line in instructions("COPY") if "--from" not in line for source in shlex.split(line)[:-1]]
    assert copied
    for source in copied:
        assert (ROOT / source).exists(), source
        assert source.removeprefix("./") in allowed, source
    # What the package needs to be built is there: its readme, licence and the files that its manifest names.
    manifest = re.findall(r"^include (.*)$", (ROOT / "MANIFEST.in").read_text(), flags=re.M)
    assert set(" ".join(manifest).split()) <= set(copied)


def test_the_package_is_built_from_what_the_image_gets(tmp_path):
    """The Dockerfile's own command, without the network and without what the package depends on."""
    for line in instructions("COPY"):
        if "--from" not in line:
            *sources, _ = shlex.split(line)
            for source in sources:
                copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
                copy(ROOT / source, tmp_path / Path(source).name)
    arguments = ["--no-deps", "--no-index", "--no-build-isolation", "--constraint", "constraints.txt"]
    command = [sys.executable, "-m", "pip", "install", "--quiet", *arguments, "--target", "installed", "."]
    subprocess.run(command, cwd=tmp_path, check=True)
    package = tmp_path / "installed/fly64_assets"
    assert (package / "dagster.yaml").read_bytes() == (ROOT / "fly64_assets/dagster.yaml").read_bytes()
    assert (package / "study/designs/demo.yaml").exists()
    assert list((package / "evaluation/report/templates").iterdir())


def test_nothing_runs_as_root_and_every_version_is_pinned():
    assert instructions("USER") == ["10001:10001"]
    installed = [part for line in instructions("RUN") for part in line.split("&&") if "pip install" in part]
    assert len(installed) == 3
    assert all("--constraint constraints.txt" in part for part in installed)
    for name, service in COMPOSE["services"].items():
        if name != "postgres":
            assert service["read_only"]
            assert service["cap_drop"] == ["ALL"]
        assert "inside" in service["networks"]
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    assert [name for name, service in COMPOSE["services"].items() if "outside" in service["networks"]] == ["webserver"]


def test_the_services_and_their_workspace_name_each_other():
    (location,) = yaml.safe_load((ROOT / "containers/workspace.yaml").read_text())["load_from"]
    server = location["grpc_server"]
    assert server["host"] in COMPOSE["services"]
    (command,) = instructions("CMD")
    assert f'"-p", "{server["port"]}"' in command
    for service in COMPOSE["services"].values():
        assert set(service.get("depends_on", {})) <= set(COMPOSE["services"])
    assert set(yaml.safe_load((ROOT / "containers/compose.cuda.yaml").read_text())["services"]) <= set(
        COMPOSE["services"]
    )


@pytest.mark.parametrize("name", [name for name, one in COMPOSE["services"].items() if "command" in one])
def test_every_command_has_the_options_that_it_is_given(name):
    program, *rest = COMPOSE["services"][name]["command"]
    words = [word for word in rest if not word.startswith("-")]
    subcommand = [word for word in words[:2] if word.isalpha()]
    answer = subprocess.run([BIN / program, *subcommand, "--help"], capture_output=True, text=True, check=True).stdout
    for option in (word for word in rest if word.startswith("-")):
        assert re.search(rf"(^|[ ,]){option}\b", answer, re.M), f"{program}: {option}"
