"""The study design as a resource."""

import os

import dagster as dg

from fly64_assets.design import StudyDesign, load_design

STUDY_VARIABLE = "FLY64_STUDY"
DEFAULT_STUDY = "demo"


def default_study() -> str:
    """The study named by the environment variable ``FLY64_STUDY``, else ``demo``."""
    return os.environ.get(STUDY_VARIABLE) or DEFAULT_STUDY


class StudyResource(dg.ConfigurableResource[StudyDesign]):
    """The study design, by the path of a YAML file or the name of a shipped one."""

    study: str = "demo"

    def design(self) -> StudyDesign:
        """The validated design. Raises ``DesignError`` with every broken rule."""
        return load_design(self.study)
