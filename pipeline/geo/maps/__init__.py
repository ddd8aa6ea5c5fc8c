"""From the class probabilities of a scene to its finished rasters, their STAC Items and side files.

May import `geo.style`, `geo.scenes` and `geo.raster`.
"""
