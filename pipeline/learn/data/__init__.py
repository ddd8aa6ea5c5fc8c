"""From the patch store to batches: reading, prefetching, the LightningDataModule.

Imports nothing else of `learn`.
"""
