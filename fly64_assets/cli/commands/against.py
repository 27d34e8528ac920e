"""Summaries of other studies for ``fly64 report --against``: where they lie, read with care."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

from fly64_assets.cli.console import fail
from fly64_assets.store.artifacts import ArtifactStore
from fly64_assets.study.states import active_layout

SUMMARY: Final = "metrics_summary.json"
_NAME: Final = re.compile(r"[a-z0-9_]{1,100}")
_NEEDED: Final = ("study", "cells", "design", "provenance")


def other_summary(store: ArtifactStore, other: str) -> dict[str, Any]:
    """Summary of the study meant by a name in the same data root, a folder or a file; one sentence if there is none."""
    path = Path(other)
    places = [path, path / SUMMARY, path / "report" / SUMMARY]
    if _NAME.fullmatch(other):
        neighbour = ArtifactStore(store.data_root, other)
        if neighbour.active_base() is not None:
            places.append(active_layout(neighbour).report_folder / SUMMARY)
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        looked = ", ".join(str(place) for place in places)
        fail(f"no report to compare with at {looked}; run `fly64 report` there first")
    return read_summary(found)


def read_summary(path: Path) -> dict[str, Any]:
    """A study's ``metrics_summary.json``; one sentence if it is none."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        fail(f"{path} cannot be read as the summary of a study: {error}")
    if not isinstance(document, dict) or any(name not in document for name in _NEEDED):
        fail(f"{path} is no summary of a study: expected the members {', '.join(_NEEDED)}; run `fly64 report` there")
    return document
