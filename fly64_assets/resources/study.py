"""The study design as a resource."""

import dagster as dg

from fly64_assets.study.design import StudyDesign, load_design


class StudyResource(dg.ConfigurableResource[StudyDesign]):
    """The study design, by the path of a YAML file or the name of a shipped one."""

    study: str = "demo"

    def design(self) -> StudyDesign:
        """The validated design. Raises ``DesignError`` with every broken rule."""
        return load_design(self.study)
