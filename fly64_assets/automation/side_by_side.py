"""Studies that are open side by side in one Dagster instance.

An asset key names one asset in the whole instance, whatever the code location: of two locations with the same keys
Dagster shows one, with the materialisations of both. A study that was opened beside others therefore has its name
before its keys, in this instance and from then on, also in runs of the command. Does not belong here: the code
locations themselves (``cli.commands.ui``), which key an asset has (``run_tags``).
"""

import os

import dagster as dg

from fly64_assets.resources.environment import PREFIX_VARIABLE


def note_side_by_side(instance: dg.DagsterInstance, study: str) -> None:
    """Have a study's keys begin with its name in this instance from now on."""
    instance.daemon_cursor_storage.set_cursor_values({_name(study): study})


def is_side_by_side(instance: dg.DagsterInstance, study: str) -> bool:
    """Whether a study's keys begin with its name in this instance."""
    return _name(study) in instance.daemon_cursor_storage.get_cursor_values({_name(study)})


def follow_instance(instance: dg.DagsterInstance, study: str) -> None:
    """Give this process the keys that a study has in an instance; before the code location is loaded."""
    if is_side_by_side(instance, study):
        os.environ[PREFIX_VARIABLE] = study


def _name(study: str) -> str:
    return f"fly64/side_by_side/{study}"
