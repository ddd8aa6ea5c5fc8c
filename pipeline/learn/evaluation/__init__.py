"""Baselines, predictions for the test part, band importance, promotion of a model.

May import `learn.training` and what that may.
"""
