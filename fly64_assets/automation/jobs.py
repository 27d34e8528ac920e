"""Named jobs of the code location: one per partition definition, because a run cannot mix them; the audit, by night."""

from typing import NamedTuple


class Job(NamedTuple):
    """Assets that one job materialises, and what it is for."""

    name: str
    assets: tuple[str, ...]
    description: str


CELL_ASSETS = (
    "overlap_view",
    "pinn_bundle",
    "pinn_reconstruction",
    "lsqml_reconstruction_train",
    "lsqml_reconstruction_test",
    "comparison",
)
LEGACY_CELL_ASSETS = ("legacy_pinn_bundle", "legacy_pinn_reconstruction", "comparison")
INGEST = "ingest"
JOBS = (
    Job(INGEST, ("base_dataset",), "Make or import the base."),
    Job("simulate", ("simulated_dataset",), "Simulate the frames of a dose."),
    Job("cell", CELL_ASSETS, "Views, both arms and the comparison of a cell."),
    Job("legacy_cell", LEGACY_CELL_ASSETS, "The TensorFlow arm of a cell, and the comparison with it."),
    Job("report", ("study_report",), "Write the report over all cells."),
)

AUDIT = "audit"
NIGHTLY_AUDIT = "nightly_audit"
NIGHTLY = "0 3 * * *"
AUDIT_DESCRIPTION = (
    "Every stand-alone check over everything that is on disk. With a partition key (the run's tag dagster/partition): "
    "over what belongs to a dose such as 1000, or to a cell such as 1000|dense."
)
