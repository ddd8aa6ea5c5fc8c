"""The levels of a network over strips of a picture: shapes, buffers and arithmetic of one window.

A strip is a band of rows that goes through all levels at a time; a window is a range of columns.
Arrays are (rows, cols, C) here, the values of a pixel side by side, which is torch's channels-last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.learn.inference.levels import Dense, Level
from pipeline.learn.inference.planes import Planes, Pool, suits

_HEAD_VALUES = 250_000
"""Values of the first dense layer that go through the others at a time, about."""
_PLANAR_SHARE = 0.25
"""Of the values of other stages, what a planar one takes at a time: it reads them more than once."""


@dataclass(frozen=True)
class Stage:
    """A level with the columns that a window of some width needs of it."""

    level: Level
    inputs: int
    """Columns of its input."""
    outputs: int
    """Columns of what it gives, after pooling."""
    planar: bool = False
    """Whether it takes (rows, C, cols), see `planes`."""

    @property
    def channels(self) -> tuple[int, int]:
        """Channels of its input and of what it gives."""
        return int(self.level.weight.shape[1]), len(self.level.bias)

    @property
    def shape(self) -> tuple[int, int]:
        """Of a row of its input."""
        bands = self.channels[0]
        return (bands, self.inputs) if self.planar else (self.inputs, bands)

    @property
    def kept(self) -> int:
        """Rows of input that the next strip sees again; below 0, rows between two that nobody sees."""
        level = self.level
        pooled = level.pooling.taps.extent if level.pooling else 1
        extent = level.taps.extent + (pooled - 1) * level.taps.stride
        return extent - level.stride


def stages(levels: Sequence[Level], cols: int, planar: bool) -> list[Stage]:
    """The stages of a window of `cols` cells, of convolutions the last of which is a dense layer.

    The first stage is planar where it may be and that is faster.
    """
    made: list[Stage] = []
    for level in reversed(levels):
        outputs = made[0].inputs if made else cols
        before_pooling = level.pooling.taps.inputs(outputs) if level.pooling else outputs
        made.insert(0, Stage(level, level.taps.inputs(before_pooling), outputs))
    made[0] = replace(made[0], planar=planar and len(made) > 1 and suits(made[0].level))
    return made


@dataclass(frozen=True)
class Heights:
    """How many rows of the picture go through at a time."""

    part: int
    """Through the first stage, which sees the most values."""
    parts: int
    """How many of them make a strip, which goes through the others."""

    @property
    def strip(self) -> int:
        """Rows of a strip."""
        return self.part * self.parts


def heights(stages: Sequence[Stage], cell_px: int, values: int) -> Heights:
    """Parts and strips, multiples of a cell: a part takes or gives at most `values`, a strip thrice.

    The first stage has the largest rows; the others have many weights, which tall strips share.
    """
    rows, most = cell_px, []
    for stage in stages:
        taps, (bands, filters) = stage.level.taps, stage.channels
        given = rows * stage.inputs * filters // taps.stride**2
        most.append(max(rows * stage.inputs * bands, given))
        rows //= stage.level.stride
    share = _PLANAR_SHARE if stages[0].planar else 1.0
    part = max(1, int(share * values) // most[0])
    return Heights(part * cell_px, max(1, 3 * values // (part * max(most[1:]))))


class Lane:
    """The buffers in which one thread takes a window through all stages, strip by strip."""

    def __init__(self, stages: Sequence[Stage], dense: Sequence[Dense], heights: Heights) -> None:
        """Allocate the buffers of stages, the last one the first dense layer, and of later ones."""
        self._stages, self._dense, self._heights = stages, dense, heights
        self._buffers: list[Tensor] = []
        rows = heights.part
        for stage in stages:
            size = max(stage.kept, 0) + rows, *stage.shape
            self._buffers.append(stage.level.weight.new_zeros(size))
            rows = rows // stage.level.stride * (1 if self._buffers[1:] else heights.parts)
        # views are made once: each takes the lock that the threads of Python share
        self._ends = [
            (buffer[: stage.kept], buffer[-stage.kept :]) if stage.kept > 0 else None
            for stage, buffer in zip(stages, self._buffers, strict=True)
        ]
        self._input = self._fresh(0)
        parts = self._fresh(1).chunk(heights.parts) if len(stages) > 1 else ()
        self._parts: Sequence[Tensor] = parts
        seen = self._buffers[0][max(-stages[0].kept, 0) :]
        self._planes = Planes(stages[0].level, seen, parts) if stages[0].planar else None

    @property
    def inputs(self) -> int:
        """Columns of the picture that a window takes."""
        return self._stages[0].inputs

    def advance(self, load: Callable[[int, Tensor], None], skipped: int = 0) -> Tensor:
        """Logits (K, cells) of the cells whose patches end in the rows of the next strip.

        Args:
            load: Takes a position in the strip, px, and puts the rows from there on into
                (rows, *shape of the first stage).
            skipped: So many rows of cells, the first ones, are not wanted.
        """
        for part in range(self._heights.parts):
            load(part * self._heights.part, self._input)
            if self._planes is not None:
                self._planes.step(part)
                self._keep(0)
            elif self._parts:
                _finish(self._stages[0], self._step(0), self._parts[part])
        for index in range(1, len(self._stages) - 1):
            _finish(self._stages[index], self._step(index), self._fresh(index + 1))
        units = self._step(-1, skipped * self._stages[-1].level.stride)
        return self._logits(units[:, : self._stages[-1].outputs].flatten(0, 1))

    def _fresh(self, index: int) -> Tensor:
        """Where the next rows of input of a stage go."""
        return self._buffers[index][max(self._stages[index].kept, 0) :]

    def _step(self, index: int, skipped: int = 0) -> Tensor:
        """The convolution of a stage over its buffer but for some rows; the last ones are kept."""
        stage = self._stages[index]
        result = _convolved(stage, self._buffers[index][skipped + max(-stage.kept, 0) :])
        self._keep(index)
        return result

    def _keep(self, index: int) -> None:
        """Make the last rows of a buffer its first ones."""
        if (ends := self._ends[index]) is not None:
            first, last = ends
            overlap = 2 * len(first) > len(self._buffers[index])
            first.copy_(last.clone() if overlap else last)

    def _logits(self, values: Tensor) -> Tensor:
        """Logits (K, cells) of what the first dense layer gives, (cells, units), not yet activated."""
        # few at a time, which stay in the processor's cache from layer to layer
        parts = torch.split(values, max(1, _HEAD_VALUES // values.shape[1]))
        return torch.cat([self._head(part) for part in parts], dim=1)

    def _head(self, values: Tensor) -> Tensor:
        if (activation := self._stages[-1].level.activation) is not None:
            activation(values)
        if not self._dense:
            return values.t().contiguous()
        for layer in self._dense[:-1]:
            values = F.linear(values, layer.weight, layer.bias)
            if layer.activation is not None:
                layer.activation(values)
        last = self._dense[-1]
        return torch.addmm(last.bias[:, None], last.weight, values.t())


def _convolved(stage: Stage, source: Tensor) -> Tensor:
    """The convolution of (rows, cols, C), without activation and pooling: (rows', cols', filters)."""
    level, taps = stage.level, stage.level.taps
    image = source.permute(2, 0, 1)[None]
    result = F.conv2d(image, level.weight, level.bias, taps.stride, dilation=taps.spacing)
    return result[0].permute(1, 2, 0)


def _finish(stage: Stage, convolved: Tensor, target: Tensor) -> None:
    """Activation and pooling of what a convolution gave, into (rows', cols', filters)."""
    level = stage.level
    if level.pooling is None:
        target.copy_(convolved[:, : target.shape[1]])
    else:
        late = level.pooling.maximum or level.activation is None
        values = convolved if late or level.activation is None else level.activation(convolved)
        Pool(values, level.pooling, (target.shape[0], target.shape[1]), 1).into(target)
        if not late:
            return
    # activations never fall: that of a maximum is the maximum of activations, and less work
    if level.activation is not None:
        level.activation(target)
