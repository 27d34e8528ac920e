"""What Dagster's catalogue shows of an asset beside its results: where its code is, its columns, how many rows it has.

Does not belong here: pictures and numbers of a result (``assets``).
"""

import importlib.util
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import dagster as dg

from fly64_assets.automation.run_tags import asset_key
from fly64_assets.contract import schema
from fly64_assets.evaluation.report.summary import TABLE_COLUMNS, TABLE_NUMBERS
from fly64_assets.evaluation.scores.compare import CSV_COLUMNS
from fly64_assets.store.records import StageRecord
from fly64_assets.study.table import Stage

CODE: Final = "dagster/code_references"
COLUMNS: Final = "dagster/column_schema"
ARRAYS: Final = "data_001_arrays"
PARTITION_ROWS: Final = "dagster/partition_row_count"

ENGINE_JOBS: Final = {"training": "train_job", "inference": "infer_job", "reconstruction": "reconstruct_job"}
"""What an engine runs, by the kind of the stage."""

TABLES: Final = {"comparison": CSV_COLUMNS, "report": TABLE_COLUMNS}
"""Columns of the table of scores that a kind of stage writes."""

MEANINGS: Final = {
    "dose": "Photons per frame that reach the detector.",
    "view": "Overlap view of the scan; baseline is the full scan.",
    "repeat": "Repeat of the study, from 1: other noise, other training.",
    "split": "Half of the scan: networks learn on train, all methods reconstruct both.",
    "frames": "Frames of this half and view.",
    "photons_per_pixel": "Photons by which an evaluated object pixel was seen, on average.",
    "covered_fraction": "Part of the scanned area that is illuminated well enough to be evaluated.",
    "linear_overlap": "1 - d/D of nearest probes, mean; D holds half of the probe's energy; negative for a gap.",
    "linear_overlap_low": "The same for the tenth of the positions that overlap least (10 % quantile).",
    "linear_overlap_six": "Mean of 1 - d/D over the six nearest probes.",
    "area_overlap_six": "Mean area that discs of this diameter share with the six nearest, as a fraction of one.",
    "linear_overlap_energy_90": "1 - d/D of nearest probes, where D holds 90 % of the probe's energy.",
    "linear_overlap_fwhm": "1 - d/D of nearest probes, where D is the full width at half maximum of the intensity.",
    "window_overlap": "1 - d/N of nearest windows of N pixels.",
    "limit": "State of the photon limit: regular, or why there is none.",
    "arm": "Method, or a reference such as the uniform object (flat).",
    "part": "What is scored: phase, amplitude, or the complex object.",
    "metric": "Name of the score.",
    "value": "The score; empty where there is none.",
    "reason": "Why there is no value.",
}


ARRAYS_OF_FRAMES: Final = {
    schema.FRAMES: ("(n, N, N)", "Amplitudes of the frames, the square roots of counts over the intensity scale."),
    schema.OBJECT: ("(H, W)", "The true object; ones where there is none. Reconstructions see its shape alone."),
    schema.PROBE: ("(N, N)", "The probe; (M, N, N) with several incoherent modes."),
    schema.XCOORDS: ("(n,)", "Columns of the window centres [px]."),
    schema.YCOORDS: ("(n,)", "Rows of the window centres [px]."),
    schema.SCAN_INDEX: ("(n,)", "Index of each frame in the unsplit scan."),
    schema.PATCHES: ("(n, N, N)", "The true object window of every frame, with `patches: true`."),
    schema.BAD_PIXELS: ("(N, N)", "True where the detector did not measure; absent where it measured everywhere."),
}
"""Arrays of a DATA-001 file with their shapes and meanings; dtypes are those of the contract."""

WATCHED: Final = "watched_folder"


def watched_folder(folder: Path) -> dg.AssetSpec:
    """The folder in which the sensor looks for new bases: where the lineage begins, outside of this code location."""
    return dg.AssetSpec(
        asset_key(WATCHED),
        description="The folder that the sensor `new_base_npz` watches (FLY64_INBOX). Every new base file in it is "
        "imported, one at a time, and becomes the base of the study; each file is noted here when its import begins.",
        group_name="data",
        kinds={"file"},
        owners=["team:fly64_assets"],
        metadata={"folder": dg.MetadataValue.path(str(folder))},
    )


def definition_metadata(stage: Stage, function: Callable[..., Any]) -> dict[str, Any]:
    """Metadata of an asset's definition: links to the function that does the work, and the columns of its table."""
    metadata: dict[str, Any] = {CODE: code_of(stage, function)}
    if stage.kind in TABLES:
        metadata[COLUMNS] = columns(TABLES[stage.kind])
    if stage.kind in ("simulated", "view"):
        metadata[ARRAYS] = dg.MetadataValue.table_schema(arrays())
    return metadata


def arrays() -> dg.TableSchema:
    """Arrays of a file of frames, each with its dtype and shape."""
    found = ARRAYS_OF_FRAMES.items()
    return dg.TableSchema([dg.TableColumn(key, f"{schema.DTYPES[key]} {shape}", text) for key, (shape, text) in found])


def code_of(stage: Stage, function: Callable[..., Any]) -> dg.CodeReferencesMetadataValue:
    """The asset's function, and for an engine the job that its process runs; no engine is imported."""
    references = [_reference(Path(inspect.getfile(function)), function.__name__, "what the asset does")]
    if stage.engine:
        spec = importlib.util.find_spec(stage.engine)
        assert spec is not None
        assert spec.origin is not None
        references.append(_reference(Path(spec.origin), ENGINE_JOBS[stage.kind], "what its engine runs"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.CodeReferencesMetadataValue(code_references=[*references])


def _reference(file: Path, name: str, label: str) -> dg.LocalFileCodeReference:
    lines = file.read_text(encoding="utf-8").splitlines()
    line = next(number for number, text in enumerate(lines, 1) if text.startswith(f"def {name}("))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.LocalFileCodeReference(file_path=str(file), line_number=line, label=f"{label}: {name}")


def columns(names: Sequence[str]) -> dg.TableSchema:
    """Columns of a table of scores, with their types and meanings."""
    types = {int: "int", float: "float"}
    return dg.TableSchema(
        [dg.TableColumn(name, types.get(TABLE_NUMBERS.get(name, str), "string"), MEANINGS[name]) for name in names]
    )


def row_counts(records: Sequence[StageRecord]) -> dict[str, int]:
    """Frames of a partition, over both halves and all repeats; nothing for stages without frames, or skipped ones."""
    counts = [count for record in records for count in _frames(record)]
    return {PARTITION_ROWS: sum(counts)} if counts else {}


def _frames(record: StageRecord) -> list[int]:
    values: Mapping[str, Any] = record.values
    if record.outcome != "succeeded":
        return []
    if record.key.stage == "simulated":
        return [int(value) for name, value in values.items() if name in ("frames_train", "frames_test")]
    if record.key.stage == "view":
        return [int(facts["n_accepted"]) for facts in values["splits"].values() if facts["outcome"] == "succeeded"]
    return []
