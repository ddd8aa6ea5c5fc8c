"""The model card: what a model is for, what it learnt from, how good it is and where not to use it.

The form follows Mitchell et al. 2019, Model Cards for Model Reporting. It is Markdown, for people.
"""

from __future__ import annotations

from pipeline.config.evaluate import CardConf
from pipeline.learn.evaluation.predictions import NETWORK, Evaluation
from pipeline.learn.network.classifier import ModelMeta
from pipeline.learn.report.summary import caveat, scenes_of, trust
from pipeline.learn.stats.applicability import SEASON_DAYS
from pipeline.learn.stats.intervals import Certainty, Interval
from pipeline.store import StoreMeta

_SELDOM_FOUND = 0.5
"""A class of which fewer are found is named as one not to rely on."""


def card(evaluation: Evaluation, certainty: Certainty, said: CardConf) -> str:
    """The card of a model that was judged.

    Args:
        evaluation: The test part and what was said of it.
        certainty: How sure the figures are.
        said: What a person says of it.
    """
    meta, store = evaluation.meta, evaluation.store.meta
    parts = {part: len(evaluation.split.rows(part)) for part in ("train", "validation", "test")}
    sections = {
        "Purpose": [said.purpose],
        "What it takes and gives": [_interface(meta)],
        "Data": [
            f"{scenes_of(meta)}. {_region(meta)}",
            f"{parts['train']:,} training, {parts['validation']:,} validation and {parts['test']:,} "
            f"test patches. Labels: {meta.credit}.",
        ],
        "Licence": [f"Of the model: {said.licence}. {_attribution(meta)}"],
        "How good it is": [
            *_figures(certainty),
            "",
            *_classes(evaluation),
            "",
            certainty.sentence,
            trust(evaluation.trust),
            caveat(store),
        ],
        "Where not to use it": [f"- {line}" for line in limits(evaluation, said)],
    }
    lines = [f"# {meta.preset} on {len(meta.bands)} bands, weights {meta.weights_sha256[:12]}"]
    for title, body in sections.items():
        lines += ["", f"## {title}", "", *body]
    return "\n".join(lines) + "\n"


def limits(evaluation: Evaluation, said: CardConf) -> list[str]:
    """Where a model should not be used, by its data, its figures and what a person knows."""
    meta, network = evaluation.meta, evaluation.scores[NETWORK]
    weak = [
        f"{info.title} ({scores.recall:.0%} of {scores.support})"
        for info, scores in zip(meta.classes, network.per_class, strict=True)
        if scores.support and scores.recall < _SELDOM_FOUND
    ]
    untested = [
        info.title
        for info, scores in zip(meta.classes, network.per_class, strict=True)
        if not scores.support
    ]
    levels = sorted({scene.level for scene in meta.scenes if scene.level})
    found = [
        f"On ground outside of the region of its labels{_beyond(meta)}, unless a sample of the map "
        "says how good it is there.",
        *_season(meta),
        *([f"On scenes of another level than {', '.join(levels)}."] if levels else []),
        *(["On cells whose dissimilarity is above 100 %."] if len(evaluation.dissimilarity) else []),
        *([f"To find {', '.join(weak)}: fewer than half are found."] if weak else []),
        *([f"To find {', '.join(untested)}: none were tested."] if untested else []),
        _mixed(evaluation.store.meta),
    ]
    return [*found, *said.limits]


def _mixed(store: StoreMeta) -> str:
    if store.images is not None:
        return "On ground of several classes within a patch: only images of one class were judged."
    return (
        f"For the area of classes by counting cells: cells of which no class covers "
        f"{store.min_purity:.0%} were never judged."
    )


def _interface(meta: ModelMeta) -> str:
    geometry = meta.geometry
    return (
        f"Takes {', '.join(meta.bands)} as harmonised DN (reflectance x 10000), patches of "
        f"{geometry.patch_px} px of {geometry.pixel_m:g} m; gives the calibrated probabilities of "
        f"{', '.join(info.title for info in meta.classes)} for the cell of {geometry.cell_px} px in "
        "the middle."
    )


def _region(meta: ModelMeta) -> str:
    if meta.region is None:
        return "Where its labels lie is not known."
    west, south, east, north = meta.region
    return (
        f"Labelled ground: {_degrees(west, 'E', 'W')} to {_degrees(east, 'E', 'W')}, "
        f"{_degrees(south, 'N', 'S')} to {_degrees(north, 'N', 'S')}."
    )


def _degrees(value: float, positive: str, negative: str) -> str:
    return f"{abs(value):.2f}° {positive if value >= 0 else negative}"


def _beyond(meta: ModelMeta) -> str:
    if meta.region is None:
        return ""
    west, south, east, north = meta.region
    return f" ({west:.2f}, {south:.2f} to {east:.2f}, {north:.2f})"


def _season(meta: ModelMeta) -> list[str]:
    """Nothing where a scene stands for a range of days, of which nobody knows more."""
    if any("/" in scene.datetime for scene in meta.scenes):
        return []
    days = sorted({scene.datetime[:10] for scene in meta.scenes})
    own = days[0] if len(days) == 1 else f"its {len(days)} days ({days[0]} to {days[-1]})"
    return [f"On scenes more than {SEASON_DAYS} days of the year from {own}."]


def _attribution(meta: ModelMeta) -> str:
    years = sorted({moment[:4] for scene in meta.scenes for moment in scene.datetime.split("/")})
    return (
        f"Trained on modified Copernicus Sentinel data {', '.join(years)}, labels {meta.credit}; both "
        "are to be named with its maps."
    )


def _figures(certainty: Certainty) -> list[str]:
    rows = [
        f"| {name.replace('_', ' ')} | {interval(certainty.accuracy[name])} | {interval(balanced)} |"
        for name, balanced in certainty.balanced_accuracy.items()
    ]
    return ["| model | accuracy (95 %) | balanced accuracy (95 %) |", "|---|---|---|", *rows]


def _classes(evaluation: Evaluation) -> list[str]:
    rows = [
        f"| {info.title} | {one.precision:.2f} | {one.recall:.2f} | {one.support:,} |"
        for info, one in zip(evaluation.meta.classes, evaluation.scores[NETWORK].per_class, strict=True)
    ]
    return [
        "| class | user's accuracy | producer's accuracy | test patches |",
        "|---|---|---|---|",
        *rows,
    ]


def interval(one: Interval) -> str:
    """A figure with its interval, for a table."""
    return f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})"
