"""Targets 1, 3 and 6: `predict`, end to end, and the default network beside it."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import rasterio
import torch

from benchmarks import machine, network, peer
from benchmarks.agreement import Agreement, require_agreement
from benchmarks.bench import MEMORY_MB, Bench
from benchmarks.decode import decode
from benchmarks.peer import Answers, Way
from benchmarks.report import Figure, Section, with_target
from benchmarks.scene import Made
from benchmarks.timing import RUNS, Measured, Side, repeated, side_by_side
from pipeline.geo.maps.pieces import Piece, pieces
from pipeline.geo.raster.grid import PatchGrid, mirror_index
from pipeline.learn.inference.predictor import Predictor
from pipeline.learn.network.classifier import PatchClassifier

PEAK_MB = 1500


def predict_section(bench: Bench) -> Section:
    """Targets 1 and 3: against torchgeo's loop, and against decoding and computing alone."""
    bench.save(bench.lenet_64, "lenet_64")
    grid = bench.grid(network.lenet_64())
    classifier = bench.lenet_64.to("cuda" if torch.cuda.is_available() else "cpu")
    way = _best_way(bench, classifier, grid)
    loaders = [peer.scene_loader(bench.made.stack, grid, way, (part, RUNS)) for part in range(RUNS)]
    answers, cells = Answers(), grid.rows * grid.cols
    bands = list(bench.made.bands.values())

    def decoding() -> float:
        decode(bands, machine.cores())
        return cells

    sides = {
        "predict": repeated(_predicting(bench, bench.made, "lenet_64", cells)),
        "torchgeo": peer.classifying(loaders, classifier, answers),
        "decode alone": repeated(decoding),
        "compute alone": repeated(_computing(bench, classifier, grid)),
    }
    measured = side_by_side(sides, bench.seconds, say=bench.say)
    agreement = require_agreement(answers, bench.class_map(bench.made, "lenet_64"), grid)
    figures = [_against_peer(measured, grid), _peak(bench), _against_parts(measured, cells)]
    return Section("Predict", figures, _notes(way, agreement, measured))


