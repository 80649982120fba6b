"""What ends the demo early: a sentence for the person who watches."""


class DemoError(Exception):
    """The show cannot go on; the text says what was waited for, and where to look."""
