"""How many bytes of arrays a file may declare before any of them is read."""

from __future__ import annotations

from typing import Final

from fly64_assets.errors import ContractError

DEFAULT_MAX_BYTES: Final = 16 * 2**30
"""Largest total size of unpacked arrays that is read by default, unless the file itself is larger."""


def check_size(declares: str, declared: int, file_bytes: int, max_bytes: int | None, *, arrays: str = "arrays") -> None:
    """Raise :class:`ContractError` where a file declares more than may be read.

    Parameters
    ----------
    declares : str
        Beginning of the sentence: the file and a verb.
    declared, file_bytes : int
        Size of the arrays as the file declares it, and of the file itself [bytes]. What unpacks to no more than the
        file's own size cannot be a small file that fills the memory.
    max_bytes : int, optional
        The user's limit; without it the default, or the size of the file where that is more.
    arrays : str
        What was counted.

    Examples
    --------
    >>> check_size("f.npy declares", 100, 50, None)
    """
    limit = max(DEFAULT_MAX_BYTES, file_bytes) if max_bytes is None else max_bytes
    if declared > limit:
        raise ContractError(
            f"{declares} {declared} bytes of {arrays}; the limit is {limit}: if the file is trusted and the memory is "
            "there, raise it with --max-bytes, an option of the commands that check and import files"
        )
