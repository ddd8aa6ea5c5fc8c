"""Scores, confidence intervals, calibration, area estimation, area of applicability; no torch.

Imports nothing else of `learn`.
"""
