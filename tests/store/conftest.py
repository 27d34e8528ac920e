"""Small real stages in a temporary store."""

from fixtures.store import in_child, layout, store, workshop  # noqa: F401
