"""Asset checks that re-read the files at any time, for one partition or for everything on disk."""
