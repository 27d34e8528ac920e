"""The command as a whole: help, sections, unknown names."""

import re
from pathlib import Path

from click.testing import CliRunner

from fly64_assets.cli.main import SECTIONS, main


def test_every_command_has_help_with_an_example():
    def walk(command, words):
        yield words, command
        for name, sub in getattr(command, "commands", {}).items():
            yield from walk(sub, [*words, name])

    for words, _ in walk(main, []):
        answer = CliRunner().invoke(main, [*words, "--help"])
        assert answer.exit_code == 0
        assert "Example:" in answer.output, words


def test_an_unknown_study_is_one_sentence(fly64):
    answer = fly64("status", study="nothing")
    assert answer.exit_code == 2
    assert "neither a file nor a shipped design" in answer.output
    assert fly64("frobnicate").exit_code == 2


def test_the_help_groups_all_commands_and_shows_the_environment():
    text = CliRunner().invoke(main, ["--help"]).output
    listed = [command.name for commands in SECTIONS.values() for command in commands]
    assert sorted(listed) == sorted(main.commands)
    assert all(f"\n{title}:\n" in text for title in SECTIONS)
    variables = ("FLY64_STUDY", "FLY64_DATA_ROOT", "FLY64_INBOX", "FLY64_ON_FAILURE", "FLY64_EXECUTOR", "DAGSTER_HOME")
    variables += ("FLY64_STEP_GPUS", "FLY64_STEP_CPUS", "FLY64_STEP_MEMORY_GIB")
    assert all(name in text for name in variables)


def test_the_reference_names_every_command():
    page = (Path(__file__).parents[2] / "docs/reference/command-line.md").read_text()
    assert [name for name in main.commands if not re.search(rf"`(fly64 )?{name}\b", page)] == []
