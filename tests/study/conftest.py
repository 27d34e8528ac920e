"""The tiny study, its asset graph, and small real stages in a temporary store."""

from fixtures.graph import dagster_previews, graph, slotted_graph, small_graph  # noqa: F401
from fixtures.store import in_child, layout, store, workshop  # noqa: F401
