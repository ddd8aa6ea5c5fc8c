"""Where scenes come from, a module a kind of source: folder, stack, SAFE product, STAC API, EuroSAT.

May import `geo.images`, `geo.scenes` and `geo.raster`.
"""
