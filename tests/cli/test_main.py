"""The command as a whole: help, sections, unknown names."""

import re
from pathlib import Path

import click
from click.testing import CliRunner

from fly64_assets.cli.main import AFTER_TOO, SECTIONS, WHICH_CHECK, global_options_first, main


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


def test_global_options_may_follow_the_command(fly64, tmp_path):
    """Before, after and between: the same study and the same folder."""
    own = ["--study", "fly64", f"--data-root={tmp_path / 'elsewhere'}"]
    lines = ([*own, "status"], ["status", *own], [own[0], own[1], "status", own[2]])
    answers = [CliRunner().invoke(main, words) for words in lines]
    assert [answer.exit_code for answer in answers] == [0, 0, 0]
    assert len({answer.output for answer in answers}) == 1
    assert f"study fly64, base none yet, data in {tmp_path / 'elsewhere'}" in answers[1].output
    assert global_options_first(["export", "--", "--study"]) == ["export", "--", "--study"]
    several = ["ui", "--study", "a", "--study", "b"]
    assert global_options_first(several) == several
    assert CliRunner().invoke(main, ["plan", "--study"]).exit_code == 2


def test_help_of_a_command_says_so_where_it_means_something():
    def said(*words):
        return " ".join(CliRunner().invoke(main, [*words, "--help"]).output.split())

    assert AFTER_TOO in said("run")
    assert AFTER_TOO in said("base", "import")
    assert AFTER_TOO not in said("contract", "check")


def test_the_help_says_when_to_use_which_check():
    text = CliRunner().invoke(main, ["--help"]).output.split("Which check:")[1]
    for command, _ in WHICH_CHECK:
        assert command in text
        assert CliRunner().invoke(main, [*command.split()[1:], "--help"]).exit_code == 0


def commands(group=main, words=()):
    """Every command and group, with the words that name it."""
    yield words, group
    for name, inner in getattr(group, "commands", {}).items():
        yield from commands(inner, (*words, name))


def test_options_name_what_they_take_in_words_of_the_field():
    """``PHOTONS``, ``PX`` or ``N``, and not ``FLOAT RANGE``."""
    found = []
    for words, command in commands():
        options = [one for one in command.params if isinstance(one, click.Option) and not one.hidden]
        said = [one.get_help_record(click.Context(command))[0] for one in options]
        found += [(*words, text) for text in said if re.search(r"\b(INTEGER|FLOAT|TEXT|RANGE)\b", text)]
    assert found == []


def test_no_line_of_a_list_of_commands_is_cut():
    for words, group in commands():
        if isinstance(group, click.Group):
            listed = CliRunner().invoke(main, [*words, "--help"]).output.split("Commands:")[-1]
            assert "..." not in listed.replace("[ARGS]...", "").replace("LSQML, ...", ""), words


def test_phases_without_an_engine_do_not_list_options_about_engines():
    def said(phase):
        return CliRunner().invoke(main, [phase, "--help"]).output

    assert all("--accelerator" in said(phase) for phase in ("run", "generate", "train", "reconstruct"))
    assert all("--accelerator" not in said(phase) for phase in ("overlap", "compare"))
    answer = CliRunner().invoke(main, ["overlap", "--accelerator", "tpu"])
    assert "'tpu' is not one of" in answer.output  # it is accepted, as all phases take the same
