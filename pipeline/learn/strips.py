"""The levels of a network over strips of a picture: shapes, buffers and arithmetic of one window.

Arrays are (rows, cols, C) here, the values of a pixel side by side, which is torch's channels-last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.learn.levels import Dense, Level, Levels, Pooling


@dataclass(frozen=True)
class Stage:
    """A level with the columns that a window of fixed width needs of it."""

    level: Level
    """With the weights of `packed` neighbouring columns side by side."""
    packed: int
    """Columns that one step of the convolution gives."""
    inputs: int
    """Columns of its input."""
    outputs: int
    """Columns of what it gives, after pooling."""

    @property
    def channels(self) -> tuple[int, int]:
        """Channels of its input and of what it gives."""
        return int(self.level.weight.shape[1]), len(self.level.bias) // self.packed

    @property
    def kept(self) -> int:
        """Rows of input that the next strip sees again; below 0, rows between two that nobody sees."""
        level = self.level
        pooled = level.pooling.taps.extent if level.pooling else 1
        extent = level.taps.extent + (pooled - 1) * level.taps.stride
        return extent - level.stride


def stages(levels: Levels, cols: int, vector: int) -> list[Stage]:
    """The stages of a network for a window of `cols` cells.

    Args:
        levels: The network.
        cols: Cells from west to east.
        vector: Numbers that the processor multiplies at a time.
    """
    made: list[Stage] = []
    for level in reversed(levels.convolutions):
        outputs = made[0].inputs if made else cols
        packed = _pack(level, vector)
        before_pooling = level.pooling.taps.inputs(outputs) if level.pooling else outputs
        steps = -(-before_pooling // packed)
        inputs = level.taps.inputs(steps * packed)
        made.insert(0, Stage(_widened(level, packed), packed, inputs, outputs))
    return made


def _pack(level: Level, vector: int) -> int:
    """How many neighbouring columns to compute as if they were filters of one wider kernel.

    A processor multiplies `vector` filters at a time: 6 filters of 5 x 5 leave 10 of 16 idle, 12 of
    5 x 6, of which each half gives another column, leave 4.
    """
    filters, kernel = len(level.bias), level.taps.count
    if level.taps.stride > 1 or level.taps.spacing > 1:
        return 1

    def work(packed: int) -> float:
        return -(-filters * packed // vector) * (kernel + packed - 1) / packed

    best = min(range(1, max(1, vector // filters) + 1), key=work)
    return best if work(best) < 0.9 * work(1) else 1


def _widened(level: Level, packed: int) -> Level:
    """A level whose kernel gives `packed` neighbouring columns, side by side."""
    filters, bands, kernel, _ = level.weight.shape
    weight = level.weight.new_zeros(packed, filters, bands, kernel, kernel + packed - 1)
    for column in range(packed):
        weight[column, ..., column : column + kernel] = level.weight
    return replace(level, weight=weight.flatten(0, 1), bias=level.bias.repeat(packed))


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
    part = max(1, values // most[0])
    return Heights(part * cell_px, max(1, 3 * values // (part * max(most[1:]))))


class Lane:
    """The buffers in which one thread takes a window through all stages, strip by strip."""

    def __init__(self, stages: Sequence[Stage], dense: Sequence[Dense], heights: Heights) -> None:
        """Make room.

        Args:
            stages: Convolutions, the last one the first dense layer; weights where they shall run.
            dense: The dense layers after it.
            heights: Of part and strip.
        """
        self._stages, self._dense, self._heights = stages, dense, heights
        self._buffers: list[Tensor] = []
        rows = heights.part
        for stage in stages:
            size = max(stage.kept, 0) + rows, stage.inputs, stage.channels[0]
            self._buffers.append(stage.level.weight.new_zeros(size))
            rows = rows // stage.level.stride * (1 if self._buffers[1:] else heights.parts)

    def advance(self, load: Callable[[int, Tensor], None], skipped: int = 0) -> Tensor:
        """Logits (K, cells) of the cells whose patches end in the rows of the next strip.

        Args:
            load: Is given a place in the strip, px, and puts the rows from there on into (rows, W, C).
            skipped: So many rows of cells, the first ones, are not wanted.
        """
        for part in range(self._heights.parts):
            load(part * self._heights.part, self._fresh(0))
            into = self._fresh(1)
            rows = len(into) // self._heights.parts
            _finish(self._stages[0], self._step(0), into[part * rows : (part + 1) * rows])
        for place in range(1, len(self._stages) - 1):
            _finish(self._stages[place], self._step(place), self._fresh(place + 1))
        found = self._step(-1, skipped * self._stages[-1].level.stride)
        return self._logits(found[:, : self._stages[-1].outputs].flatten(0, 1))

    def _fresh(self, place: int) -> Tensor:
        """Where the next rows of input of a stage go."""
        return self._buffers[place][max(self._stages[place].kept, 0) :]

    def _step(self, place: int, skipped: int = 0) -> Tensor:
        """The convolution of a stage over its buffer but for some rows; the last ones are kept."""
        stage, buffer = self._stages[place], self._buffers[place]
        kept = stage.kept
        found = _convolved(stage, buffer[skipped + max(-kept, 0) :])
        if kept > 0:
            # a copy first: the rows may overlap
            buffer[:kept] = buffer[-kept:].clone()
        return found

    def _logits(self, values: Tensor) -> Tensor:
        """Logits (K, cells) of what the first dense layer gives, (cells, units), not yet activated."""
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
    stride = (taps.stride, taps.stride * stage.packed)
    found = F.conv2d(image, level.weight, level.bias, stride, dilation=taps.spacing)
    return found[0].permute(1, 2, 0).contiguous().view(found.shape[2], -1, stage.channels[1])


def _finish(stage: Stage, found: Tensor, target: Tensor) -> None:
    """Activation and pooling of what a convolution gave, into (rows', cols', filters)."""
    level = stage.level
    if level.pooling is None:
        target.copy_(found[:, : target.shape[1]])
    elif level.pooling.maximum or level.activation is None:
        _pool(found, level.pooling, target)
    else:
        _pool(level.activation(found), level.pooling, target)
        return
    # activations never fall: that of a maximum is the maximum of activations, and less work
    if level.activation is not None:
        level.activation(target)


def _pool(source: Tensor, pooling: Pooling, target: Tensor) -> None:
    """Maximum or mean along the rows, then along the columns."""
    taps = pooling.taps
    rows = source.new_empty(len(target), *source.shape[1:])
    for axis, (values, into) in enumerate(((source, rows), (rows, target))):
        count = into.shape[axis]
        parts = [
            _every(values, axis, taps.spacing * tap, taps.stride, count) for tap in range(taps.count)
        ]
        _reduce(parts, pooling.maximum, into)
    if not pooling.maximum:
        target /= taps.count**2


def _every(source: Tensor, axis: int, first: int, step: int, count: int) -> Tensor:
    """`count` values along an axis, `step` apart."""
    along = slice(first, first + (count - 1) * step + 1, step)
    return source[along] if axis == 0 else source[:, along]


def _reduce(parts: Sequence[Tensor], maximum: bool, target: Tensor) -> None:
    combine = torch.maximum if maximum else torch.add
    if len(parts) == 1:
        target.copy_(parts[0])
        return
    combine(parts[0], parts[1], out=target)
    for part in parts[2:]:
        combine(target, part, out=target)
