"""Baselines, predictions for the test part, band importance.

May import `learn.training` and what that may.
"""
