"""The commands that the documentation names exist with their options, and the quick ones do what they promise."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from dagster._core.workspace.load_target import PyProjectFileTarget, WorkspaceFileTarget
from fixtures.scan import measure, soft_probe, write_data_set

import fly64_assets
from fly64_assets.cli.commands import ui
from fly64_assets.cli.main import main

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    page for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")] if page.name not in ("CHANGELOG.md",)
)
STARTS = re.compile(r"^(?:\S+=\S+ )*(?:\.venv/bin/)?(fly64|make|python|pytest|dagster|dg) ")
PLACEHOLDER = re.compile(r"[…\[\]|]|\.\.\.|(?:^| )[A-Z]{1,}\b")


def blocks(page):
    """The code blocks of a page."""
    return re.findall(r"^```\w*\n(.*?)^```", page.read_text(), flags=re.M | re.S)


def commands(page):
    """Lines of code blocks and inline code that are commands, without comments and variables before them."""
    text = page.read_text()
    lines = [line for block in blocks(page) for line in block.replace("\\\n", " ").splitlines()]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    lines += re.findall(r"`([^`\n]+)`", prose)
    for line in lines:
        command = line.partition("  #")[0].strip().replace("\\|", "|")
        if found := STARTS.match(command):
            yield command[found.start(1) :]


NAMED = sorted({command for page in PAGES for command in commands(page)})


def resolved(words):
    """The click command that these words begin with, the words after it, and the context in which it is parsed."""
    command, context = main, click.Context(main, info_name="fly64")
    rest = list(words)
    while isinstance(command, click.Group):
        context = command.make_context(command.name, rest, parent=context, resilient_parsing=True)
        rest = [*context._protected_args, *context.args]
        if not rest:
            return command, [], context
        name, found, rest = command.resolve_command(context, rest)
        assert found is not None, name
        command = found
    return command, rest, context


@pytest.mark.parametrize("command", [command for command in NAMED if command.startswith("fly64 ")])
def test_a_command_of_fly64_exists_with_its_options(command):
    if PLACEHOLDER.search(command):
        # A pattern: its words up to the first that is none, and every option that it shows.
        words = command.replace("[", " ").replace("]", " ").split()[1:]
        plain = [word for word in words if not re.search(r"[A-Z…]", word)]
        for choice in (plain[1] if len(plain) > 1 and "|" in plain[1] else "").split("|"):
            first = [plain[0], choice] if choice else plain
            found, _, _ = resolved([word for word in first if not word.startswith("-")])
            known = {option for each in (found, main) for parameter in each.params for option in parameter.opts}
            assert {word for word in words if word.startswith("--")} <= known | {"--help"}
        return
    words = shlex.split(command)[1:]
    if "--help" in words:
        assert CliRunner().invoke(main, words).exit_code == 0
        return
    found, rest, context = resolved(words)
    if rest or not found.params or not any(parameter.required for parameter in found.params):
        found.make_context(found.name, list(rest), parent=context)


@pytest.mark.parametrize("command", [command for command in NAMED if not command.startswith("fly64 ")])
def test_another_command_names_what_exists(command):
    program, *words = shlex.split(command)
    if program == "make":
        assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), re.M)
    elif words[:2] == ["-m", "pip"]:
        extras = re.findall(r"\[(\w+)\]", command)
        assert [
            name for name in extras if not re.search(rf"^{name} = \[", (ROOT / "pyproject.toml").read_text(), re.M)
        ] == []
    elif program in ("python", "pytest"):
        module = words[1].replace(".", "/") + ".py" if words[0] == "-m" else words[0]
        text = (ROOT / module.partition("::")[0]).read_text()
        options = [word for word in words[1:] if word.startswith("--")] if program == "python" else []
        assert [option for option in options if f'"{option}"' not in text] == []
    elif words:
        known = (
            ["asset", "materialize"],
            ["definitions", "validate"],
            ["instance", "migrate"],
            ["dev"],
            ["launch"],
            ["check", "defs"],
            ["list", "defs"],
        )
        assert any(words[: len(one)] == one for one in known), command


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the files that the documentation's examples name."""
    monkeypatch.chdir(tmp_path)
    for name in ("FLY64_STUDY", "FLY64_DATA_ROOT", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    made = ["base", "make", "my_base.npz", "--amplitude", "moon", "--phase", "retina"]
    assert CliRunner().invoke(main, [*made, "--size", "140", "--positions", "60"]).exit_code == 0
    Path("training.yaml").write_text("model: {N: 64, gridsize: 2}\nneighbor_count: 7\nnepochs: 3\n")
    rng = np.random.RandomState(3)
    obj = np.exp(1j * rng.uniform(0, 1, (140, 140)))
    write_data_set(Path("patched_train.npz"), measure(obj, soft_probe(64), 40, 1e4), obj, dose=1e4)
    return tmp_path


def run(line):
    """Carry a documented line out in this process; it has to end with 0."""
    answer = CliRunner().invoke(main, shlex.split(line)[1:])
    assert answer.exit_code == 0, f"{line}: {answer.output}"
    return answer.output


def test_the_quick_commands_of_own_base_do_what_they_say(folder):
    named = set(commands(ROOT / "docs/how-to/own-base.md"))
    Path("my_base.npz").unlink()
    made, *_ = [line for line in named if line.startswith("fly64 base make my_base.npz")]
    for line in (made, "fly64 base check my_base.npz", "fly64 base import my_base.npz", "fly64 base list"):
        assert line in named
        run(line)
    assert "my_base_" in run("fly64 base list")
    run("fly64 overlap my_base.npz")
    for line in ("fly64 plan", "fly64 status", "fly64 clean", "fly64 verify"):
        run(line)


def test_the_quick_commands_of_the_page_on_ptychopinn_do_what_they_say(folder):
    lines = [line for line in commands(ROOT / "docs/how-to/from-ptychopinn.md") if line.startswith("fly64 legacy ")]
    config = next(line for line in lines if "--design" in line)
    run(config)
    run("fly64 --study my_study.yaml plan")
    export = next(line for line in lines if line.startswith("fly64 legacy export"))
    run(re.sub(r"\S*patched_train\.npz", "patched_train.npz", export))
    Path("back.npz").rename("frames.npz")
    run(next(line for line in lines if line.startswith("fly64 legacy import frames")))
    run("fly64 contract check mine.npz")
    run("fly64 base import frames.npz")


@pytest.mark.slow
def test_the_pattern_for_ci_runs_in_a_new_folder_and_sends_no_usage_data(tmp_path):
    """Word for word, in a folder that holds the design alone."""
    (tmp_path / "home").mkdir()
    work = tmp_path / "work"
    work.mkdir()
    (work / "my_study.yaml").write_text(
        "name: ci\nbase: {amplitude: coins, phase: grass, object_size: 132, positions: 60}\n"
    )
    hidden = ("FLY64_STUDY", "FLY64_DATA_ROOT", "DAGSTER_HOME", "DAGSTER_DISABLE_TELEMETRY")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(tmp_path / "home")}
    block, *_ = blocks(ROOT / "docs/how-to/ci.md")
    script = ["bash", "-euo", "pipefail", "-c", block]
    ended = subprocess.run(script, cwd=work, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    settings = yaml.safe_load((work / ".dagster/dagster.yaml").read_text())
    assert settings["telemetry"] == {"enabled": False}
    assert not list(tmp_path.rglob(".telemetry"))
    assert len(list((work / "data/ci").rglob("dense/*.npz"))) == 2


def test_the_code_location_has_one_name(monkeypatch):
    """Dagster keeps the state of sensors and schedules by this name."""
    monkeypatch.chdir(ROOT)
    targets = (WorkspaceFileTarget(paths=["workspace.yaml"]), PyProjectFileTarget(path="pyproject.toml"))
    names = [origin.location_name for target in targets for origin in target.create_origins()]
    project = yaml.safe_load(
        re.search(
            r'^\[tool\.dg\.project\]\n(?:.+\n)*code_location_name = (".+")$',
            (ROOT / "pyproject.toml").read_text(),
            re.M,
        )[1]
    )
    # `-m` names the location after the module.
    module = re.search(r'locations = \["-m", "([\w.]+)"\]', Path(ui.__file__).read_text())[1]
    assert {*names, project, module} == {f"{fly64_assets.__name__}.definitions"}
