"""Which cells become patches; patches cut from scenes or images and written to the patch store.

May import `geo.labels`, `geo.images`, `geo.scenes` and `geo.raster`.
"""
