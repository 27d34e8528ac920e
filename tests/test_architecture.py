"""The structure of the package: documented layers, no import circles, Dagster apart, no long files."""

import graphlib
import re
import tomllib
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "fly64_assets"
MOST_LAYERS, MOST_LINES = 9, 400
MOST_PARTS = 21
"""Packages and modules at the top, one of them for all formats; one more for each new method's package."""


def contract_layers():
    """Layers of the import contract, top first, each as the set of its packages and modules."""
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    contract = next(one for one in tool["contracts"] if one["type"] == "layers")
    return [set(re.findall(r"fly64_assets\.(\w+)", layer)) for layer in contract["layers"]]


def documented_layers():
    """Layers of the table in architecture.md, top first."""
    text = (ROOT / "docs/explanation/architecture.md").read_text()
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", text, re.M)
    assert [int(number) for number, _ in rows] == list(range(len(rows), 0, -1))
    return [{name.removesuffix(".py").rstrip("/") for name in re.findall(r"`([^`]+)`", cell)} for _, cell in rows]


def parts():
    """Packages and modules directly under the package."""
    found = {path.stem for path in PACKAGE.glob("*.py")} | {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    return found - {"__init__"}


@pytest.fixture(scope="module")
def graph():
    return grimp.build_graph("fly64_assets", exclude_type_checking_imports=False, cache_dir=None)


def test_the_documented_layers_are_those_of_the_import_contract():
    assert documented_layers() == contract_layers()
    assert len(contract_layers()) <= MOST_LAYERS


def test_every_part_of_the_package_has_its_layer():
    assert set.union(*contract_layers()) == parts()
    assert len(parts()) <= MOST_PARTS


def test_no_module_imports_itself_by_way_of_others(graph):
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    graphlib.TopologicalSorter(imports).prepare()


def test_no_file_is_long():
    long = {
        str(path.relative_to(ROOT)) for path in PACKAGE.rglob("*.py") if len(path.read_text().splitlines()) > MOST_LINES
    }
    assert long == set()
