"""The maps of several scenes and UTM zones put together.

May import `geo.maps` and what that may.
"""
