"""The artifact store: paths, atomic files with sidecars, stage records, builds. Knows no study, Dagster or engine."""
