"""Cases from the field: small files that once gave a wrong result, a traceback or a wait without end.

They lie beside the repository, in ``../shared/cases`` or where ``FLY64_CASES`` says; without them nothing is tested.
Each has a README and a ``make.py``; it is made anew here, and the commands of its README run as a user runs them.
``FLY64_CASES_TABLE`` names a file for the table of what they say. ``make faults`` runs whole studies as well.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from faults.study import FULL

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
CASES = Path(os.environ.get("FLY64_CASES", REPOSITORY.parent / "shared" / "cases"))
SECONDS = 3600 if FULL else 300
"""After so long a command counts as one that hangs."""
UNEXPECTED = re.compile(r"Traceback \(most recent call last\)|^\w*Error: [a-z]|\b\w+Error\b: ", re.MULTILINE)
"""A traceback, or the name of an exception before its text."""
OVERLAP = "--gridsize 1 --s-img 1 --n-groups 20"


@dataclass(frozen=True)
class Command:
    """A command on an input of a case, the statuses that it may end with, and what it must say.

    ``before`` is run first, in the same folder.
    """

    case: str
    input: str
    line: str
    statuses: tuple[int, ...]
    says: str
    before: str = ""

    @property
    def name(self) -> str:
        """For reports of the tests."""
        return f"{self.case}: {self.line}"


REFUSED, DONE = (1, 2), (0,)
MAKE = "fly64 base make b.npz --size 66 --positions 4"
COMMANDS = (
    *(
        Command("yaml_duplicate_keys", name, line, REFUSED, f"{key} stands twice, in lines? .*keep one")
        for name, line, key in (
            ("dose.yaml", "fly64 --study dose.yaml plan", "dose_list"),
            ("view.yaml", "fly64 --study view.yaml plan", "overlap_views.dense"),
            ("section.yaml", "fly64 --study section.yaml plan", "pinn"),
            ("legacy.yaml", "fly64 legacy config legacy.yaml", "nphotons"),
        )
    ),
    *(
        Command("dose_is_cut_or_misread", f"{name}.yaml", f"fly64 --study {name}.yaml plan", REFUSED, says)
        for name, says in (
            ("frac", "1.9, 1000.7.*must be a whole number of photons"),
            ("octal", "0100 begins with a zero.*write 100"),
            ("sexagesimal", "1:30 is a number to the base 60.*write it as a decimal number"),
            ("huge", "1e[+]19.*must be a whole number of photons, from 1 to"),
        )
    ),
    Command("corner_centred_probe", "centred.npz", "fly64 base check centred.npz", DONE, "can serve as a base"),
    Command("corner_centred_probe", "corner.npz", "fly64 base check corner.npz", REFUSED, "FFT order"),
    Command("corner_centred_probe", "corner.npz", f"fly64 overlap corner.npz {OVERLAP}", REFUSED, "FFT order"),
    Command(
        "group_metric_counts_copies",
        "iso.npz",
        "fly64 overlap iso.npz --gridsize 1 --s-img 1 --n-groups 512 --probe-diameter-px 12",
        DONE,
        r"metric_3_group_to_group_avg +0\.0",
    ),
    Command("positions_conventions", "metres.npz", f"fly64 overlap metres.npz {OVERLAP}", REFUSED, "leave the object"),
    *(
        Command("positions_conventions", f"{name}.npz", f"fly64 base check {name}.npz", REFUSED, "leave the object")
        for name in ("metres", "from_centre", "corners", "swapped")
    ),
    Command("positions_conventions", "line_scan.npz", "fly64 base check line_scan.npz", DONE, "can serve as a base"),
    *(
        Command("measured_without_object", f"{name}.npz", line, DONE, "")
        for name in ("noobject", "withobject")
        for line in (f"fly64 import {name}.npz {name}_out.npz", f"fly64 resolution {name}.npz")
    ),
    *(
        Command("detector_mask_values", f"{name}.npz", f"fly64 import {name}.npz {name}_out.npz", statuses, says)
        for name, statuses, says in (
            ("u32", REFUSED, "DETECTOR-001.masked.*129 pixels.*--mask-value MAX"),
            ("u16", REFUSED, "DETECTOR-001.masked.*1 pixel.*--mask-value MAX"),
            ("int_m1", REFUSED, "DETECTOR-001.masked.*rows 40-41.*--mask-value -1"),
            ("nan", REFUSED, "DETECTOR-001.masked.*rows 40-41.*--mask-value nan"),
            ("two_dark", DONE, "DETECTOR-001.empty.*5-6.*--drop-frames"),
            ("all_dark", REFUSED, "every value is zero, so nothing was measured"),
            ("gain", DONE, "DETECTOR-001.gain.*--gain 7.3`"),
            ("transposed", DONE, "DETECTOR-001.orientation.*--orientation transpose"),
        )
    ),
    *(
        Command("empty_scan", f"{name}.npz", line, REFUSED, "position")
        for name in ("empty_scan", "one_position")
        for line in (f"fly64 base check {name}.npz", f"fly64 --study {name}.yaml --data-root {name} generate")
    ),
    *(
        Command("foreign_arrays", f"{name}.npz", f"fly64 base check {name}.npz", DONE, "can serve as a base")
        for name in ("records", "macosx", "no_suffix")
    ),
    Command(
        "foreign_arrays", "last_axis.npz", "fly64 base check last_axis.npz", REFUSED, "amplitude and phase: confirm"
    ),
    Command(
        "foreign_arrays",
        "last_axis.npz",
        "fly64 base check last_axis.npz --real-imaginary",
        DONE,
        "can serve as a base",
    ),
    *(
        Command("foreign_arrays", f"{name}.npz", f"fly64 base check {name}.npz", REFUSED, says)
        for name, says in (
            ("large", "complex64 holds at most"),
            ("small", "too small for complex64"),
            ("patch96", "one of 64, 128, 256"),
        )
    ),
    Command("foreign_arrays", "raster4d.npz", "fly64 import raster4d.npz out.npz", DONE, "out.npz: written"),
    *(
        Command(
            "network_file_systems",
            name,
            f"PYTHONPATH={name} fly64 --data-root {name}_root base import b.npz",
            DONE,
            "the file system of .* cannot flush a folder.*another disk.*is the active base"
            if name == "fsync"
            else "the file system of .* keeps no locks .*another disk.*is the active base",
            MAKE,
        )
        for name in ("enolck", "enosys", "fsync")
    ),
    Command(
        "network_file_systems",
        "enosys, a data root made elsewhere",
        "PYTHONPATH=enosys fly64 --data-root made overlap",
        REFUSED,
        "lack their inputs and nothing was started",
        f"{MAKE} --force; fly64 --data-root made base import b.npz",
    ),
    Command("places", "afile", "fly64 --data-root afile/x base import b.npz", REFUSED, "is no folder.*choose", MAKE),
    Command(
        "places",
        "a long name",
        f"fly64 --data-root {'d' * 300} base import b.npz",
        REFUSED,
        "300 bytes.*choose a shorter",
    ),
    Command("places", "afile", "DAGSTER_HOME=$PWD/afile fly64 generate", REFUSED, "DAGSTER_HOME: .* is no folder"),
    Command("places", "afile", "DAGSTER_HOME=$PWD/afile fly64 doctor", REFUSED, "DAGSTER_HOME.* is no folder"),
    Command(
        "places", "home_bad", "DAGSTER_HOME=$PWD/home_bad fly64 generate", REFUSED, "telemetri.*mend its dagster.yaml"
    ),
    Command(
        "places", "home_bad", "DAGSTER_HOME=$PWD/home_bad fly64 doctor", REFUSED, "telemetri.*mend its dagster.yaml"
    ),
    Command(
        "places",
        "the how-to in a new folder",
        "mkdir ci && cd ci && export FLY64_DATA_ROOT=$PWD/data DAGSTER_HOME=$PWD/.dagster && fly64 run --stage base && "
        "dagster definitions validate -m fly64_assets.definitions",
        DONE,
        "Validation successful",
    ),
)


@pytest.fixture(scope="module")
def table() -> Iterator[list[tuple[str, ...]]]:
    """Rows of the table: case, input, command, status, what it says."""
    rows: list[tuple[str, ...]] = []
    yield rows
    if target := os.environ.get("FLY64_CASES_TABLE"):
        head = ("| case | input | command | status | says |", "|---|---|---|---:|---|")
        lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
        Path(target).write_text("\n".join((*head, *lines)) + "\n")


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All cases, made anew in a folder of their own."""
    if not CASES.is_dir():
        pytest.skip(f"the cases are not there: {CASES} is no folder, and FLY64_CASES names no other")
    folder = tmp_path_factory.mktemp("cases")
    for made in sorted(CASES.glob("*/make.py")):
        own = folder / made.parent.name
        own.mkdir()
        shutil.copy(made, own)
        done = execute("python make.py", own)
        assert done.returncode == 0, done.stderr
    return folder


