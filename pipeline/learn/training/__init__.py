"""The LightningModule with its augmentation, the training of one network, and calibration.

May import `learn.data`, `learn.inference`, `learn.network` and `learn.stats`.
"""
