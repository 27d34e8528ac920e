"""The commands of ``fly64``, one module each; thin."""