def execute(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command line as a user types it in a folder, with an instance of Dagster of its own."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FLY64_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = {"PATH": path, "DAGSTER_HOME": str(folder / ".dagster"), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    return subprocess.run(
        line, cwd=folder, env=inherited | own, shell=True, capture_output=True, text=True, timeout=SECONDS, check=False
    )


def last_words(done: subprocess.CompletedProcess[str]) -> str:
    """The last line of a command, in which it says how it ended."""
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_a_case_ends_with_a_sentence(command: Command, cases: Path, table: list[tuple[str, ...]]) -> None:
    folder = cases / command.case
    if command.before:
        execute(command.before, folder)
    done = execute(command.line, folder)
    said = done.stdout + done.stderr
    table.append((command.case, command.input, command.line[:120], str(done.returncode), last_words(done)))
    assert not UNEXPECTED.search(said), said[-2000:]
    assert done.returncode in command.statuses, said[-2000:]
    assert re.search(command.says, said, re.DOTALL), said[-2000:]


@pytest.mark.skipif(not FULL, reason="minutes: `make faults` runs it")
def test_a_dense_view_keeps_a_maximal_set(cases: Path, table: list[tuple[str, ...]]) -> None:
    folder, kept = cases / "dense_view_loses_frames", {}
    for n in (350, 400):
        study = f"fly64 --study r{n}.yaml --data-root R"
        line = f"{study} generate && {study} overlap --view dense"
        done = execute(line, folder)
        assert done.returncode == 0, done.stderr
        (bundle,) = folder.glob(f"R/r{n}/*/dose_1000/dense/metrics_bundle.json")
        kept[n] = json.loads(bundle.read_text())["train"]["n_accepted"]
        table.append(("dense_view_loses_frames", f"r{n}.yaml", line, "0", f"train: {kept[n]} frames are kept"))
    assert kept[350] > 80
    assert kept[400] > 80


