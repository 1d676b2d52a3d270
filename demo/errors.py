"""What ends the demo early."""


class DemoError(Exception):
    """Ends the demo with one sentence."""
