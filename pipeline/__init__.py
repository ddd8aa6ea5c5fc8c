"""lenscape: Sentinel-2 scenes in, land-cover class maps out, every number on the way traceable."""

__version__ = "0.1.0"
