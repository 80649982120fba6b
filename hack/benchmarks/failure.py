"""What ends a benchmark early: a sentence for the person who runs it."""


class BenchmarkError(Exception):
    """A measurement cannot be made; the text says what was waited for, and where to look."""
