"""Code blocks of the documentation do what their pages say: Python runs, designs load, tutorials work line by line.

That each command exists with its options is tested in ``test_documented_commands.py``. `make docs-test` carries the
tutorials out in full, which takes minutes for each; otherwise what builds a study is left out.
"""

import os
import re
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import yaml
from fixtures.docs_blocks import DOCS, PAGES, ROOT, blocks, lines

from fly64_assets.study.design import StudyDesign, load_design

FULL = os.environ.get("FLY64_TUTORIALS") == "full"
TUTORIALS = sorted((DOCS / "tutorials").glob("*.md"))

ELSEWHERE = {
    "docs/how-to/alerts.md": "tests/automation/test_alerts.py",
    "docs/explanation/comparison.md": "needs the table of a study: docs/notebooks/reading-a-study.py",
    "docs/reference/python.md": "tests/api/test_page.py",
    "docs/tutorials/first-study.md": "needs the study: `make docs-test`",
}
"""Pages with Python that is run by another test, and by which."""

BUILDS = re.compile(r" (run|twin|ui|export|verify|status)\b|scan\.yaml base import")
"""Commands that build a study, or need one that is built."""
NOT_HERE = re.compile(r"^(make |export |git )")
"""Commands of the installation, which this environment is the result of."""


def relative(page):
    return page.relative_to(ROOT).as_posix()


WITH_PYTHON = [page for page in PAGES if any(block.language == "python" for block in blocks(page))]
DESIGNS = [
    (page, number)
    for page in PAGES
    for number, block in enumerate(blocks(page))
    if block.language == "yaml" and re.search(r"^name: ", block.text, re.M)
]


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in WITH_PYTHON if relative(page) not in ELSEWHERE], ids=relative)
def test_the_python_of_a_page_runs_from_top_to_bottom(page, tmp_path):
    """In a process and a folder of its own; warnings are errors, as in all tests."""
    script = "\n".join(block.text for block in blocks(page) if block.language == "python")
    (tmp_path / "page.py").write_text(script)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("FLY64", "DAGSTER"))}
    ended = subprocess.run(
        [sys.executable, "page.py"],
        cwd=tmp_path,
        env=clean | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr


def test_pages_whose_python_runs_elsewhere_have_some():
    assert set(ELSEWHERE) <= {relative(page) for page in WITH_PYTHON}


@pytest.mark.parametrize(
    ("page", "number"), DESIGNS, ids=lambda value: relative(value) if isinstance(value, Path) else str(value)
)
def test_every_design_of_a_page_loads(page, number, tmp_path):
    text = blocks(page)[number].text
    if not set(yaml.safe_load(text)) <= {field.name for field in fields(StudyDesign)}:
        pytest.skip("no design of a study: a document of another program")
    np.save(tmp_path / "bad_pixels.npy", np.zeros((64, 64), np.uint8))
    (tmp_path / "design.yaml").write_text(text)
    for name in re.findall(r"^base: (\S+\.npz)", text, re.M):
        (tmp_path / name).touch()
    assert load_design(tmp_path / "design.yaml").name


@pytest.mark.slow
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_works_line_by_line_in_an_empty_folder(page, tmp_path):
    """Files that a block names are written, scripts run, commands are carried out one after another."""
    (tmp_path / "home").mkdir()
    work = tmp_path / "work"
    work.mkdir()
    hidden = ("FLY64_STUDY", "FLY64_DATA_ROOT", "DAGSTER_HOME", "FLY64_TUTORIALS")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment |= {"PATH": path, "HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}

    def run(line):
        ended = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line],
            cwd=work,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, f"{line}\n{ended.stdout}\n{ended.stderr}"

    if page.stem == "dagster" and FULL:  # it begins where the first study has ended
        _run_page(DOCS / "tutorials/first-study.md", work, run)
    carried_out = _run_page(page, work, run)
    assert carried_out or page.stem == "dagster"


def _run_page(page, work, run):
    carried_out = []
    for block in blocks(page):
        if block.file:
            (work / block.file).write_text(block.text)
        if block.language == "python" and (FULL or relative(page) not in ELSEWHERE):
            run(f"{shlex.quote(sys.executable)} {block.file}")
        if block.language:
            continue
        for line in lines(block):
            if NOT_HERE.match(line) or (BUILDS.search(line) and not FULL):
                continue
            # The UI stays until it is told to end; SIGINT is what Ctrl-C sends.
            run(f"timeout --signal INT 60 {line} || [ $? = 124 ]" if line.endswith(" ui") else line)
            carried_out.append(line)
    return carried_out


def test_troubleshooting_quotes_sentences_that_the_code_says():
    page = (DOCS / "how-to/troubleshooting.md").read_text()
    said = re.sub(r"\\(.)", r"\1", (DOCS / "reference/codes.md").read_text())
    quoted = [text for row in re.findall(r"^\| (\*.*?) \|", page, re.M) for text in re.findall(r"\*([^*]{10,})\*", row)]
    assert len(quoted) > 12
    verdicts = {"worse than the uniform object"}  # of reports
    assert [text for text in quoted if text not in said and text not in verdicts] == []
