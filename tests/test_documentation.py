"""The documentation points at what exists: files behind relative links, and paths of the repository."""

import re
from pathlib import Path

import pytest

from fly64_assets.cli.driver.schedule import PHASES
from fly64_assets.study.table import JOBS, STAGES, job_assets

ROOT = Path(__file__).parents[1]
PAGES = sorted(page for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")] if "_build" not in page.parts)

LINK = re.compile(r"\]\(([^)\s]+)\)")
PATH = re.compile(r"`((?:[\w.]+/)*[\w.]+\.py|(?:fly64_assets|tests|benchmarks|docs)/[\w./]*)`")
MODULE = re.compile(r"fly64_assets(?:\.\w+)+")
ANY_FOLDER = ("", "fly64_assets/", "fly64_assets/pinn/")
"""Where a path in the text starts: the repository, the package, or, on the page of the networks, `pinn/`."""


def anchors(page):
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page):
    for link in LINK.findall(page.read_text()):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_and_modules_exist(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    for path in PATH.findall(text):
        assert any((ROOT / start / path).exists() for start in ANY_FOLDER), path
    for module in MODULE.findall(page.read_text()):
        parents = [module, module.rpartition(".")[0]]  # the last name may be an attribute
        files = [ROOT / (name.replace(".", "/") + ending) for name in parents for ending in (".py", "/__init__.py")]
        assert any(file.exists() for file in files), module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_holds_two_versions_of_a_merge(page):
    assert re.findall(r"^(?:<{7} |>{7} |={7}$).*", page.read_text(), re.M) == []


def test_every_page_is_listed():
    index = (ROOT / "docs/README.md").read_text()
    pages = {str(page.relative_to(ROOT / "docs")) for page in PAGES if page.is_relative_to(ROOT / "docs")}
    of_the_site = {"README.md", "index.md", "project/changelog.md", "project/contributing.md"}
    assert pages - of_the_site <= set(LINK.findall(index))


def test_the_glossary_lists_every_asset():
    rows = {}
    for line in (ROOT / "docs/reference/glossary.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 6 and cells[0].startswith("`"):
            rows[cells[0].strip("`")] = cells[1:]
    assert list(rows) == list(STAGES)
    for asset, stage in STAGES.items():
        kind, _, method, phase, jobs = rows[asset]
        said = f"`{stage.method}`" if stage.method else ""
        assert (kind, method) == (f"`{stage.kind}`", said + " (on request)" * stage.on_request)
        assert [phase.strip("`")] == [name for name, kinds in PHASES.items() if stage.kind in kinds]
        assert re.findall(r"`(\w+)`", jobs) == [job for job in JOBS if asset in job_assets(job)]


def test_names_in_contributing_exist():
    names = set(re.findall(r"`(_[a-z_]+|[A-Z_]{4,}|[A-Z][a-z]+[A-Z]\w+)`", (ROOT / "CONTRIBUTING.md").read_text()))
    code = "\n".join(path.read_text() for top in ("fly64_assets", "tests") for path in (ROOT / top).rglob("*.py"))
    assert names
    assert {name for name in names if not re.search(rf"^\s*(?:def |class )?{name}\b", code, re.M)} == set()
