"""The command ``fly64``: thin entries over the same assets, store and instance as the Dagster UI."""
