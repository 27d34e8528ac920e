"""Partitions of the asset graph, derived from a study design, and the mappings between them, written out.

Belongs here: Dagster's view of doses and cells. Does not belong here: what is computed in a partition.
"""

import warnings

import dagster as dg

from fly64_assets.store.keys import Cell, Coordinates, Dose, Study
from fly64_assets.study.design import StudyDesign
from fly64_assets.study.table import Stage

DOSE = "dose"
VIEW = "view"


def dose_partitions(design: StudyDesign) -> dg.StaticPartitionsDefinition:
    """One partition per dose; the key is the whole number of photons per frame, for example ``1000``."""
    return dg.StaticPartitionsDefinition([str(dose) for dose in design.doses])


def cell_partitions(design: StudyDesign) -> dg.MultiPartitionsDefinition:
    """One partition per cell (dose and view), for example ``1000|dense``."""
    views = dg.StaticPartitionsDefinition(list(design.views))
    return dg.MultiPartitionsDefinition({DOSE: dose_partitions(design), VIEW: views})


def partitions_of(design: StudyDesign, stage: Stage) -> dg.PartitionsDefinition[str] | None:
    """Partitions of a stage's asset; None for what belongs to the study as a whole."""
    if stage.partitioned_by is Cell:
        return cell_partitions(design)
    return dose_partitions(design) if stage.partitioned_by is Dose else None


def mapping_between(upstream: Stage, stage: Stage) -> dg.PartitionMapping | None:
    """How partitions of a stage depend on those of one that it needs.

    Written out where the two differ: an inferred mapping would silently give nothing.
    """
    if stage.partitioned_by is Cell and upstream.partitioned_by is Dose:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", dg.BetaWarning)
            return dg.MultiToSingleDimensionPartitionMapping(DOSE)
    if stage.partitioned_by is Study and upstream.partitioned_by is not Study:
        return dg.AllPartitionMapping()
    return None


def coordinates_of(partition_key: str) -> Coordinates:
    """What a partition key names, ``1000|dense`` -> ``Cell(1000, "dense")``; the whole study for an empty one."""
    dose, _, view = str(partition_key).partition("|")
    if not dose:
        return Study()
    return Cell(int(dose), view) if view else Dose(int(dose))


def partition_of(at: Coordinates) -> str | None:
    """The partition key of a dose, a cell or a half of one; None for the whole study."""
    dose, view = getattr(at, "dose", None), getattr(at, "view", None)
    return None if dose is None else f"{dose}|{view}" if view else str(dose)
