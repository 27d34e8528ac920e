"""The study report: summary, tables, figures, page."""
