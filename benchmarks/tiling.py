"""Target 4: `tile`, at the speed of decoding and writing."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from benchmarks import machine, network, peer
from benchmarks.bench import Bench
from benchmarks.decode import decode
from benchmarks.errors import DisagreementError
from benchmarks.peer import Way
from benchmarks.report import Figure, Section, with_target
from benchmarks.stores import StorePlan, centers
from benchmarks.timing import Measured, Side, repeated, side_by_side
from pipeline.files import remove
from pipeline.store import PatchStore

_WRITE_BYTES = 16_000_000
_NOTES = (
    "`tile` is the whole stage: labels read, patches cut, the store written. Decoding: "
    "every block of every band once by rasterio, on all cores. Writing: so many bytes to a new file; "
    "as in `tile`, nothing waits for the disk (no fsync), and before each run the system is told to "
    "write out what is pending.",
    "torchgeo: a `SpatialSampler` of the same positions on the COG of 13 bands at 10 m, `DataLoader`, "
    "patches written to a memory-mapped array. They are the store's, bit by bit.",
)


def tile_section(bench: Bench) -> Section:
    """Target 4: against decoding and writing alone, and against torchgeo's sampler."""
    plan = StorePlan(bench, network.lenet_64())
    bands = list(bench.made.bands.values())
    remove(plan.folder)
    store = plan.open()
    patches, size = len(store), (plan.folder / "pixels.npy").stat().st_size
    copy, scratch = bench.made.folder / "peer.npy", bench.made.folder / "written.bin"
    written = np.lib.format.open_memmap(copy, mode="w+", dtype=np.uint16, shape=store.pixels.shape)
    way = _best_way(bench, store, written)
    loader = peer.patch_loader(bench.made.stack, centers(store), plan.file.patch_px, way)
    del store  # it is about to be made anew

    def decoding() -> float:
        decode(bands, machine.cores())
        return patches

    def afresh() -> None:
        """Neither side pays for what the other one has left to the disk."""
        remove(plan.folder)
        remove(scratch)
        os.sync()

    def writing() -> float:
        _write_once(scratch, size)
        return patches

    sides = {
        "tile": repeated(plan.make, before=afresh),
        "decode alone": repeated(decoding),
        "write alone": repeated(writing, before=afresh),
        "torchgeo": peer.writing(loader, written),
    }
    measured = side_by_side(sides, bench.seconds, say=bench.say)
    _require_same(written, plan.open(), min(int(measured["torchgeo"].runs[-1].units), patches))
    remove(scratch)
    remove(copy)
    what = f"`tile`, {patches:,} patches of 64 px, {size / 1e9:.2f} GB"
    return Section("Tile", _figures(measured, patches, what), [*_NOTES, f"torchgeo's fastest: {way}."])


def _figures(measured: dict[str, Measured], patches: int, what: str) -> list[Figure]:
    whole, decoded, wrote = (
        measured[name].seconds_for(patches) for name in ("tile", "decode alone", "write alone")
    )
    ours, theirs = measured["tile"].rate, measured["torchgeo"].rate
    return [
        with_target(
            "4", f"{what}: beside decoding and writing alone", f"{whole:.2f} s",
            f"decoding {decoded:.2f} s, writing {wrote:.2f} s",
            (whole / (decoded + wrote), "<=", 1.5),
        ),
        with_target(
            "4", f"{what}: patches written", f"{ours:,.0f} patches/s",
            f"torchgeo: {theirs:,.0f} patches/s", (ours / theirs, ">=", 10),
        ),
    ]  # fmt: skip


def _best_way(bench: Bench, store: PatchStore, written: np.memmap) -> Way:
    bench.say("torchgeo's sampler, each way for a while")

    def side(way: Way) -> Side:
        side_px = store.meta.geometry.patch_px
        return peer.writing(peer.patch_loader(bench.made.stack, centers(store), side_px, way), written)

    return peer.best(side, bench.trial_s, bench.say)


def _require_same(written: np.memmap, store: PatchStore, count: int) -> None:
    if not np.array_equal(written[:count], store.pixels[:count]):
        raise DisagreementError(
            f"the first {count} patches of torchgeo's sampler are not those of {store.folder}: one of "
            "the two sides is wrong."
        )


def _write_once(path: Path, size: int) -> None:
    """Write so many bytes, a piece at a time."""
    piece = np.arange(_WRITE_BYTES // 2, dtype=np.uint16).data.cast("B")
    with path.open("wb") as stream:
        for start in range(0, size, len(piece)):
            stream.write(piece[: size - start])
