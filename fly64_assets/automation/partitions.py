"""Partitions of the asset graph, derived from a study design, and the mappings between them, written out.

Belongs here: Dagster's view of doses and cells. Does not belong here: what is computed in a partition.
"""

import warnings

import dagster as dg

from fly64_assets.study.design import StudyDesign

DOSE = "dose"
VIEW = "view"


def dose_partitions(design: StudyDesign) -> dg.StaticPartitionsDefinition:
    """One partition per dose; the key is the whole number of photons per frame, for example ``1000``."""
    return dg.StaticPartitionsDefinition([str(dose) for dose in design.doses])


def cell_partitions(design: StudyDesign) -> dg.MultiPartitionsDefinition:
    """One partition per cell (dose and view), for example ``1000|dense``."""
    views = dg.StaticPartitionsDefinition(list(design.views))
    return dg.MultiPartitionsDefinition({DOSE: dose_partitions(design), VIEW: views})


def dose_of_cell() -> dg.PartitionMapping:
    """A cell depends on its own dose. Written out: an inferred mapping would silently give nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.MultiToSingleDimensionPartitionMapping(DOSE)


def all_partitions() -> dg.PartitionMapping:
    """Depend on every partition upstream."""
    return dg.AllPartitionMapping()


def split_cell_key(partition_key: str) -> tuple[int, str]:
    """Dose and view of a cell's partition key, ``1000|dense`` -> (1000, "dense")."""
    dose, _, view = str(partition_key).partition("|")
    return int(dose), view
