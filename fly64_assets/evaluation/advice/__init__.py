"""Advice for a scan from the atlas: which step, dose and method, and what error and resolution to expect."""
