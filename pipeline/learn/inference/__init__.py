"""Prediction: dense over a scene, patch by patch, and as an ONNX graph, with equal results.

May import `learn.network` and `learn.stats`.
"""
