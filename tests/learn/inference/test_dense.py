"""The dense form against the network itself, patch by patch, on networks that nobody chose."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st
from torch import nn

from pipeline.config.train import PRESETS, ConvolutionConf, DenseConf, NetworkConf, PoolConf
from pipeline.learn.inference import dense
from pipeline.learn.inference.dense import DenseForm
from pipeline.learn.inference.levels import Normalisation
from pipeline.learn.network.layers import fits
from pipeline.learn.network.lenet import build
from tests.support.examples import examples

FIVES = NetworkConf(
    activation="relu",
    convolutions=[ConvolutionConf(filters=count, kernel=5, pool=PoolConf()) for count in (6, 16)],
    dense=[DenseConf(units=12)],
)


GAPS = NetworkConf(convolutions=[ConvolutionConf(filters=2, kernel=1, pool=PoolConf(size=1, stride=2))])


@dataclass(frozen=True)
class Case:
    """A network and a picture for it."""

    network: NetworkConf
    bands: int
    patch_px: int
    cell_px: int
    rows: int
    cols: int
    nodata: float
    seed: int

    @property
    def trained(self) -> nn.Sequential:
        """The network as if it had been trained: batch norms that have seen something."""
        torch.manual_seed(self.seed)
        network = build(self.network, self.bands, self.patch_px, 3).eval()
        for module in network:
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
                module.weight.data.uniform_(0.5, 1.5)
                module.bias.data.normal_()
        return network

    @property
    def pixels(self) -> np.ndarray:
        """Harmonised DN of all cells with their context, some of them nodata."""
        random = np.random.default_rng(self.seed)
        sides = (
            count * self.cell_px + self.patch_px - self.cell_px for count in (self.rows, self.cols)
        )
        pixels = random.integers(1, 65_535, (self.bands, *sides)).astype(np.uint16)
        pixels[random.random(pixels.shape) < self.nodata] = 0
        return pixels

    @property
    def normalisation(self) -> Normalisation:
        """Means and deviations of all sizes."""
        random = np.random.default_rng(self.seed)
        mean = random.uniform(1, 9000, self.bands)
        return Normalisation(mean, random.uniform(100, 9000, self.bands), np.rint(mean))

    def patch_by_patch(self) -> np.ndarray:
        """Logits (K, rows, cols) in float64, each from a patch of its own."""
        how, network = self.normalisation, self.trained.double()
        mean, std, fill = (
            torch.from_numpy(values)[:, None, None] for values in (how.mean, how.std, how.fill)
        )
        dn = torch.from_numpy(self.pixels.astype(np.float64))
        values = (torch.where(dn == 0, fill, dn) - mean) / std
        side, step = self.patch_px, self.cell_px
        patches = values.unfold(1, side, step).unfold(2, side, step).permute(1, 2, 0, 3, 4)
        with torch.inference_mode():
            logits = network(patches.reshape(-1, self.bands, side, side))
        return logits.T.reshape(-1, self.rows, self.cols).numpy()


def form(case: Case, dtype: torch.dtype = torch.float32, **how: Any) -> DenseForm:
    sides = case.patch_px, case.cell_px
    return DenseForm(case.trained, case.normalisation, sides, dtype, **how)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Networks of the family with valid padding, cells of any size, pictures of any size."""
    pool = st.builds(
        PoolConf,
        kind=st.sampled_from(["max", "average"]),
        size=st.integers(1, 3),
        stride=st.sampled_from([None, 1, 2, 3, 4]),
    )
    convolution = st.builds(
        ConvolutionConf,
        filters=st.sampled_from([1, 2, 3, 6, 8, 16, 20]),
        kernel=st.integers(1, 5),
        stride=st.sampled_from([1, 1, 2, 3]),
        batch_norm=st.booleans(),
        pool=st.one_of(st.none(), pool),
    )
    network = draw(
        st.builds(
            NetworkConf,
            activation=st.sampled_from(["relu", "sigmoid", "tanh"]),
            convolutions=st.lists(convolution, min_size=1, max_size=3),
            dense=st.lists(
                st.builds(DenseConf, units=st.integers(1, 9), batch_norm=st.booleans()), max_size=2
            ),
        )
    )
    patch_px = draw(st.integers(3, 33))
    assume(fits(network, patch_px))
    cell_px = patch_px - 2 * draw(st.integers(0, (patch_px - 1) // 2))
    return Case(
        network,
        draw(st.sampled_from([1, 2, 3, 13])),
        patch_px,
        cell_px,
        draw(st.integers(1, 9)),
        draw(st.integers(1, 9)),
        draw(st.sampled_from([0, 0.1, 1])),
        draw(st.integers(0, 9)),
    )


@examples(120)
@given(
    case=cases(),
    window_px=st.sampled_from([8, 32, 1024]),
    strip_values=st.sampled_from([1, 3000, 100_000]),
)
@example(Case(FIVES, 13, 64, 8, 4, 5, 0.01, 0), 32, 20_000)
@example(Case(FIVES, 3, 32, 6, 5, 4, 0.1, 0), 1024, 1)  # 6 is no multiple of 4: dilation
@example(Case(FIVES, 1, 31, 1, 4, 9, 0, 0), 8, 3000)  # one band, one pixel a cell
@example(Case(GAPS, 1, 4, 4, 3, 2, 0, 0), 8, 1)  # pooling leaves rows out that no patch uses
def test_every_cell_has_the_logits_of_its_patch(case: Case, window_px: int, strip_values: int) -> None:
    expected = case.patch_by_patch()
    largest = max(1.0, np.abs(expected).max())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dense, "WINDOW_PX", window_px)
        patch.setattr(dense, "_STRIP_VALUES", strip_values)
        for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-5)):
            actual = form(case, dtype).probabilities(case.pixels, case.rows, case.cols, softmax=False)
            assert np.abs(actual - expected).max() <= tolerance * largest


