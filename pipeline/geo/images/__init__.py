"""Collections of labelled images, such as EuroSAT, in place of scenes and labels.

May import `geo.scenes` and `geo.raster`.
"""
