"""Polygons, points and rasters that say what the ground is, brought to one class, or none, a cell.

May import `geo.raster`.
"""
