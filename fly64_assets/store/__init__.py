"""The artifact store: paths, atomic files with sidecars, stage records, builds, and the manifests made of them.

Knows the study design for its names and hashes, and no Dagster, no engine and no array.
"""