def growth_section(bench: Bench) -> Section:
    """Target 6: the whole scene beside a quarter of it, which has half of its side."""
    whole, quarter = bench.made, bench.scene_of(bench.size_px // 2 // 6 * 6)
    bench.save(bench.lenet_64, "lenet_64")
    sides = {
        name: repeated(_predicting(bench, made, "lenet_64", made.scene.grid.width**2 / 1e6))
        for name, made in (("whole", whole), ("quarter", quarter))
    }
    measured = side_by_side(sides, bench.seconds, say=bench.say)
    ms = [1000 / measured[name].rate for name in sides]
    mb = [_usual_peak_mb(bench, made) for made in (whole, quarter)]
    what = f"{whole.scene.grid.width} px beside {quarter.scene.grid.width} px"
    times = with_target(
        "6", f"`predict`, time per Mpx: {what}", f"{ms[0]:.1f} ms", f"{ms[1]:.1f} ms",
        (ms[0] / ms[1], "<=", 1.1),
    )  # fmt: skip
    peaks = with_target(
        "6", f"`predict`, peak memory: {what}", f"{mb[0]:,.0f} MB", f"{mb[1]:,.0f} MB",
        (mb[0] / mb[1], "<=", 1.1),
    )  # fmt: skip
    note = f"Peak memory: the median of {RUNS} runs of the command each, which differ by some per cent."
    return Section("Growth", [times, peaks], [note])


def _usual_peak_mb(bench: Bench, made: Made) -> float:
    """What a run takes at most depends a little on what its threads happen to do at once."""
    runs = [bench.watched_predict("lenet_64", made).peak.own_mb for _ in range(RUNS)]
    return statistics.median(runs)


def default_section(bench: Bench) -> Section:
    """The default network, without a target."""
    file = network.DEFAULT
    grid = bench.grid(file)
    bench.save(network.random_model(file, bench.made.scene), "modern")
    work = _predicting(bench, bench.made, "modern", grid.rows * grid.cols)
    measured = side_by_side({"predict, modern": repeated(work)}, 0.0, say=bench.say)
    rate = measured["predict, modern"].rate
    what = f"`predict`, network modern, {file.patch_px} px patches, 13 bands, stride {grid.cell_px}"
    return Section("The default network", [Figure("", what, f"{rate:,.0f} patches/s")])


def _predicting(bench: Bench, made: Made, model: str, units: float) -> Callable[[], float]:
    def work() -> float:
        bench.predict(model, made)
        return units

    return work


def _computing(bench: Bench, classifier: PatchClassifier, grid: PatchGrid) -> Callable[[], float]:
    """The dense form over all pieces of the scene, whose pixels are in memory."""
    bench.say("pixels of the whole scene to memory")
    pixels = whole_scene(bench.made, grid)
    geometry = classifier.meta.geometry.of_map(bench.pixel_px, "--pixel-px")
    predictor = Predictor(classifier, geometry=geometry)
    parts = pieces(grid, predictor.block_cells)

    def one(part: Piece) -> int:
        window = grid.read_window(part.rows, part.cols)
        top, left = window.row - grid.row0 + grid.margin_px, window.col - grid.col0 + grid.margin_px
        view = pixels[:, top : top + window.height, left : left + window.width]
        return int(predictor(view, len(part.rows), len(part.cols))[0].size)

    def work() -> float:
        with ThreadPoolExecutor(machine.cores()) as pool:
            return sum(pool.map(one, parts))

    return work


def whole_scene(made: Made, grid: PatchGrid) -> npt.NDArray[np.uint16]:
    """The pixels of all cells with their context, mirrored at the edges: (C, H, W)."""
    window = grid.read_window(range(grid.rows), range(grid.cols))
    rows = mirror_index(window.rows, grid.scene.height)
    cols = mirror_index(window.cols, grid.scene.width)
    with rasterio.open(made.stack) as dataset:
        pixels = np.empty((dataset.count, len(rows), len(cols)), dtype=np.uint16)
        for start in range(0, len(rows), 512):
            some = rows[start : start + 512]
            top = int(some.min())
            strip = dataset.read(window=((top, int(some.max()) + 1), (0, dataset.width)))
            pixels[:, start : start + 512] = strip[:, some - top][:, :, cols]
    return pixels


def _best_way(bench: Bench, classifier: PatchClassifier, grid: PatchGrid) -> Way:
    bench.say("torchgeo's loop, each way for a while")

    def side(way: Way) -> Side:
        return peer.classifying([peer.scene_loader(bench.made.stack, grid, way)], classifier, Answers())

    return peer.best(side, bench.trial_s, bench.say)


def _against_peer(measured: dict[str, Measured], grid: PatchGrid) -> Figure:
    ours, theirs = measured["predict"].rate, measured["torchgeo"].rate
    return with_target(
        "1", f"`predict`, COGs to finished maps, 64 px patches, 13 bands, stride {grid.cell_px}",
        f"{ours:,.0f} patches/s", f"torchgeo: {theirs:,.0f} patches/s", (ours / theirs, ">=", 250),
    )  # fmt: skip


def _peak(bench: Bench) -> Figure:
    """Memory of the command line, in a process of its own."""
    watched = bench.watched_predict("lenet_64", bench.made)
    own, mapped = watched.peak.own_mb, watched.peak.mapped_mb
    return Figure(
        "1",
        f"`lenscape predict`, {bench.size_px} x {bench.size_px} px in one go: peak memory",
        f"{own:,.0f} MB, and {mapped:,.0f} MB of mapped files",
        f"memory_mb {MEMORY_MB}; {watched.seconds:.1f} s with the start of Python",
        "",
        f"below {PEAK_MB} MB" + ("" if bench.full else " at full size"),
        own < PEAK_MB if bench.full else None,
    )


def _against_parts(measured: dict[str, Measured], cells: float) -> Figure:
    whole, decoding, computing = (
        measured[name].seconds_for(cells) for name in ("predict", "decode alone", "compute alone")
    )
    cuda = torch.cuda.is_available()
    bound, joined = (1.3, max(decoding, computing)) if cuda else (1.25, decoding + computing)
    parts = f"decoding {decoding:.2f} s, computing {computing:.2f} s"
    what = "the larger of decoding and computing" if cuda else "the sum of decoding and computing"
    return with_target(
        "3", f"`predict`, end to end beside {what} alone", f"{whole:.2f} s", parts,
        (whole / joined, "<=", bound),
    )  # fmt: skip


def _notes(way: Way, agreement: Agreement, measured: dict[str, Measured]) -> list[str]:
    spread = ", ".join(f"{name} {100 * side.spread:.0f} %" for name, side in measured.items())
    return [
        "`predict` is the whole stage in this process: the model loaded, the COGs read, class map, "
        "confidence, areas, preview and Item written, and the MLflow run told.",
        f"torchgeo: `RasterDataset` on one COG of 13 bands at 10 m, float32, pixel-interleaved, which "
        "was no slower for it than band by band, `GriddedPatchSampler`, `stack_samples`, `DataLoader`; "
        f"of batch 32, 128, 512 and 0, 1, 2 workers the fastest was {way}.",
        f"Classes: {agreement}.",
        f"Between the slowest and the fastest of {RUNS} runs: {spread}.",
    ]
