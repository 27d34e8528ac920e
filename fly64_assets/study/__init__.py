"""The study: its design, its table of stages, where files lie, what is there and in which state.

Does not belong here: what a stage computes, Dagster.
"""
