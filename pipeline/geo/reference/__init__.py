"""Reference samples for accuracy assessment: cells drawn from a map and the form to label them.

May import `geo.maps` and what that may.
"""