@pytest.mark.skipif(not FULL, reason="minutes: `make faults` runs it")
def test_the_unit_of_the_probe_changes_no_error(cases: Path, table: list[tuple[str, ...]]) -> None:
    folder, errors = cases / "probe_units", {}
    for unit in ("1", "1em12", "1e20", "1em25"):
        line = f"fly64 --study p_{unit}.yaml --data-root R run --jobs 1"
        done = execute(line, folder)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        (metrics,) = folder.glob(f"R/p_{unit}/*/report/study_metrics.csv")
        rows = [
            r for r in csv.DictReader(metrics.read_text().splitlines()) if (r["part"], r["metric"]) == ("phase", "rmse")
        ]
        errors[unit] = {(r["arm"], r["split"]): float(r["value"]) for r in rows}
        facts = ", ".join(f"{arm} {split} {value:.4f}" for (arm, split), value in errors[unit].items())
        table.append(("probe_units", f"p_{unit}.yaml", line, "0", f"phase RMSE [rad]: {facts}"))
    for unit, found in errors.items():
        assert set(found) == set(errors["1"]), unit
        values = [(found[key], value) for key, value in errors["1"].items()]
        # A probe that is rounded differently moves where the iteration of tv_ml ends.
        np.testing.assert_allclose(*np.transpose(values), rtol=0.02, atol=0.005, err_msg=unit)
