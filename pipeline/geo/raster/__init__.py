"""Raster files, local or remote, and pixel grids: opening, windows, block cache, coordinates.

Imports nothing else of `geo`; every other package of it stands on this one.
"""
