"""Resources of the asset graph: thin Dagster shells that hand plain objects to plain code."""
