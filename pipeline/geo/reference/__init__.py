"""Samples of a map, for its accuracy or as training data: cells and the form to label them.

May import `geo.maps` and what that may.
"""
