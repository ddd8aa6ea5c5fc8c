"""Baselines, held-out predictions, band importance.

May import `learn.training` and what that may.
"""
