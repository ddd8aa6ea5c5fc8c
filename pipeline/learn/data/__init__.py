"""From the patch store to batches: reading, prefetching, the LightningDataModule.

Imports no other package of `learn`.
"""
