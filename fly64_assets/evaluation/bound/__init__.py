"""The Cramer-Rao bound of a scan: how well its photons can determine the object at best."""