def test_saturated_pixels_and_small_deviations_cost_no_digits() -> None:
    case = Case(FIVES, 13, 64, 8, 3, 3, 0, 1)
    narrow = Normalisation(np.full(13, 40_000.4), np.full(13, 2.0), np.full(13, 40_000))
    pixels = np.random.default_rng(0).integers(39_990, 40_010, case.pixels.shape).astype(np.uint16)
    exact, actual = (
        DenseForm(case.trained, narrow, (64, 8), dtype).probabilities(pixels, 3, 3, softmax=False)
        for dtype in (torch.float64, torch.float32)
    )
    assert np.abs(actual - exact).max() <= 1e-5 * max(1, np.abs(exact).max())


def test_neither_blocks_nor_threads_nor_neighbours_change_a_bit() -> None:
    case = Case(FIVES, 3, 32, 8, 150, 160, 0.01, 0)
    pixels, whole_form = case.pixels, form(case)
    whole = whole_form.probabilities(pixels, case.rows, case.cols)
    tall, wide = whole_form.rows, whole_form.cols
    assert case.rows < 2 * tall
    assert case.cols > wide  # two windows, the second one filled up

    def block(col: int) -> np.ndarray:
        torch.set_num_threads(1 + col % 3)
        count = min(wide, case.cols - col)
        return whole_form.probabilities(
            pixels[:, :, col * 8 : (col + count) * 8 + 24], case.rows, count
        )

    before = torch.get_num_threads()
    with ThreadPoolExecutor(3) as threads:
        blocks = list(threads.map(block, range(0, case.cols, wide)))
    torch.set_num_threads(before)
    np.testing.assert_array_equal(np.concatenate(blocks, axis=2), whole)
    # another picture went through the same buffers, and the values of a pixel lie side by side
    whole_form.probabilities(np.full_like(pixels, 60_000), case.rows, case.cols, softmax=False)
    interleaved = np.ascontiguousarray(pixels.transpose(1, 2, 0)).transpose(2, 0, 1)
    again = whole_form.probabilities(interleaved, case.rows, case.cols)
    np.testing.assert_array_equal(again, whole)
    assert np.abs(whole.sum(axis=0) - 1).max() < 1e-6


def test_another_process_has_the_same_form() -> None:
    case = Case(PRESETS["modern"], 4, 16, 8, 5, 4, 0.1, 0)
    first = form(case)
    expected = first.probabilities(case.pixels, 5, 4, softmax=False)
    sent = pickle.loads(pickle.dumps(first))
    np.testing.assert_array_equal(sent.probabilities(case.pixels, 5, 4, softmax=False), expected)


def test_blocks_that_waste_nothing_are_whole_strips() -> None:
    for cell_px in (1, 3, 8, 16):
        made = form(Case(FIVES, 13, 64, cell_px, 1, 1, 0, 0))
        assert 1 <= made.cols * cell_px <= dense.WINDOW_PX
        assert 0.4 * dense._BLOCK_PX <= made.rows * cell_px <= 1.5 * dense._BLOCK_PX
        assert made.lane_bytes < 120e6
        assert made.rows * made.cols * 3 <= 11e6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.half])
def test_low_precision_is_normalised_before_the_cast(dtype: torch.dtype) -> None:
    case = Case(FIVES, 3, 32, 8, 6, 6, 0.05, 0)
    how = Normalisation(np.full(3, 30_000.4), np.full(3, 20_000.0), np.full(3, 30_000))
    exact, low = (
        DenseForm(case.trained, how, (32, 8), kind).probabilities(case.pixels, 6, 6, softmax=False)
        for kind in (torch.float32, dtype)
    )
    assert low.dtype == np.float32
    assert 0 < np.abs(low - exact).max() < 0.02 * np.abs(exact).max()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_logits() -> None:
    case = Case(FIVES, 13, 64, 8, 40, 150, 0.01, 0)
    cpu, cuda = (
        form(case, device=device).probabilities(case.pixels, 40, 150, softmax=False)
        for device in ("cpu", "cuda")
    )
    assert np.abs(cuda - cpu).max() <= 1e-5 * max(1, np.abs(cpu).max())


def test_the_caller_s_threads_come_back_and_the_form_runs_on_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = Case(FIVES, 2, 32, 8, 2, 2, 0, 0)
    made, seen = form(case), []
    load = DenseForm._load
    monkeypatch.setattr(
        DenseForm, "_load", lambda *args: (seen.append(torch.get_num_threads()), load(*args))[1]
    )
    torch.set_num_threads(2)
    made.probabilities(case.pixels, 2, 2, softmax=False)
    assert torch.get_num_threads() == 2
    assert set(seen) == {1}


def test_pixels_of_another_size_are_refused() -> None:
    case = Case(FIVES, 3, 32, 8, 2, 3, 0, 0)
    with pytest.raises(ValueError, match=r"3 x 2 cells need pixels of \(3, 48, 40\), got"):
        form(case).probabilities(case.pixels, 3, 2, softmax=False)


def test_tf32_is_a_setting_of_the_process_and_not_of_a_thread(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    made = form(Case(FIVES, 3, 32, 8, 6, 6, 0.05, 0))
    assert not torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = True
    pickle.loads(pickle.dumps(made))  # in another process
    assert not torch.backends.cudnn.allow_tf32
