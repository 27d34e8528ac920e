"""DATA-001, the data contract: what a data set file holds, how it is written, read, judged and converted.

``schema`` names keys, ``metadata`` builds the ``_metadata`` document, ``npz`` writes and loads files, ``validate``
judges arrays, ``canonical`` converts other common forms. Nothing here knows studies, Dagster, the store or the engines.
"""
