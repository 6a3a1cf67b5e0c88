"""Figures of a report that may not have been measured."""

from golf.compliance.check_result import NOT_RUN

__all__ = ["format_figure"]


def format_figure(value: float | None, spec: str) -> str:
    """Return the value as the format specification ``spec`` has it; NOT-RUN for None, a figure without measurement."""
    return NOT_RUN if value is None else format(value, spec)
