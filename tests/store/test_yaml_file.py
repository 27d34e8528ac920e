"""YAML as people mean it: keys are names, a key stands once, and what can be meant in two ways is refused."""

import contextlib
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fly64_assets.cli.commands.ptychopinn import broken_rules
from fly64_assets.errors import DesignError
from fly64_assets.ptychopinn.configuration import LegacyConfigError
from fly64_assets.ptychopinn.importing import read_configuration
from fly64_assets.store.yaml_file import YamlError, read_mapping, yaml_text
from fly64_assets.study.design import StudyDesign, load_design


def read(tmp_path, text):
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="utf-8")
    return read_mapping(path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: 1\nb: 2\na: 3", "a stands twice, in lines 1 and 3;"),
        ("a: {b: 1, b: 1}", "a.b stands twice, in line 1;"),
        ("a:\n  b:\n    c: 1\n    c: 2", "a.b.c stands twice, in lines 3 and 4;"),
        ("a: 1\na: 2\na: 3", "a stands 3 times, in lines 1 and 2, 3;"),
        ("a: [{b: 1}, {b: 2, b: 3}]", "a.b stands twice"),
        ("1: a\n'1': b", "1 stands twice, in lines 1 and 2;"),
        ("a: 1\n\"a\": 2", "a stands twice"),
        ('{"a": 1,\n "a": 1}', "a stands twice, in lines 1 and 2;"),
        ("a: &a {k: 1, k: 2}\nb: *a", "a.k stands twice"),
        ("b: &b {x: 1}\nc: &c {y: 1}\nd: {<<: *b, <<: *c}", "d.<< stands twice"),
        ("a: 0100", "line 1: a = 0100 begins with a zero, which some programs read as an octal number; write 100, or"),
        ("b: 1\na: [1, -007]", "line 2: a = -007 begins with a zero"),
        ("a: 08", "write 8, or '08' in quotes"),
        ("a: 00", "write 0, or"),
        ("a: !!int '0100'", "a = 0100 begins with a zero"),
        ("a: 1:30", "line 1: a = 1:30 is a number to the base 60"),
        ("a: 1:30:00.5", "base 60"),
        ("a: !!int '1:30'", "base 60"),
        ("name: no", "line 1: name = no is false for some programs and a word for others; write false, or 'no'"),
        ("a: Yes", "write true, or 'Yes' in quotes"),
        ("a: [on, OFF]", "a = on is true"),
        ("? [a, b]\n: 1", "line 1: a list or a mapping stands where the name of a field is expected"),
        ("- 1", "expected a mapping of fields, found a list"),
        ("", "expected a mapping of fields, found nothing"),
        ("a: 1\n---\na: 2", "expected a single document"),
    ],
)  # fmt: skip
def test_what_can_be_meant_in_two_ways_is_refused(tmp_path, text, sentence):
    with pytest.raises(YamlError) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith("x.yaml: ")
    assert sentence in str(caught.value)


def test_every_doubt_is_named_at_once(tmp_path):
    with pytest.raises(YamlError) as caught:
        read(tmp_path, "a: 0100\na: no\nb: {c: 1:30, c: 2}\n")
    assert len(caught.value.problems) == 5


def test_values_are_what_people_mean(tmp_path):
    text = (
        "{a: 1e5, b: 1.0e9, c: 1_000, d: 0x10, e: 0o17, f: -.5, g: 5., h: 2024-01-01, i: 'no', j: 09.5, k: '0100', l: }"
    )
    assert read(tmp_path, text) == {
        "a": 1e5, "b": 1e9, "c": 1000, "d": 16, "e": 15, "f": -0.5, "g": 5.0, "h": "2024-01-01", "i": "no", "j": 9.5,
        "k": "0100", "l": None,
    }  # fmt: skip


@pytest.mark.parametrize("path", [Path("training_outputs"), Path("/data/a b/c.npz")])
def test_a_path_that_python_dumped_is_its_text(tmp_path, path):
    assert read(tmp_path, yaml.dump({"output_dir": path})) == {"output_dir": str(path)}


@pytest.mark.parametrize("parts", ["{a: b}", "x", "[[1], 2]"])
def test_no_other_object_comes_of_a_path(tmp_path, parts):
    with contextlib.suppress(YamlError):
        assert isinstance(read(tmp_path, f"a: !!python/object/apply:pathlib.PosixPath {parts}")["a"], str)


def test_a_key_is_the_text_that_is_written(tmp_path):
    text = "no: 1\n1e3: 2\n0100: 3\n~: 4\n2024-01-01: 5\n1:30 : 6\ntrue: 7\n"
    assert list(read(tmp_path, text)) == ["no", "1e3", "0100", "~", "2024-01-01", "1:30", "true"]


def test_a_merged_mapping_may_be_overridden(tmp_path):
    assert read(tmp_path, "a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}")["b"] == {"x": 3, "y": 2}


words = st.sampled_from(["no", "1e3", "0100", "1:30", "0o7", "~", "", "<<", "=", "1_0", "12e03", "2024-01-01"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words | st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(words | st.text(max_size=4), values, max_size=4))
def test_what_is_written_is_read_back_by_this_reader_and_by_others(tmp_path_factory, document):
    path = tmp_path_factory.getbasetemp() / "written.yaml"
    path.write_text(yaml_text(document), encoding="utf-8", newline="")
    assert read_mapping(path) == document
    assert yaml.safe_load(yaml_text(document)) == document


CASES = [
    ("name: a\ndose_list: [1.0e+3]\ndose_list: [1.0e+5]\n", "dose_list stands twice, in lines 2 and 3"),
    ("name: a\noverlap_views: {dense: 0.7, dense: 0.2}\n", "overlap_views.dense stands twice, in line 2"),
    ("name: a\npinn: {epochs: 5}\npinn: {width: 4}\n", "pinn stands twice, in lines 2 and 3"),
    ("dose_list: [0100]\n", "dose_list = 0100 begins with a zero"),
    ("dose_list: [1:30]\n", "dose_list = 1:30 is a number to the base 60"),
]


@pytest.mark.parametrize(("text", "sentence"), CASES)
def test_a_design_and_a_configuration_are_read_so(tmp_path, text, sentence):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(DesignError, match=sentence):
        load_design(path)
    with pytest.raises(LegacyConfigError, match=sentence):
        read_configuration(path, StudyDesign().rng_seeds, broken_rules)


def test_views_are_named_as_they_are_written(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("overlap_views: {no: 0.7, 1: 0.5, 0100: 0.2}\n")
    assert load_design(path).views == ("baseline", "no", "1", "0100")
