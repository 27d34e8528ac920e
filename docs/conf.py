"""Sphinx configuration of the documentation site: ``make docs`` builds it into ``docs/_build/html``, without a network.

Markdown by MyST, notebooks (percent scripts in ``notebooks``) by myst-nb, the Python interface by autodoc and numpydoc
docstrings, equations as MathML, which browsers draw without a script.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "_extensions"))

from fly64_assets import __version__  # noqa: E402

project = "fly64_assets"
author = "The fly64_assets developers"
copyright = f"2026, {author}"  # noqa: A001
version = release = __version__

extensions = ["myst_nb", "mathml", "sphinx.ext.autodoc", "numpydoc", "sphinx_copybutton"]
root_doc = "index"
source_suffix = {".md": "myst-nb", ".py": "myst-nb"}
nb_custom_formats = {".py": ["jupytext.reads", {"fmt": "py:percent"}]}
nb_execution_mode = "cache"
nb_execution_cache_path = str(DOCS / "_build" / ".jupyter_cache")
nb_execution_raise_on_error = True
nb_execution_timeout = 1800
nb_merge_streams = True
exclude_patterns = ["_build", "README.md", "conf.py", "generate.py", "_extensions", "_figures", "_reference"]
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist", "attrs_inline"]
myst_heading_anchors = 4
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
autodoc_typehints = "none"  # the docstrings give shapes, dtypes and units
autodoc_member_order = "bysource"
python_display_short_literal_types = True
html_math_renderer = "mathml"

html_theme = "furo"
html_title = "fly64_assets"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}
copybutton_exclude = ".linenos, .gp, .go"

OUTSIDE = {"CONTRIBUTING.md": "project/contributing.md", "CHANGELOG.md": "project/changelog.md"}
"""Files of the repository that are pages of the site: links to them lead there."""


def _read(_app: Sphinx, docname: str, source: list[str]) -> None:
    """The index begins with ``docs/README.md``; pages of the project with their file; links to both lead to pages.

    In tables a value keeps its error beside it.
    """
    text = source[0]
    if docname == "index":
        table = (DOCS / "README.md").read_text(encoding="utf-8")
        text = re.sub(r"\[[\w/.-]+\.md\]\(", "[](", table) + text  # titles instead of paths
    for name, page in OUTSIDE.items():
        if f"{docname}.md" == page:
            text = (DOCS.parent / name).read_text(encoding="utf-8")
            text = re.sub(r"\]\(docs/", "](/", text)
        text = re.sub(rf"\]\((?:\.\./)*{re.escape(name)}", f"](/{page}", text)
    # A value stays on one line with its error, also in a narrow column.
    source[0] = re.sub(r"^\|.*\|$", lambda row: row[0].replace(" ± ", "\u00a0±\u00a0"), text, flags=re.MULTILINE)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect what is read with where it stands in the repository."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True}
