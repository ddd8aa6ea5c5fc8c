"""The LeNet family, the size arithmetic of its layers, and the saved model with all it must know.

May import `learn.stats`.
"""
