"""Faster functions in place of pty-chi's own, for the one version they were written for and equal to rounding.

One module per patch; each says what the library does, what it does instead and why the result is the same, and could
be offered to the library as it stands. ``installation`` puts all of them in place and takes them away again. Does not
belong here: anything that changes what is computed.
"""
