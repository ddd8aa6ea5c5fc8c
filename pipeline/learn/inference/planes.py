"""A first convolution of few filters over a picture that lies band after band.

A processor multiplies 8 or 16 numbers at a time. Of 6 filters side by side some of it is idle, of
neighbouring pixels nothing. Rows are (C, cols) here, one after the other, so that the rows that a row
of the result sees are a matrix as they lie: nothing is copied.

Kept by hand because it is measured: without it, by torch's own convolution, dense prediction takes
1.4 to 1.5 times the processor time with `lenet5` (6 filters) on 13 bands, 1.15 to 1.3 times on 3 or 4
bands, and 1.35 times with the network of the benchmarks (6 filters, 13 bands), whose target is 0.7 of
a matrix product. The default network has 32 filters and does not take this path.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.learn.inference.levels import Level, Pooling, Taps

_FEW = 16
"""Filters below which it is faster (numbers of 32 bits in a register of AVX-512)."""


def suits(level: Level) -> bool:
    """Whether a convolution can be computed here and gains by it."""
    return len(level.bias) < _FEW and level.taps.stride == level.taps.spacing == 1


class Planes:
    """The convolution of a buffer, with its activation and pooling, computed again and again.

    All views are made once: each takes the lock that the threads of Python share.
    """

    def __init__(self, level: Level, buffer: Tensor, targets: Sequence[Tensor]) -> None:
        """Prepare the convolution of a buffer (rows, C, cols).

        The results go to the targets in turn, (rows', cols', filters).
        """
        rows, bands, cols = buffer.shape
        filters, _, kernel, _ = level.weight.shape
        size = rows - kernel + 1, kernel * bands, cols - kernel + 1
        self._level = level
        self._result = buffer.new_empty(size[0], filters, size[2])
        # for each column of the kernel one product a row: its weights, (filters, rows x C), and what
        # they see
        self._products = [
            (
                column.contiguous().expand(size[0], filters, size[1]),
                buffer.as_strided(size, (bands * cols, cols, 1), buffer.storage_offset() + offset),
            )
            for offset, column in enumerate(level.weight.permute(3, 0, 2, 1).flatten(2))
        ]
        self._targets = [target.permute(0, 2, 1) for target in targets]
        height, _, width = self._targets[0].shape
        self._pool = Pool(self._result, level.pooling, (height, width), 2) if level.pooling else None
        self._narrow = self._result[:height, :, :width]
        self._bias = level.bias[:, None]

    def step(self, number: int) -> None:
        """Put the result into one of the targets."""
        for column, (weights, seen) in enumerate(self._products):
            # the first product replaces what the buffer holds
            self._result.baddbmm_(weights, seen, beta=min(column, 1))
        activation, target = self._level.activation, self._targets[number]
        if self._pool is not None and self._pool.maximum:
            # neither sums nor activations fall: that of a maximum is the maximum of them
            self._pool.into(target, self._bias)
            if activation is not None:
                activation(target)
            return
        values = self._result.add_(self._bias)
        if activation is not None:
            activation(values)
        if self._pool is None:
            target.copy_(self._narrow)
        else:
            self._pool.into(target)


class Pool:
    """Maximum or mean along the rows, axis 0, then along the columns, of a tensor again and again."""

    def __init__(self, source: Tensor, pooling: Pooling, size: tuple[int, int], across: int) -> None:
        """Prepare the pooling of `source` to `size`, rows and columns, which lie along `across`."""
        self.maximum = pooling.maximum
        self._count = pooling.taps.count**2
        self._rows = source.new_empty(size[0], *source.shape[1:])
        self._down = _seen(source, 0, pooling.taps, size[0])
        self._along = _seen(self._rows, across, pooling.taps, size[1])

    def into(self, target: Tensor, bias: Tensor | None = None) -> None:
        """Put the result there; of a maximum, with a bias added."""
        _reduce(self._down, self.maximum, self._rows)
        if bias is not None:
            self._rows += bias
        _reduce(self._along, self.maximum, target)
        if not self.maximum:
            target /= self._count


def _seen(source: Tensor, axis: int, taps: Taps, count: int) -> list[Tensor]:
    """For each tap along an axis, the `count` values that it sees."""
    firsts = range(0, taps.count * taps.spacing, taps.spacing)
    along = (slice(first, first + (count - 1) * taps.stride + 1, taps.stride) for first in firsts)
    return [source[(slice(None),) * axis + (values,)] for values in along]


def _reduce(parts: Sequence[Tensor], maximum: bool, target: Tensor) -> None:
    combine = torch.maximum if maximum else torch.add
    if len(parts) == 1:
        target.copy_(parts[0])
        return
    combine(parts[0], parts[1], out=target)
    for part in parts[2:]:
        combine(target, part, out=target)
