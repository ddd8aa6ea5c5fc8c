"""Sentinel-2 scenes as STAC Items: checked bands, masks, catalogs, and windows of their pixels.

May import `geo.raster`.
"""
