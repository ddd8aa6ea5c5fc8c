"""Colours, QGIS styles (QML), and GeoPackages that carry theirs.

Imports nothing else of `geo`.
"""
