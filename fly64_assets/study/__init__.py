"""The study: its design, its table of stages, and the state of each stage on disk. Knows no Dagster."""
