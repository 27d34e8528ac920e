"""Fault injection: a real tiny study, faults while its stages run, and a ledger of what came of them.

``make test`` runs a short form, ``make faults`` (``FLY64_FAULTS=full``) all of it; that writes the table of faults to
the file that ``FLY64_FAULTS_TABLE`` names.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.ledger import Ledger
from faults.study import CHAIN, STUDY, Reference, Study, Zygote

_LEDGER = Ledger()


@pytest.fixture(scope="session")
def ledger() -> Ledger:
    return _LEDGER


def pytest_runtest_teardown() -> None:
    """Write the table after every test, so that an interrupted session leaves one too."""
    target = os.environ.get("FLY64_FAULTS_TABLE")
    if target and (_LEDGER.faults or _LEDGER.inputs):
        Path(target).write_text(_LEDGER.table())


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    one = Zygote()
    yield one
    one.stop()


@pytest.fixture(scope="session")
def reference(zygote: Zygote) -> Iterator[Reference]:
    """The tiny study built without any fault. In short form up to the view."""
    # Not below pytest's own folder: others than its owner must be able to reach it.
    scratch = Path(tempfile.mkdtemp(prefix="fly64_faults_"))
    scratch.chmod(0o755)
    folder = scratch / "reference"
    folder.mkdir()
    (folder / "study.yaml").write_text(STUDY)
    study = Study(zygote, folder)
    points = {}
    for key in CHAIN:
        answer = study.run(key)
        assert answer.get("ok"), f"{key.label}: {answer}\n{folder.with_suffix('.log').read_text()[-3000:]}"
        points[key] = answer["points"]
    built = Reference(study, study.hashes(), points, scratch)
    # The last stage, built once more, writes less than it did first.
    again = built.copy()
    again.forget(CHAIN[-1])
    points[CHAIN[-1]] = again.run(CHAIN[-1])["points"]
    yield built
    shutil.rmtree(scratch, ignore_errors=True)
