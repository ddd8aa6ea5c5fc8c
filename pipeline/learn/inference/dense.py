"""Exact dense prediction: a patch classifier run once over a picture instead of once over every patch.

What neighbouring patches share is computed once (see `levels`). A picture is read in strips,
some rows of a window at a time: each level keeps the last rows of its input, which the next strip
needs, so no row is computed twice and memory depends on the width of a window alone. Every strip has
the same height, the last ones filled up, and one thread: neither the number of workers nor the memory
changes a bit.

In float32 and float64 normalisation is folded into the first convolution, which takes the DN less the
whole DN that fills nodata pixels: exact in float32, and nothing cancels. In bfloat16 and half the DN
are normalised in float32 before the cast: 65535 is infinite in half.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pipeline.learn.inference.levels import Dense, Level, Levels, Normalisation
from pipeline.learn.inference.strips import Lane, Stage, heights, stages
from pipeline.learn.network.recalibration import recalibrated

WINDOW_PX = 1152
"""Width of a window without its context, about; a constant, so that it cannot change a result."""
_BLOCK_PX = 2688
"""Height of a block that wastes little on its first rows, which no patch begins in."""
_BLOCK_VALUES = 10_000_000
"""Logits of a block, about, at most."""
_STRIP_VALUES = 1_100_000
"""Values of the largest level in a strip on the CPU, about: more do not stay in its cache."""
_STRIP_VALUES_GPU = 64_000_000
_COLS_STEP = 16
"""Windows at the end of a row are narrower by multiples of so many cells."""
_CAST_ROWS = 16
"""Rows that become floats at a time."""

Pixels = npt.NDArray[np.uint16]


class DenseForm:
    """The dense form of a network: the logits of all cells of a picture, each those of its patch.

    It can be used by several threads at a time, and be pickled.
    """

    def __init__(
        self,
        network: nn.Sequential,
        normalisation: Normalisation,
        sides_px: tuple[int, int],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        slope_and_bias: tuple[float, float] = (1.0, 0.0),
    ) -> None:
        """Read a network that was trained on patches, as `lenet.build` makes it, of valid padding.

        Args:
            network: The network.
            normalisation: Of its input bands.
            sides_px: Side of a patch, side of a cell.
            dtype: What is computed in; logits come in float32 or, of float64, in float64.
            device: Where.
            slope_and_bias: Of its calibration (see `recalibrated`).

        Raises:
            ValueError: when the network has no dense form.
        """
        _forbid_tf32()
        self.patch_px, self.cell_px = sides_px
        self.dtype, self.device, self._calibration = dtype, torch.device(device), slope_and_bias
        self._folded = dtype in (torch.float32, torch.float64)
        levels = Levels(network, *sides_px, normalisation if self._folded else None)
        self.multiply_adds = levels.multiply_adds
        """Needed per cell, what neighbouring patches share counted once."""
        self.cols = max(1, WINDOW_PX // self.cell_px)
        """Cells of a window from west to east."""
        self._levels: list[Level] = [self._placed(level) for level in levels.convolutions]
        self._stages = self._stages_of(self.cols)
        self._dense: list[Dense] = [self._placed(layer) for layer in levels.dense]
        values = _STRIP_VALUES if self.device.type == "cpu" else _STRIP_VALUES_GPU
        self._heights = heights(self._stages, self.cell_px, values)
        # so many rows of cells go by before the first patch is complete
        self._delay = -(-max(0, levels.extent_px - self.cell_px) // self.cell_px)
        self._first_px = levels.extent_px - (1 + self._delay) * self.cell_px
        self._normalisation = normalisation
        result_type = torch.float64 if dtype == torch.float64 else torch.float32
        self._fill = torch.as_tensor(np.asarray(normalisation.fill), dtype=result_type)[:, None]
        self._own = threading.local()

    def __getstate__(self) -> dict[str, Any]:
        """All but the buffers of this process."""
        return {key: value for key, value in self.__dict__.items() if key != "_own"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        _forbid_tf32()
        self.__dict__.update(state, _own=threading.local())

    @property
    def bands(self) -> int:
        """Input bands."""
        return self._stages[0].channels[0]

    @property
    def classes(self) -> int:
        """Logits of a cell."""
        return len(self._dense[-1].bias) if self._dense else self._stages[-1].channels[1]

    @property
    def rows(self) -> int:
        """Cells from north to south of a block of about `_BLOCK_PX` that wastes no strip."""
        tall = self._heights.strip // self.cell_px
        most = max(1, _BLOCK_VALUES // (tall * self.cols * self.classes))
        strips = max(1, min(round(_BLOCK_PX / self._heights.strip), most))
        return max(strips, -(-(self._delay + 1) // tall)) * tall - self._delay

    @property
    def lane_bytes(self) -> int:
        """About the memory that one thread takes: what goes in and out of each stage."""
        size = torch.finfo(self.dtype).bits // 8
        rows, values = self._heights.part, 0
        for number, stage in enumerate(self._stages):
            bands, filters = stage.channels
            values += (rows + max(stage.kept, 0)) * stage.inputs * bands
            values += 2 * rows * stage.inputs * filters // stage.level.taps.stride**2
            rows = rows // stage.level.stride * (1 if number else self._heights.parts)
        return size * values

    def probabilities(
        self,
        pixels: Pixels,
        rows: int,
        cols: int,
        nodata_bands: Sequence[int] | None = None,
        softmax: bool = True,
    ) -> npt.NDArray[Any]:
        """Probabilities of the classes of a block of cells, (K, rows, cols).

        Args:
            pixels: Harmonised DN, uint16 (C, H, W), 0 is nodata: the cells and the context around them,
                so that H = rows x cell_px + patch_px - cell_px, and W likewise.
            rows: Cells from north to south.
            cols: Cells from west to east.
            nodata_bands: Indices of the bands that may have nodata pixels; any by default.
            softmax: Without it, the logits are returned.

        Raises:
            ValueError: when `pixels` does not have the size that rows and cols ask for.
        """
        require_size(pixels, (self.bands, rows, cols), self.patch_px, self.cell_px)
        nodata_bands = range(self.bands) if nodata_bands is None else nodata_bands
        result = np.empty((self.classes, rows, cols), dtype=self._fill.numpy().dtype)
        with torch.inference_mode(), one_thread():
            for col in range(0, cols, self.cols):
                left = col * self.cell_px
                window = result[:, :, col : col + self.cols]
                self._window(pixels[:, :, left:], nodata_bands, window, softmax)
        return result

    def _window(
        self, pixels: Pixels, nodata_bands: Sequence[int], result: npt.NDArray[Any], softmax: bool
    ) -> None:
        """Fill `result` (K, rows, at most `cols`) from pixels (C, H, W or more), strip by strip."""
        rows, cols = result.shape[1:]
        wide = min(self.cols, -(-cols // _COLS_STEP) * _COLS_STEP)
        lane, tall = self._lane(wide), self._heights.strip // self.cell_px
        load = partial(self._load, pixels[:, :, : lane.inputs], nodata_bands)
        for strip in range(-(-(rows + self._delay) // tall)):
            top = self._first_px + strip * self._heights.strip
            first = strip * tall - self._delay
            logits = lane.advance(partial(load, top), min(max(-first, 0), tall - 1))
            if first + tall <= 0:
                continue
            logits = logits.to(torch.float32) if not self._folded else logits
            logits = recalibrated(logits, self._calibration, dim=0)
            values = logits.softmax(dim=0) if softmax else logits
            cells = values.view(len(values), -1, wide)[:, : rows - max(first, 0), :cols]
            result[:, max(first, 0) : first + tall] = cells.cpu().numpy()

    def _lane(self, cols: int) -> Lane:
        """The buffers of the calling thread for windows of `cols` cells."""
        lanes: dict[int, Lane] = self._own.__dict__.setdefault("lanes", {})
        if cols not in lanes:
            lanes.clear()  # those of one width at a time
            lanes[cols] = Lane(self._stages_of(cols), self._dense, self._heights)
        return lanes[cols]

    def _load(
        self, pixels: Pixels, nodata_bands: Sequence[int], strip: int, row: int, fresh: Tensor
    ) -> None:
        """Put the rows of pixels (C, H, W) from `strip` + `row` on, if there are any, into `fresh`."""
        top = strip + row
        start, stop = max(top, 0), min(top + len(fresh), pixels.shape[1])
        if stop <= start:
            return
        planar, rows = self._stages[0].planar, pixels[:, start:stop]
        # axis order (rows, C, W), whichever the first stage takes
        target = fresh if planar else fresh.permute(0, 2, 1)
        if target.shape != (stop - start, len(pixels), pixels.shape[2]):
            target = target[start - top : stop - top, :, : pixels.shape[2]]
        if self.device.type != "cpu" or not self._folded:
            target.copy_(self._normalised(rows).permute(1, 0, 2))
        elif planar:
            self._subtract(rows.transpose(1, 0, 2), nodata_bands, target)
        else:
            # a few rows at a time, which stay in the processor's cache
            for first in range(0, len(target), _CAST_ROWS):
                into = target[first : first + _CAST_ROWS]
                values, source = into.new_empty(into.shape), rows[:, first : first + _CAST_ROWS]
                self._subtract(source.transpose(1, 0, 2), nodata_bands, values)
                into.copy_(values)

    def _subtract(self, rows: Pixels, nodata_bands: Sequence[int], target: Tensor) -> None:
        """DN less the fill, (rows, C, W); 0 in nodata pixels, which only some bands may have."""
        # in two steps: numpy converts fast, and torch subtracts fast
        np.copyto(target.numpy(), rows)
        target -= self._fill
        for band in nodata_bands:
            plane = rows[:, band]
            if plane.min() == 0:
                np.copyto(target.numpy()[:, band], 0, where=plane == 0)

    def _normalised(self, rows: Pixels) -> Tensor:
        """What the first level takes, float32 (C, H, W)."""
        how = self._normalisation
        mean, std, fill = (
            torch.as_tensor(np.asarray(values, np.float32).reshape(-1, 1, 1), device=self.device)
            for values in (how.mean, how.std, how.fill)
        )
        # devices know little of uint16: its bits go as int16 and come back as 0..65535
        bits = torch.from_numpy(np.ascontiguousarray(rows).view(np.int16)).to(self.device)
        dn = (bits.to(torch.int32) & 0xFFFF).to(torch.float32)
        dn = torch.where(dn == 0, fill, dn)
        return dn - fill if self._folded else (dn - mean) / std

    def _placed[L: (Level, Dense)](self, layer: L) -> L:
        """A layer with its weights in our type, on our device, channels last."""
        weight, bias = (values.to(self.device, self.dtype) for values in (layer.weight, layer.bias))
        if weight.ndim == 4:
            weight = weight.contiguous(memory_format=torch.channels_last)
        return replace(layer, weight=weight, bias=bias)

    def _stages_of(self, cols: int) -> list[Stage]:
        """The stages of a window of `cols` cells."""
        return stages(self._levels, cols, planar=self.device.type == "cpu" and self._folded)


def require_size(pixels: Pixels, block: tuple[int, int, int], patch_px: int, cell_px: int) -> None:
    """Refuse pixels of another size than a block of (bands, rows, cols) cells and its context."""
    bands, rows, cols = block
    expected = (bands, *(count * cell_px + patch_px - cell_px for count in (rows, cols)))
    if pixels.shape != expected:
        raise ValueError(f"{rows} x {cols} cells need pixels of {expected}, got {pixels.shape}")


def _forbid_tf32() -> None:
    """Convolutions of float32 in float32: cuDNN may round their input to 10 bits (TF32).

    It is a setting of the process, so it is made once and not by threads around their work.
    """
    torch.backends.cudnn.allow_tf32 = False


@contextmanager
def one_thread() -> Iterator[None]:
    """One intra-op thread for torch in the calling thread; what was set before comes back."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
