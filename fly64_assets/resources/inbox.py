"""The watched folder as a resource."""

from pathlib import Path

import dagster as dg


class InboxResource(dg.ConfigurableResource[Path]):
    """The folder into which people put new base files."""

    inbox: str = "data/inbox"

    def folder(self) -> Path:
        """The folder; it need not exist."""
        return Path(self.inbox).absolute()
