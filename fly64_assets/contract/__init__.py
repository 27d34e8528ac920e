"""DATA-001, the data contract: what a data set file holds, how it is written, read, judged and converted.

``schema`` names keys and builds metadata, ``npz`` writes and loads files, ``validate`` judges arrays,
``canonical`` converts the forms found in the wild. Nothing here knows Dagster, the store or the engines.
"""
