"""The manifests of a study: views over the stage records on disk, rebuilt on demand.

Because they are derived from every record of a layout, running one cell cannot erase another. All paths in them are
POSIX and relative to the manifest's own folder, so a copied study stays readable.

Nothing belongs here that is not already in a record. They read these ``values`` of the records (null where a
record has none):

=================  ==================================================================================================
stage              values
=================  ==================================================================================================
``base``           of measured frames: :data:`CALIBRATION_FACTS`
``view``           ``splits``: {``train``: {``outcome``, ``reason``, ``selection_strategy``, ``acceptance_rate``,
                   ``spacing_threshold`` [px], ``n_accepted``, ``n_rejected``, ``n_offered``}, ``test``: {...}}
``training``       ``final_loss``, ``epochs_completed``, ``backend`` (otherwise the method's name)
``reconstruction`` ``algorithm``, ``epochs_run``, ``stop_reason``, ``returncode``; optional ``num_epochs`` (the epochs
                   requested; otherwise ``epochs`` of the method's section of the record's parameters)
=================  ==================================================================================================
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from fly64_assets.errors import ArtifactError
from fly64_assets.physics.scan import SPLITS
from fly64_assets.store.atomic import explained, make_folder
from fly64_assets.store.hashing import json_bytes
from fly64_assets.store.integrity import checksums
from fly64_assets.store.keys import Cell, Half
from fly64_assets.store.layout import Layout
from fly64_assets.store.locks import file_lock
from fly64_assets.store.machine import now
from fly64_assets.store.records import StageRecord, find_records
from fly64_assets.store.sidecars import Provenance, read_sidecar, verified, write_artifact
from fly64_assets.study.design import StudyDesign
from fly64_assets.study.stages import study_keys
from fly64_assets.study.table import Key

SPLIT_FIELDS: Final = ("selection_strategy", "acceptance_rate", "spacing_threshold", "n_accepted", "n_rejected")

CALIBRATION_FACTS: Final = (
    "measured_photons",
    "frames",
    "calibration_seconds",
    "stop_reason",
    "kept_epoch",
    "deviance",
    "expected_deviance",
    "halves_frc_half_bit_px",
    "largest_position_shift_px",
)
"""Values of the record of a base with measured frames: how many photons there were, and how good the calibration is."""

Records = Sequence[StageRecord]


def write_manifests(
    layout: Layout, design: StudyDesign, filters: Mapping[str, Any] = MappingProxyType({})
) -> tuple[Path, ...]:
    """Rebuild all manifests and ``SHA256SUMS`` from the records on disk.

    ``design`` tells which reconstructions are missing; ``filters`` of the run that asked, for example
    ``{"dose": [1000]}``, are recorded, never applied. Returns the files, ``SHA256SUMS`` last. A file whose content
    apart from its timestamp is unchanged is left alone.
    """
    with explained(layout.manifests_lock):
        make_folder(layout.folder)
    with file_lock(layout.manifests_lock, "manifests"):
        records = find_records(layout)
        documents = {
            "training": training_manifest(layout, records, filters),
            "reconstruction": reconstruction_manifest(layout, records, design, filters),
            "skip_summary": skip_summary(records),
            "run": run_manifest(layout, records),
            "overlap": overlap_manifest(layout, records),
        }
        provenance = Provenance(design_sha256=design.sha256())
        paths = [layout.manifest(name) for name in documents]
        for path, document in zip(paths, documents.values(), strict=True):
            _write_if_changed(layout, path, document, provenance)
        content = checksums(layout)
        if not _holds(layout.checksums, lambda present: present == content):
            write_artifact(layout, layout.checksums, lambda file: file.write(content), provenance)
    return (*paths, layout.checksums)


def training_manifest(layout: Layout, records: Records, filters: Mapping[str, Any]) -> dict[str, Any]:
    """``training_manifest.json``: one job per training that ran, and the views that could not be trained on."""
    trainings = [record for record in records if record.key.stage == "training"]
    skipped = _skips([*_of(records, "view"), *trainings])
    return {
        "timestamp": now(),
        "filters": dict(filters),
        "jobs": [_training_job(layout, record) for record in trainings if record.outcome != "skipped"],
        "skipped_views": skipped,
        "skipped_count": len(skipped),
        "skip_summary_path": _relative(layout, layout.manifest("skip_summary")),
    }


def reconstruction_manifest(
    layout: Layout, records: Records, design: StudyDesign, filters: Mapping[str, Any]
) -> dict[str, Any]:
    """``reconstruction_manifest.json``: one job and one result per iterative reconstruction on disk."""
    done = _of(records, "reconstruction")
    present = {record.key for record in done}
    wanted = [key for key in study_keys(design) if key.stage == "reconstruction" and key not in present]
    views = {_cell(record): record for record in _of(records, "view")}
    return {
        "timestamp": now(),
        "filters": dict(filters),
        "total_jobs": len(done),
        "jobs": [_reconstruction_job(layout, record) for record in done],
        "execution_results": [_execution_result(layout, record, views.get(_cell(record))) for record in done],
        "missing_jobs": [
            _coordinates(key) | {"reason": f"{key.label}: not run yet"}
            for key in sorted(wanted, key=lambda key: key.repeat)
        ],
    }


def skip_summary(records: Records) -> dict[str, Any]:
    """``skip_summary.json``: views, or single splits of views, that cannot exist, with the measured reason."""
    skipped = _skips(_of(records, "view"))
    return {"timestamp": now(), "skipped_views": skipped, "skipped_count": len(skipped)}


def run_manifest(layout: Layout, records: Records) -> dict[str, Any]:
    """``run_manifest.json``: the base and, per dose, the files of frames with their hashes.

    ``calibration``, only for a base with measured frames, holds the facts of its record.
    """
    bases = _of(records, "base")
    facts = {name: record.values[name] for record in bases for name in CALIBRATION_FACTS if name in record.values}
    return {
        "timestamp": now(),
        "study": layout.study,
        "base_id": layout.base_id,
        "base": [file for record in bases for file in _files(layout, record.outputs)],
        **({"calibration": facts} if facts else {}),
        "doses": [
            {"dose": record.key.dose, **_result(record), "files": _files(layout, record.outputs)}
            for record in _of(records, "simulated")
        ],
    }


def overlap_manifest(layout: Layout, records: Records) -> dict[str, Any]:
    """``overlap_manifest.json``: per dose and view the frames and overlap metrics with their hashes.

    The baseline view has no frames of its own; its files are the simulated ones.
    """
    rows = []
    for record in _of(records, "view"):
        cell = _cell(record)
        frames = {_relative(layout, layout.view_frames(cell.half(split))) for split in SPLITS}
        shared = {name: sha256 for name, sha256 in record.inputs.items() if name in frames}
        files = _files(layout, {**shared, **record.outputs})
        splits = record.values.get("splits", {})
        rows.append({"dose": cell.dose, "view": cell.view, **_result(record), "splits": splits, "files": files})
    return {"timestamp": now(), "views": rows}


def _training_job(layout: Layout, record: StageRecord) -> dict[str, Any]:
    key, cell = record.key, _cell(record)
    bundle = layout.result(key)
    name = _relative(layout, bundle)
    exists = name in record.outputs
    return {
        "dose": cell.dose,
        "view": cell.view,
        "gridsize": key.gridsize,
        "backend": record.values.get("backend", key.method),
        "train_data_path": _relative(layout, layout.view_frames(cell.half("train"))),
        "test_data_path": _relative(layout, layout.view_frames(cell.half("test"))),
        "artifact_dir": _relative(layout, layout.folder_of(key)),
        "log_path": _output(layout, record, "train.log"),
        "result": {
            "status": record.outcome,
            "final_loss": record.values.get("final_loss"),
            "epochs_completed": record.values.get("epochs_completed"),
            "seconds": record.seconds,
            "bundle_path": name if exists else None,
            "bundle_sha256": record.outputs.get(name),
            "bundle_size_bytes": _size(bundle) if exists else None,
            "error": record.reason if record.outcome == "failed" else None,
        },
    }


def _reconstruction_job(layout: Layout, record: StageRecord) -> dict[str, Any]:
    key = record.key
    half = _cell(record).half(str(key.split))
    asked = next((s.get("epochs") for s in record.parameters.values() if isinstance(s, Mapping)), None)
    return {
        **_coordinates(key),
        "input_npz": _relative(layout, layout.view_frames(half)),
        "output_dir": _relative(layout, layout.folder_of(key)),
        "algorithm": record.values.get("algorithm", key.method),
        "num_epochs": record.values.get("num_epochs", asked),
    }


def _execution_result(layout: Layout, record: StageRecord, view: StageRecord | None) -> dict[str, Any]:
    key = record.key
    split = view.values.get("splits", {}).get(key.split, {}) if view else {}
    return {
        **_coordinates(key),
        "returncode": record.values.get("returncode"),
        "status": record.outcome,
        "log_path": _output(layout, record, "ptychi.log"),
        "epochs_run": record.values.get("epochs_run"),
        "stop_reason": record.values.get("stop_reason") or record.reason or None,
        **{name: split.get(name) for name in SPLIT_FIELDS},
        "sha256": record.outputs.get(_relative(layout, layout.result(key))),
    }


def _skips(records: Iterable[StageRecord]) -> list[dict[str, Any]]:
    """Distinct (dose, view, reason) of skipped records and of skipped splits inside records that exist."""
    rows: dict[tuple[Any, ...], None] = {}
    for record in records:
        dose, view = record.key.dose, record.key.view
        reasons = [record.reason] if record.outcome == "skipped" else []
        if record.outcome == "succeeded":
            splits = record.values.get("splits", {})
            reasons = [str(s.get("reason")) for s in splits.values() if s.get("outcome") == "skipped"]
        rows |= {(dose, view, reason): None for reason in reasons}
    return [dict(zip(("dose", "view", "reason"), row, strict=True)) for row in rows]


def _coordinates(key: Key) -> dict[str, Any]:
    return {"dose": key.dose, "view": key.view, "split": key.split}


def _of(records: Records, stage: str) -> list[StageRecord]:
    return [record for record in records if record.key.stage == stage]


def _cell(record: StageRecord) -> Cell:
    """The cell that a record belongs to, or is a half of."""
    at = record.key.at
    assert isinstance(at, Cell | Half)
    return at.cell if isinstance(at, Half) else at


def _result(record: StageRecord) -> dict[str, Any]:
    return {"repeat": record.key.repeat, "status": record.outcome, "reason": record.reason or None}


def _relative(layout: Layout, path: Path) -> str:
    return path.relative_to(layout.folder).as_posix()


def _output(layout: Layout, record: StageRecord, name: str) -> str | None:
    path = _relative(layout, layout.output(record.key, name))
    return path if path in record.outputs else None


def _files(layout: Layout, hashes: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"path": n, "sha256": digest, "bytes": _size(layout.folder / n)} for n, digest in sorted(hashes.items())]


def _size(path: Path) -> int | None:
    """Size of an artifact by its sidecar; None if that is gone or damaged."""
    try:
        return int(read_sidecar(path)["bytes"])
    except ArtifactError:
        return None


def _write_if_changed(layout: Layout, path: Path, document: dict[str, Any], provenance: Provenance) -> None:
    text = json_bytes(document, path.name)
    expected = {**json.loads(text), "timestamp": None}
    if not _holds(path, lambda present: {**json.loads(present), "timestamp": None} == expected):
        write_artifact(layout, path, lambda file: file.write(text), provenance)


def _holds(path: Path, agrees: Callable[[bytes], bool]) -> bool:
    """Whether an intact artifact is at ``path`` whose content ``agrees``."""
    try:
        verified(path)
        return agrees(path.read_bytes())
    except (ArtifactError, OSError, ValueError, TypeError, RecursionError):
        return False
