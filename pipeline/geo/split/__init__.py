"""The spatial split: blocks, the buffer between training and test ground, and the leakage audit.

May import `geo.raster`.
"""
