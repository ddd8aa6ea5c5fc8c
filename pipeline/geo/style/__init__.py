"""Colours, fonts, GeoPackages with their style, and the templates of XML files that GIS programs read.

Imports nothing else of `geo`.
"""
