"""The tiny study and its asset graph."""

from fixtures.graph import dagster_previews, graph, slotted_graph, small_graph  # noqa: F401
