"""vidsr: the same video, only larger."""

__version__ = "0.1.0"
