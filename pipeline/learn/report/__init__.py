"""What people read of a model: figures, the HTML report, the model card, its STAC Item.

May import `learn.evaluation` and what that may.
"""
