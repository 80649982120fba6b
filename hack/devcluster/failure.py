"""The one error a person sees: what went wrong and what to do, in a sentence."""


class ClusterError(Exception):
    """The local cluster cannot do what was asked; the text says why and names the way out."""
