"""QGIS project files that show all maps of a folder.

May import `geo.maps` and what that may.
"""
