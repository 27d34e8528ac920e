"""The default network: it sees objects of a regularisation path of the whole scan."""
