"""Every bad input of ``detector_cases``: its finding, the exit status, and both after the option that cures it.

``FLY64_DETECTOR_TABLE`` names a file for the table of what is said.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import tifffile
from click.testing import CliRunner, Result
from faults.detector_cases import BASE, CASES, CHECK, IMPORT, Case, records, sound, write_masks

from fly64_assets.cli.main import main
from fly64_assets.contract.npz import load_dataset

Row = tuple[str, ...]


@pytest.fixture(scope="module")
def table() -> Iterator[list[Row]]:
    rows: list[Row] = []
    yield rows
    if target := os.environ.get("FLY64_DETECTOR_TABLE"):
        head = ("| input | command | says | status | options | status then |", "|---|---|---|---:|---|---:|")
        lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
        Path(target).write_text("\n".join((*head, *lines)) + "\n")


def findings(case: Case, folder: Path, *options: str) -> tuple[int, dict[tuple[str, str], str]]:
    """Exit status of the command, and its findings: (code, severity) to message."""
    file = str(folder / f"{case.name}.npz")
    words = case.command.split()
    given = [str(folder / option) if (folder / option).is_file() else option for option in options]
    out = [str(folder / "out.npz"), "--force"] if case.command == IMPORT else []
    done: Result = CliRunner().invoke(main, [*words, file, *out, *given, "--json"])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    document = json.loads(done.stdout)
    if case.command == IMPORT:
        entries = [entry for entry in document["entries"] if entry["key"] == "(contract)"]
        listed = [(e["value"], e["verdict"].replace("refused", "error"), e["text"]) for e in entries]
    else:
        listed = [(f["code"], f["severity"], f["message"]) for f in document["findings"]]
    found: dict[tuple[str, str], str] = {}
    for code, severity, text in listed:
        found[code, severity] = f"{found[code, severity]} | {text}" if (code, severity) in found else text
    return done.exit_code, found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("detector")
    write_masks(made)
    return made


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_bad_input_is_named_and_its_option_cures_it(case: Case, folder: Path, table: list[Row]) -> None:
    np.savez(folder / f"{case.name}.npz", **case.arrays())
    (folder / "out.npz").unlink(missing_ok=True)
    status, found = findings(case, folder, *case.before)
    key = (case.code, case.severity)
    assert key in found, found
    assert re.search(case.says, found[key].replace(str(folder), ""), re.DOTALL), found[key]
    assert status == case.statuses[0]
    assert (folder / "out.npz").exists() == (case.command == IMPORT and status == 0)
    cured = "–"
    if case.cure:
        after, left = findings(case, folder, *case.before, *case.cure)
        assert key not in left, left
        assert after == case.statuses[1] == 0, left
        cured = str(after)
    said = found[key].replace(f"{folder}/", "")
    table.append(
        (
            case.row,
            f"{case.command} {' '.join(case.before)}".strip(),
            f"{case.severity} {case.code}: {said}",
            str(status),
            " ".join(case.cure) or "–",
            cured,
        )
    )


@pytest.mark.parametrize("command", [IMPORT, CHECK, BASE])
def test_a_sound_input_has_no_finding_about_detector_scan_or_object(command: str, folder: Path) -> None:
    case = Case("sound", "sound", sound, command, "", "", "")
    np.savez(folder / "sound.npz", **sound())
    status, found = findings(case, folder)
    assert not [code for code, _ in found if code.startswith(("DETECTOR", "SCAN", "OBJECT"))], found
    assert status == (1 if command == CHECK else 0), found  # counts are no amplitudes


def test_complex_numbers_as_matlab_has_them_are_converted(folder: Path) -> None:
    made = sound()
    np.savez(folder / "records.npz", **made | {key: records(made[key]) for key in ("objectGuess", "probeGuess")})
    status, found = findings(Case("", "records", sound, IMPORT, "", "", ""), folder)
    assert (status, list(found)) == (0, [])
    np.testing.assert_array_equal(load_dataset(folder / "out.npz").object, made["objectGuess"])


@pytest.mark.parametrize("suffix", ["h5", "cxi", "mat", "npy", "tif"])
def test_a_file_of_another_kind_is_named_with_the_command_that_reads_it(suffix: str, folder: Path) -> None:
    path = folder / f"frames.{suffix}"
    frames = np.ones((3, 8, 8), np.float32)
    if suffix == "npy":
        np.save(path, frames)
    elif suffix == "tif":
        tifffile.imwrite(path, frames, photometric="minisblack")
    elif suffix == "mat":
        scipy.io.savemat(path, {"frames": frames})
    else:
        with h5py.File(path, "w") as file:
            file["frames"] = frames
    done = CliRunner().invoke(main, ["contract", "check", str(path)])
    assert done.exit_code == 1
    assert "fly64 import" in done.output
    assert "fly64 base import" in done.output


def test_masks_and_frames_left_out_are_those_that_were_meant(folder: Path) -> None:
    """The data behind the exit status: what is bad, which frames are left, and the counts that are."""
    for name, options, bad in (
        ("uint32_maximum", ("--mask-value", "MAX"), 129),
        ("hot", ("--mask", "hot_mask.npy"), 1),
        ("valid_pixel_mask", ("--good-pixels", "valid_pixel_mask"), 128),
    ):
        case = next(case for case in CASES if case.name == name)
        np.savez(folder / f"{name}.npz", **case.arrays())
        findings(case, folder, *options)
        made = load_dataset(folder / "out.npz")
        assert made.bad_pixels is not None
        assert np.count_nonzero(made.bad_pixels) == bad
        good = ~made.bad_pixels
        np.testing.assert_array_equal(np.rint(made.diffraction.astype(float) ** 2)[:, good], sound()["diff3d"][:, good])
        assert not made.diffraction[:, made.bad_pixels].any()
    case = next(case for case in CASES if case.name == "empty")
    np.savez(folder / "empty.npz", **case.arrays())
    findings(case, folder, "--drop-frames", "5-6")
    made = load_dataset(folder / "out.npz")
    assert made.scan_index.tolist() == [number for number in range(40) if number not in (5, 6)]
    np.testing.assert_array_equal(made.x, np.delete(sound()["xcoords"], [5, 6]))
    history = [step for step in made.metadata["data_transformations"] if step["operation"] == "drop_frames"]
    assert history[0]["parameters"] == {"frames": "5-6", "number": 2}
