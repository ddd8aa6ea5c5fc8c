"""The LightningModule, augmentation, one training, and the calibration after it.

May import `learn.data`, `learn.inference`, `learn.network` and `learn.stats`.
"""
