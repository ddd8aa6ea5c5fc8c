"""The spatial split: no ground in two parts, nothing tested twice, nothing moved by new scenes."""

import hashlib
import re

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pyproj import Transformer

from pipeline.config.split import SplitConf
from pipeline.errors import SplitError
from pipeline.geo.split import blocks as blocks_module
from pipeline.geo.split.audit import audit
from pipeline.geo.split.blocks import Blocks, largest_block_m, split_patches
from tests.support.examples import examples
from tests.support.stores import join, make_table

quick = examples(60)
PIXEL = 60.0
SIDE_M = 160.0
CLASSES = ["field", "wood", "lake"]
PARTS_960 = SplitConf(block_m=960.0, folds=None)


def coarse_pixels(patches, row, side):
    """(EPSG, i, j) of the 60 m pixels that the window of a patch lies on."""
    x, y = patches["x"][row], patches["y"][row]
    left, bottom = (int((c - side / 2) // PIXEL) for c in (x, y))
    right, top = (int(-(-(c + side / 2) // PIXEL)) for c in (x, y))
    epsg = int(patches["epsg"][row])
    return {(epsg, i, j) for i in range(left, right) for j in range(bottom, top)}


def ground_of(patches, rows, side):
    return set().union(*(coarse_pixels(patches, row, side) for row in rows))


def draw_of(key):
    """The number between 0 and 1 that a key stands for, as DESIGN.md and the module promise."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64


@st.composite
def worlds(draw):
    """Scenes that overlap or not, positions closer than cells or not, one class."""
    cell_px = draw(st.sampled_from([2, 4, 8]))
    patch_px = cell_px + 2 * draw(st.integers(0, 6))
    stride_px = cell_px // draw(st.sampled_from([1, 2]))
    tables = []
    for number in range(draw(st.integers(1, 3))):
        origin = tuple(
            base + cell_px * 10.0 * draw(st.integers(0, 20)) for base in (330_000, 5_820_000)
        )
        rows, cols = (draw(st.integers(2, 14)) for _ in "rc")
        scene = make_table(
            rows,
            cols,
            1,
            epsg=32633,
            origin=origin,
            scene=f"s{number}",
            cell_px=cell_px,
            stride_px=stride_px,
        )
        tables.append(scene)
    block_m = draw(st.sampled_from([70.0, 160.0, 240.0, 500.0]))
    return join(*tables), patch_px * 10.0, block_m


def split_or_skip(patches, conf, side, classes, candidates=20):
    """The assignment; a world that a few seeds cannot split is passed over."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks_module, "CANDIDATES", candidates)
        try:
            return split_patches(patches, conf, side, classes)
        except SplitError:
            assume(False)


def splits(assignment):
    """The parts of patches and of their blocks: of the three parts, or of each fold."""
    of_patch, block = assignment.blocks.of_patch, assignment.block_part
    if not assignment.fold_parts:
        return [(assignment.part, block[of_patch])]
    return [
        (part, np.where(block == f"fold {fold}", "test", "train")[of_patch])
        for fold, part in enumerate(assignment.fold_parts, start=1)
    ]


@quick
@given(world=worlds(), folds=st.sampled_from([None, 2, 3]), seed=st.integers(0, 50))
def test_no_pixel_of_60_m_is_in_two_parts_and_nothing_is_excluded_without_need(world, folds, seed):
    patches, side, block_m = world
    conf = SplitConf(seed=seed, block_m=block_m, folds=folds)
    assignment = split_or_skip(patches, conf, side, ["field"])
    on_grid = patches["on_grid"]
    for part, block in splits(assignment):
        rows = {name: np.flatnonzero(part == name) for name in ("train", "validation", "test")}
        ground = {name: ground_of(patches, rows[name], side) for name in rows}
        assert not ground["train"] & ground["validation"]
        assert not ground["train"] & ground["test"]
        assert not ground["validation"] & ground["test"]
        assert (part[(block == "test") & on_grid] == "test").all()
        assert on_grid[rows["validation"]].all()
        assert on_grid[rows["test"]].all()
        for name in rows:
            assert (block[rows[name]] == name).all()
        for row in np.flatnonzero(part == "unused"):
            here = coarse_pixels(patches, row, side)
            others = ground["test"] | (ground["validation"] if block[row] == "train" else set())
            assert here & others or (block[row] != "train" and not on_grid[row])


@examples(30)
@given(world=worlds(), folds=st.integers(2, 5), seed=st.integers(0, 50))
def test_folds_test_each_patch_of_the_cell_grid_exactly_once(world, folds, seed):
    patches, side, block_m = world
    conf = SplitConf(seed=seed, block_m=block_m, folds=folds)
    assignment = split_or_skip(patches, conf, side, ["field"])
    tested = np.sum([part == "test" for part in assignment.fold_parts], axis=0)
    np.testing.assert_array_equal(tested, patches["on_grid"].astype(int))
    assert len(assignment.fold_parts) == folds
    for part in assignment.fold_parts:
        assert {"train", "test"} <= set(part) <= {"train", "test", "unused"}
    assert set(assignment.part) == {"train"}  # the network that maps is trained on all


@quick
@given(world=worlds(), other=worlds(), seed=st.integers(0, 50), folds=st.sampled_from([None, 4]))
def test_another_scene_moves_no_block(world, other, seed, folds):
    patches, _, block_m = world
    conf = SplitConf(seed=seed, block_m=block_m, folds=folds)
    before = Blocks.of(patches, block_m)
    after = Blocks.of(join(other[0], patches), block_m)
    for fold in [None] if folds is None else range(folds):
        was = dict(zip(before.names, before.parts(conf, seed)[fold or 0], strict=True))
        now = dict(zip(after.names, after.parts(conf, seed)[fold or 0], strict=True))
        assert was == {name: now[name] for name in was}


def world(rows=60, cols=60, **options):
    """A table of three classes in 5 x 5 blocks of 960 m."""
    return make_table(rows, cols, 3, field=3, **options)


def test_the_part_of_a_block_is_the_hash_of_seed_and_place():
    patches = world()
    assignment = split_patches(patches, PARTS_960, SIDE_M, CLASSES)
    assert len(assignment.blocks) > 20
    for row in range(0, len(assignment.part), 37):
        x, y = int(patches["x"][row] // 960), int(patches["y"][row] // 960)
        u = draw_of(f"{assignment.seed}:32633:{x}:{y}")
        expected = "test" if u < 0.2 else "validation" if u < 0.4 else "train"
        block = assignment.blocks.of_patch[row]
        assert assignment.blocks.names[block] == f"32633:{x}:{y}"
        assert assignment.block_part[block] == expected


def test_the_fold_of_a_block_is_the_hash_of_seed_and_place():
    patches = world()
    assignment = split_patches(patches, SplitConf(block_m=960.0, folds=4), SIDE_M, CLASSES)
    for name, part in zip(assignment.blocks.names, assignment.block_part, strict=True):
        assert part == f"fold {int(draw_of(f'{assignment.seed}:{name}') * 4) + 1}"


def test_labels_pixels_and_dates_move_no_block_where_the_seed_is_the_same():
    patches, conf = world(), SplitConf(block_m=960.0, folds=3)
    before = split_patches(patches, conf, SIDE_M, CLASSES)
    turned = patches | {"label": (patches["label"] + 1) % 3}
    later = turned | {"scene": np.full(len(turned["x"]), "later")}
    after = split_patches(join(turned, later), conf, SIDE_M, CLASSES)
    assert (after.seed, after.blocks.names) == (before.seed, before.blocks.names)
    assert (after.block_part == before.block_part).all()


def test_shares_of_blocks_are_those_of_the_conf():
    patches = make_table(200, 200, 1)
    here = Blocks.of(patches, 160.0)
    (parts,) = here.parts(SplitConf(folds=None, validation=0.1, test=0.3), 7)
    assert len(here) >= 10_000
    shares = np.bincount(parts, minlength=3) / len(here)
    np.testing.assert_allclose(shares, [0.6, 0.1, 0.3], atol=0.015)  # 3 standard deviations


def test_the_same_ground_at_two_dates_is_in_one_part():
    once = world(stride_px=4, rows=120, cols=120)
    twice = join(once, {**once, "scene": np.full(len(once["x"]), "later")})
    assignment = split_patches(twice, PARTS_960, SIDE_M, CLASSES)
    first, second = np.split(assignment.part, 2)
    np.testing.assert_array_equal(first, second)
    alone = split_patches(once, PARTS_960, SIDE_M, CLASSES)
    np.testing.assert_array_equal(first, alone.part)
    assert audit(twice, assignment, SIDE_M, CLASSES)["shared_ground_m2"] == 0


@pytest.fixture(scope="module")
def two_zones():
    """The same ground in two UTM zones, each on its own cell grid, 2 degrees askew."""
    home = world(rows=70, cols=70, epsg=32633, origin=(330_000.0, 5_820_000.0))
    x, y = Transformer.from_crs(32633, 32632, always_xy=True).transform(332_800, 5_817_200)
    origin = (round(x / 80) * 80.0 - 2800, round(y / 80) * 80.0 + 2800)
    return join(home, world(rows=70, cols=70, epsg=32632, origin=origin, scene="s2"))


@pytest.mark.parametrize("folds", [None, 2])
def test_the_same_ground_in_two_zones_is_in_one_part(two_zones, folds):
    patches = two_zones
    assignment = split_patches(patches, SplitConf(block_m=960.0, folds=folds), SIDE_M, CLASSES)
    assert audit(patches, assignment, SIDE_M, CLASSES)["shared_ground_m2"] == 0
    for part, block in splits(assignment):
        # points 20 m apart all over a window, seen from the other zone, hit no window of another part
        for home, away in ((32633, 32632), (32632, 32633)):
            change = Transformer.from_crs(away, home, always_xy=True)
            for ours, theirs in (("train", "validation"), ("train", "test"), ("validation", "test")):
                mine = np.flatnonzero((part == ours) & (patches["epsg"] == home))
                yours = np.flatnonzero((part == theirs) & (patches["epsg"] == away))
                taken = {p[1:] for p in ground_of(patches, mine, SIDE_M)}
                steps = np.linspace(-SIDE_M / 2, SIDE_M / 2, 9)
                x = np.add.outer(patches["x"][yours], np.tile(steps, 9))
                y = np.add.outer(patches["y"][yours], np.repeat(steps, 9))
                seen = np.stack(change.transform(x.ravel(), y.ravel())) // PIXEL
                assert not taken & set(zip(*seen.astype(int).tolist(), strict=True))
        assert (part[block == "test"] == "test").all()


def fits(patches, conf, seed):
    """Whether a seed brings every class to every part: with it alone to try."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks_module, "CANDIDATES", 1)
        try:
            return split_patches(patches, conf.model_copy(update={"seed": seed}), SIDE_M, CLASSES)
        except SplitError:
            return None


def test_the_first_seed_by_which_every_class_reaches_every_part_is_used():
    # 9 blocks of 640 m, one field each: most seeds fail
    patches = make_table(24, 24, 3, field=8, origin=(640 * 500.0, 640 * 9000.0))
    conf = SplitConf(block_m=640.0, folds=None, validation=0.3)
    assignment = split_patches(patches, conf, SIDE_M, CLASSES)
    assert assignment.seed >= 1000
    assert assignment.seed % 1000 == 0
    assert not any(fits(patches, conf, seed) for seed in range(0, assignment.seed, 1000))
    again = fits(patches, conf, assignment.seed)  # a seed that was recorded gives the same split
    assert again.seed == assignment.seed
    np.testing.assert_array_equal(again.part, assignment.part)


def test_with_folds_the_seed_that_spreads_the_classes_most_evenly_is_used():
    patches = make_table(24, 24, 3, field=8, origin=(640 * 500.0, 640 * 9000.0))
    conf = SplitConf(seed=7, block_m=640.0, folds=3)
    assignment = split_patches(patches, conf, SIDE_M, CLASSES)
    seeds = range(7, 100_000, 1000)  # a hundred
    possible = {seed: one for seed in seeds if (one := fits(patches, conf, seed))}
    assert assignment.seed in possible
    assert 1 < len(possible) < 100

    def unevenness(one):
        """Squared distance from even shares of each class by fold."""
        squares = 0.0
        for label in range(3):
            own = patches["label"] == label
            squares += sum(((part == "test")[own].mean() - 1 / 3) ** 2 for part in one.fold_parts)
        return squares

    least = min(map(unevenness, possible.values()))
    assert unevenness(assignment) == pytest.approx(least)
    assert max(map(unevenness, possible.values())) > 1.5 * least  # or any seed would do
    again = fits(patches, conf, assignment.seed)  # a seed that was recorded gives the same split
    assert (again.block_part == assignment.block_part).all()


def test_every_class_reaches_every_part_once_the_buffer_is_applied():
    # windows of 400 m in blocks of 640 m: what blocks promise, borders may take
    patches = make_table(60, 60, 3, field=4)
    for seed in range(8):
        conf = SplitConf(seed=seed, block_m=640.0, folds=None)
        assignment = split_patches(patches, conf, 400.0, CLASSES)
        for part in ("train", "validation", "test"):
            assert set(patches["label"][assignment.part == part]) == {0, 1, 2}


def test_every_class_trains_in_every_fold_and_is_tested_in_some():
    patches = make_table(40, 40, 3, field=4)
    assignment = split_patches(patches, SplitConf(block_m=640.0, folds=4), 400.0, CLASSES)
    tested = []
    for part in assignment.fold_parts:
        assert set(patches["label"][part == "train"]) == {0, 1, 2}
        tested.append(set(patches["label"][part == "test"]))
    assert all(tested)
    assert set().union(*tested) == {0, 1, 2}


def test_off_grid_patches_train_but_never_score():
    patches = world(rows=120, cols=120, stride_px=4)
    assignment = split_patches(patches, PARTS_960, SIDE_M, CLASSES)
    off = ~patches["on_grid"]
    assert set(assignment.part[off]) == {"train", "unused"}
    assert (assignment.part[off] == "train").sum() > 1000
    folds = split_patches(patches, SplitConf(block_m=960.0, folds=3), SIDE_M, CLASSES)
    for part in folds.fold_parts:
        assert set(part[off]) == {"train", "unused"}


def refused(patches, conf, classes=CLASSES):
    with pytest.raises(SplitError) as caught:
        split_patches(patches, conf, SIDE_M, classes)
    return str(caught.value)


def test_a_class_without_patches_is_named():
    message = refused(world(), PARTS_960, [*CLASSES, "moor"])
    assert message.startswith("Class 'moor' has no patches at all; add labels")


def test_a_class_in_too_few_blocks_is_named_at_once():
    patches = world()
    patches["label"][patches["label"] == 2] = 0
    patches["label"][:2] = 2
    message = refused(patches, PARTS_960)
    assert message.startswith("Class 'lake' lies in 1 block of 960 m, but a split needs 3; ")
    assert "no other block_m would do: merge classes or add labels" in message


@pytest.mark.parametrize("folds", [None, 3])
def test_the_largest_side_of_a_block_that_would_do_is_named(folds):
    """A lake of 960 m within one block; with the side that is named the split succeeds."""
    patches = make_table(60, 60, 2, field=3, origin=(1920 * 200.0, 1920 * 3000.0))
    x, y = patches["x"] - 1920 * 200, 1920 * 3000 - patches["y"]
    patches["label"][(x < 960) & (y < 960)] = 2
    conf = SplitConf(block_m=1920.0, folds=folds)
    message = refused(patches, conf)
    assert message.startswith(
        f"Class 'lake' lies in 1 block of 1920 m, but a split needs {3 - bool(folds)};"
    )
    named = float(re.search(r"; make block_m (\d+), merge classes or add labels\.$", message)[1])
    assert SIDE_M <= named < 1920
    assert split_patches(patches, conf.model_copy(update={"block_m": named}), SIDE_M, CLASSES)
    for larger in np.arange(named + 60, 1920, 60):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(blocks_module, "CANDIDATES", 100)
            refused(patches, conf.model_copy(update={"block_m": float(larger)}))
    assert largest_block_m(patches, conf, SIDE_M, CLASSES) == named


def test_a_class_that_no_seed_brings_to_a_part_is_named_with_its_blocks():
    patches = world()
    lake = patches["label"] == 2
    patches["on_grid"][lake] = False
    patches["on_grid"][np.flatnonzero(lake)[0]] = True
    message = refused(patches, PARTS_960)
    assert message.startswith("None of the seeds 0, 1000, ... brings every class to every part: ")
    assert "class 'lake' has no " in message
    assert "its patches lie in 1 block of 960 m; no other block_m would do: merge classes" in message


def test_a_class_that_the_buffer_excludes_is_named(monkeypatch):
    monkeypatch.setattr(blocks_module, "CANDIDATES", 50)
    # windows as wide as the world: whatever is not tested meets what is
    patches = make_table(24, 24, 1, origin=(960 * 400.0, 960 * 6000.0))
    with pytest.raises(SplitError) as caught:
        split_patches(patches, PARTS_960, 4000.0, ["field"])
    assert (
        "patches are excluded by the buffer, and class 'field' has no train patches; its patches "
        "lie in 4 blocks of 960 m; no other block_m would do: merge classes or add" in str(caught.value)
    )


def test_more_folds_than_blocks_are_refused():
    patches = make_table(24, 24, 1, origin=(960 * 400.0, 960 * 6000.0))
    message = refused(patches, SplitConf(block_m=960.0, folds=5), ["field"])
    assert "the test part of a fold stays empty; its patches lie in 4 blocks of 960 m" in message
    assert "make block_m 900" in message
