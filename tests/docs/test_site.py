"""The documentation site builds without a warning, loads nothing from other hosts, and says what the code says."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

pytest.importorskip("sphinx", reason="the site needs the packages of the extra `docs`")

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
KINDS = ("tutorials", "notebooks", "how-to", "reference", "explanation", "explanation/results", "project")
LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "embed": "src", "object": "data"}
"""Tags that make a browser load something, with the attribute that says what; of ``link`` some kinds do."""


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The site, built as `make docs` does, with notebooks as they are written (another test runs them)."""
    out = tmp_path_factory.mktemp("site")
    # Strict and complete: every warning is in the output, and any ends the build with 1.
    options = ["--fail-on-warning", "--keep-going", "-q", "-E", "-D", "nb_execution_mode=off", "-b", "html"]
    command = [sys.executable, "-m", "sphinx", *options, "-d", out / "doctrees", DOCS, out / "html"]
    ended = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert ended.returncode == 0, ended.stderr
    return out / "html"


class Loaded(HTMLParser):
    """What a page makes a browser load."""

    def __init__(self):
        super().__init__()
        self.addresses = []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if tag == "link" and {"stylesheet", "icon", "preload", "prefetch", "preconnect", "modulepreload"} & set(
            (found.get("rel") or "").split()
        ):
            self.addresses.append(found.get("href"))
        elif tag in LOADS and found.get(LOADS[tag]):
            self.addresses.append(found[LOADS[tag]])


def sources():
    """Every page of the site, by its path without ending."""
    found = [path for kind in KINDS for path in (DOCS / kind).glob("*") if path.suffix in (".md", ".py")]
    return sorted(path.relative_to(DOCS).with_suffix("").as_posix() for path in found)


@pytest.mark.slow
def test_every_source_is_a_page_and_the_index_leads_to_it(site):
    index = (site / "index.html").read_text()
    assert len(sources()) > 40
    for name in sources():
        assert (site / f"{name}.html").is_file(), name
        assert f'href="{name}.html"' in index, name


@pytest.mark.slow
def test_no_page_loads_anything_from_another_host(site):
    pages = sorted(site.rglob("*.html"))
    for page in pages:
        reader = Loaded()
        reader.feed(page.read_text())
        assert reader.addresses
        for address in reader.addresses:
            assert not address.startswith(("http:", "https:", "//")), f"{page.name}: {address}"
            if not address.startswith("data:"):
                assert (page.parent / address.partition("?")[0].partition("#")[0]).exists(), f"{page.name}: {address}"
    for style in site.rglob("*.css"):
        found = re.findall(r"@import\s+['\"](\S+)['\"]|url\(\s*['\"]?([^)'\"]+)", style.read_text())
        for address in (one or other for one, other in found):
            assert not address.startswith(("http:", "https:", "//")), f"{style.name}: {address}"


@pytest.mark.slow
def test_the_search_works_offline_and_finds_terms_settings_and_codes(site):
    index = (site / "searchindex.js").read_text()
    document = json.loads(index.removeprefix("Search.setIndex(").removesuffix(")"))
    titles = {title for found in document["alltitles"] for title in [found]}
    assert {"Glossary", "DETECTOR-001.hot", "fly64 run"} <= titles
    assert {"complement", "dose_list", "neighbor_count"} <= set(document["terms"])
    assert "searchtools.js" in (site / "search.html").read_text()


@pytest.mark.slow
def test_functions_of_the_python_interface_are_documented_with_their_examples(site):
    page = (site / "reference/api.html").read_text()
    import fly64_assets

    for name in fly64_assets.__all__:
        assert f'id="fly64_assets.{name}"' in page, name
    assert page.count("&gt;&gt;&gt;") > 5 or page.count('class="gp"') > 5
    assert "<math" in (site / "explanation/noise-limits.html").read_text()


def test_generated_pages_are_what_the_code_says():
    ended = subprocess.run(
        [sys.executable, DOCS / "generate.py", "--check"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
