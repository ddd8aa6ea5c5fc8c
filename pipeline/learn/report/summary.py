"""The figures of an evaluated model, computed once: whatever shows them takes them from here.

The HTML report, the model card, the description of the MLflow run, `metrics.json` and the metrics of
the run are all made from one `RunSummary`; how they put it stands in `templates/`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config.evaluate import CardConf
from pipeline.learn.evaluation.band_importance import BandImportance, band_importance
from pipeline.learn.evaluation.baselines import training_patches
from pipeline.learn.evaluation.predictions import NETWORK, Evaluation
from pipeline.learn.network.classifier import ModelMeta
from pipeline.learn.stats.accuracy import ClassScores, Scores
from pipeline.learn.stats.intervals import Interval
from pipeline.learn.stats.score_intervals import ScoreIntervals
from pipeline.split_folder import Split, SplitFolder
from pipeline.store_meta import ClassInfo, StoreMeta

PUBLISHED = {
    "EuroSAT": (
        "98.57% ResNet-50 pretrained on ImageNet, bands B04, B03, B02; a random 80 % trained, the "
        "other 20 % tested, not these lists (Helber et al. 2019, doi:10.1109/JSTARS.2019.2918242)"
    )
}
"""A published accuracy with its network, bands, split and source, by collection of images."""


@dataclass(frozen=True)
class RunSummary:
    """What a model is, what it was trained on, and how it did on held-out ground."""

    meta: ModelMeta
    store: StoreMeta
    split: Split
    patches: dict[str, int]
    """Number of patches by part of the split; with folds `test` are the cells of all, and `fold` are
    the training patches of one, on average."""
    scores: dict[str, Scores]
    """Of the network and the baselines, by name."""
    intervals: ScoreIntervals
    """Their confidence intervals."""
    calibration: dict[str, float]
    """`ece_before`, `ece_after`, `temperature`, `slope`, `bias` and, where the threshold of the area of
    applicability is known, the share of held-out patches `outside_area_of_applicability`."""
    learning_curve: dict[float, Interval]
    """Balanced accuracy by the share of the training blocks; empty where none was asked for."""
    bands: Sequence[BandImportance]
    card: CardConf
    """What the conf adds to the model card."""

    @classmethod
    def of(cls, evaluation: Evaluation, blocks: npt.NDArray[np.str_], card: CardConf) -> RunSummary:
        """Compute the figures of an evaluation, from the block of each held-out patch."""
        split = evaluation.split
        return cls(
            evaluation.meta,
            evaluation.store.meta,
            split.split,
            {part: len(split.rows(part)) for part in ("train", "validation")}
            | {"test": len(evaluation.rows), "fold": _patches_of_a_fold(split)},
            evaluation.scores,
            evaluation.intervals(blocks),
            evaluation.calibration,
            evaluation.learning_curve(blocks),
            band_importance(evaluation),
            card,
        )

    @property
    def title(self) -> str:
        """Preset, bands and weights."""
        meta = self.meta
        return f"{meta.preset} on {len(meta.bands)} bands, weights {meta.weights_sha256[:12]}"

    @property
    def network(self) -> Scores:
        """The network's scores."""
        return self.scores[NETWORK]

    @cached_property
    def classes(self) -> list[tuple[ClassInfo, ClassScores]]:
        """The classes with the network's scores."""
        return list(zip(self.meta.classes, self.network.per_class, strict=True))

    @property
    def days(self) -> list[str]:
        """Days of the scenes; none where a scene stands for a range of days."""
        moments = [scene.datetime for scene in self.meta.scenes]
        return [] if any("/" in one for one in moments) else sorted({one[:10] for one in moments})

    @property
    def labels_of_points(self) -> str:
        """`all` where all labels are points, `some` where some are, else nothing."""
        sources = self.store.counts.get("labels", [])
        points = sum("points" in source for source in sources)
        return "" if not points else "all" if points == len(sources) else "some"

    @property
    def years(self) -> list[str]:
        """Years of the scenes."""
        moments = [one for scene in self.meta.scenes for one in scene.datetime.split("/")]
        return sorted({moment[:4] for moment in moments})

    @property
    def published(self) -> str | None:
        """A published accuracy, if any; None unless all images were used with a published split."""
        images = self.store.images
        if images is None or not images.whole or self.split.lists not in images.published_lists:
            return None
        return PUBLISHED.get(images.name, "")

    @property
    def baselines(self) -> dict[str, dict[str, float]]:
        """Scores of each baseline, and how many of the training patches it learnt from."""
        return {
            name: scores.numbers | {"training_patches": training_patches(name, self.patches["fold"])}
            for name, scores in self.scores.items()
            if name != NETWORK
        }

    @property
    def record(self) -> dict[str, Any]:
        """For `metrics.json`."""
        return {
            "test": self.network.numbers | {"patches": self.patches["test"]},
            "baseline": self.baselines,
            "classes": {info.name: vars(scores) for info, scores in self.classes},
            "mixed_positions_left_out": self.store.counts["left_out"].get("impure", 0),
            "calibration": self.calibration,
            "intervals": self.intervals.record,
            **self._learning_curve,
        }

    @property
    def _learning_curve(self) -> dict[str, Any]:
        records = {f"{share:g}": interval.record for share, interval in self.learning_curve.items()}
        return {"learning_curve": records} if records else {}

    @property
    def metrics(self) -> dict[str, float]:
        """For the MLflow run: `test/..`, `baseline/<name>/..`, `band/..`."""
        test = self.network.numbers | self.calibration | self.intervals.metrics
        metrics = {f"test/{name}": value for name, value in test.items()}
        for info, scores in self.classes:
            metrics |= {f"test/recall/{info.name}": scores.recall, f"test/f1/{info.name}": scores.f1}
        for name, numbers in self.baselines.items():
            metrics |= {f"baseline/{name}/{key}": value for key, value in numbers.items()}
        return metrics | {f"band/{one.band}": one.loss for one in self.bands}


def _patches_of_a_fold(split: SplitFolder) -> int:
    """Training patches of a fold on average, or of the training part where there are no folds."""
    folds: list[int | None] = [*range(split.split.folds or 0)] or [None]
    return round(float(np.mean([len(split.rows("train", fold)) for fold in folds])))
