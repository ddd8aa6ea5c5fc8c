"""The sentences that a run's page opens with, and what must be said beside every figure."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.learn.evaluation import published_scores
from pipeline.learn.network.classifier import ModelMeta
from pipeline.learn.stats.accuracy import Scores
from pipeline.store import SceneInfo, SplitFolder, StoreMeta

_NAMED_SCENES = 10


def caveat(store: StoreMeta) -> str:
    """What the accuracy does not speak of."""
    if store.images is not None:
        return (
            f"These figures hold for images like those of {store.images.name}, which its makers chose "
            "to show one class each: mixed ground is not judged."
        )
    impure, positions = store.counts["left_out"]["impure"], store.counts["positions"]
    return (
        f"These figures hold for cells of which one class covers {store.min_purity:.0%} or more: mixed "
        f"ones ({impure:,} of {positions:,} positions) and ground without labels are not judged."
    )


def trust(figures: Mapping[str, float]) -> str:
    """How far the probabilities can be believed, in a sentence or two.

    Args:
        figures: `ece_before`, `ece_after`, `temperature` and, where it is known, `unlike_training`.
    """
    said = (
        f"Confidence and accuracy differ by {figures['ece_after']:.3f} on average (expected "
        f"calibration error; {figures['ece_before']:.3f} before the temperature of "
        f"{figures['temperature']:.2f})."
    )
    if "unlike_training" not in figures:
        return said
    return f"{said} {figures['unlike_training']:.1%} of the test patches are unlike the training data."


def description(
    meta: ModelMeta,
    store: StoreMeta,
    split: SplitFolder,
    scores: Mapping[str, Scores],
    tags: Mapping[str, str],
) -> str:
    """The description of a run in Markdown: data, split, result, worst confusion, how to repeat.

    Args:
        meta: The model.
        store: Its store.
        split: Its split.
        scores: Of the network, which comes first, and of the baselines.
        tags: Of the run: `git.commit`, `git.dirty` and `dvc.experiment`, where it has them.
    """
    name, *others = scores
    network = scores[name]
    figures = published_scores.beside(store, split, network)
    lines = [
        f"**{meta.preset}** on the bands {', '.join(meta.bands)}, patches of "
        f"{meta.geometry.patch_px} px, cells of {meta.geometry.cell_px} px.",
        "",
        _against(network, {other: scores[other] for other in others}),
        "",
        worst(network, meta),
        "",
        *([f"**Published.** {figures}.", ""] if figures else []),
        caveat(store),
        "",
        f"**Data.** {scenes_of(meta)}; {len(split.rows('train')):,} training, "
        f"{len(split.rows('validation')):,} validation and {len(split.rows('test')):,} test patches of "
        f"{len(meta.classes)} classes. {meta.credit}.",
        "",
        f"**Split.** {split_of(split)} (audit in `reports/`).",
        "",
        f"**Repeat.** {repeat(tags)} The store then has the hash `{meta.hashes.store[:12]}`, the "
        f"split `{meta.hashes.split[:12]}`, the conf of `train` `{meta.hashes.conf[:12]}`.",
    ]
    return "\n".join(lines)


def _against(network: Scores, baselines: Mapping[str, Scores]) -> str:
    result = (
        f"**Result on the test part.** Accuracy {network.accuracy:.3f}, balanced "
        f"{network.balanced_accuracy:.3f}"
    )
    if not baselines:
        return f"{result}."
    better = max(baselines, key=lambda name: baselines[name].balanced_accuracy)
    bar = baselines[better]
    gain = network.balanced_accuracy - bar.balanced_accuracy
    return (
        f"{result}; the better baseline, {better.replace('_', ' ')}, has {bar.accuracy:.3f} and "
        f"{bar.balanced_accuracy:.3f} ({gain:+.3f} balanced)."
    )


def worst(network: Scores, meta: ModelMeta) -> str:
    """The most frequent mistake, in Markdown."""
    found = network.worst_confusion
    if found is None:
        return "No test patch is called anything but what it is."
    truth, predicted, count = found
    share = count / network.support[truth]
    return (
        f"**Worst confusion.** {count} patches of {meta.classes[truth].title} ({share:.0%} of them) "
        f"are called {meta.classes[predicted].title}."
    )


def scenes_of(meta: ModelMeta) -> str:
    """The scenes that a model learnt from, the first ten by name."""
    named = [
        f"{scene.id} ({_day(scene)}, {scene.level or 'level unknown'}, baseline "
        f"{scene.baseline or 'unknown'})"
        for scene in meta.scenes[:_NAMED_SCENES]
    ]
    more = len(meta.scenes) - len(named)
    return ", ".join(named) + (f" and {more} more scenes" if more else "")


def _day(scene: SceneInfo) -> str:
    return " to ".join(moment[:10] for moment in scene.datetime.split("/"))


def split_of(split: SplitFolder) -> str:
    """How the patches were parted, and whether parts share ground."""
    return f"{_parting(split)} {_ground(split)}"


def _parting(split: SplitFolder) -> str:
    parting = split.split
    if parting.lists is not None:
        return f"Parts as in the published list '{parting.lists}'."
    kind = "three parts" if parting.folds is None else f"fold {parting.fold} of {parting.folds}"
    return f"Blocks of {parting.block_m:g} m, {kind}, seed {parting.seed}."


def _ground(split: SplitFolder) -> str:
    shared = split.split.shared_ground_m2
    if not shared:
        return "No ground is shared between the parts"
    return f"Parts share {shared / 1e6:,.2f} km2 of ground, so that what is tested was seen in training"


def repeat(tags: Mapping[str, str]) -> str:
    """How to make the model again, in Markdown."""
    commit = tags.get("git.commit")
    if experiment := tags.get("dvc.experiment"):
        return f"`dvc exp apply {experiment}`, then `dvc repro`."
    if not commit:
        return "`dvc repro` in a checkout of the same code and conf."
    changed = tags.get("git.dirty") == "true"
    also = " with the changes that its files had (the tag `git.dirty`)" if changed else ""
    return f"`git checkout {commit[:12]}`{also}, then `dvc repro`."
