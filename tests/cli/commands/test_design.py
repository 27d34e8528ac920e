"""``fly64 design`` and ``fly64 open``: on real files, and what they say where there is nothing."""

import json

import yaml

from fly64_assets.study.design import load_design


def test_a_new_design_is_the_old_one_under_its_own_name(fly64, tmp_path):
    file = tmp_path / "mine.yaml"
    answer = fly64("design", "init", file)
    assert answer.exit_code == 0, answer.output
    assert load_design(file).to_dict() == load_design("demo").to_dict() | {"name": "mine"}
    assert file.read_text().startswith("# The demo")
    again = fly64("design", "init", file)
    assert again.exit_code != 0
    assert "--force" in again.output
    assert fly64("design", "init", file, "--force", study="fly64").exit_code == 0
    assert load_design(file).to_dict() == load_design("fly64").to_dict() | {"name": "mine"}


def test_a_name_that_yaml_takes_for_something_else_is_a_name(fly64, tmp_path):
    for name in ("123", "1e3", "no", "null", "y"):
        file = tmp_path / f"{name}.yaml"
        answer = fly64("design", "init", file)
        assert answer.exit_code == 0, answer.output
        assert load_design(file).name == name


def test_a_name_that_is_too_long_replaces_nothing(fly64, tmp_path):
    file = tmp_path / f"{'long' * 20}.yaml"
    file.write_text("mine")
    answer = fly64("design", "init", file, "--force")
    assert answer.exit_code == 2
    assert "is not written: name" in answer.output
    assert file.read_text() == "mine"


def test_a_name_that_no_study_can_have_is_a_usage_error(fly64, tmp_path):
    for name in ("Bad-Name.yaml", "mine.txt"):
        answer = fly64("design", "init", tmp_path / name)
        assert answer.exit_code == 2
        assert "such as my_study.yaml" in answer.output
    assert list(tmp_path.iterdir()) == []


def test_a_copy_that_would_lose_its_base_is_refused(fly64, tmp_path):
    (tmp_path / "here").mkdir()
    source = tmp_path / "here" / "own.yaml"
    source.write_text("name: own\nbase: own.npz\n")
    answer = fly64("design", "init", tmp_path / "other.yaml", study=source)
    assert answer.exit_code == 2
    assert f"relative to {source.parent}" in answer.output
    assert fly64("design", "init", source.with_name("other.yaml"), study=source).exit_code == 0


def test_the_design_is_shown_with_its_defaults(fly64):
    document = load_design("demo").to_dict()
    assert yaml.safe_load(fly64("design", "show").output) == json.loads(json.dumps(document))
    assert json.loads(fly64("design", "show", "--json").output) == json.loads(json.dumps(document))


def test_open_names_what_is_not_there(fly64):
    answer = fly64("open")
    assert answer.exit_code == 1
    assert "`fly64 report` writes one" in answer.output or "has no base" in answer.output
    closed = fly64("open", "ui", "--port", 1)
    assert closed.exit_code == 1
    assert "start it with `fly64 ui --port 1`" in closed.output
