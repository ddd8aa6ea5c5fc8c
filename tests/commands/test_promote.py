from __future__ import annotations

import mlflow
import numpy as np
import pytest

from pipeline.commands.promote import run
from pipeline.errors import MismatchError, TrackingError
from pipeline.learn.network.classifier import read_meta
from pipeline.learn.tracking.promotion import changes
from pipeline.learn.tracking.registry import PREDICTIONS
from pipeline.learn.tracking.run import keep, open_run
from pipeline.learn.tracking.tracking_uri import connect
from tests.support.learners import SMALL, model_meta
from tests.support.tracked import RECORD, make_models, mlflow_store

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)
NAMES = ("c0", "c1", "c2")


def predictions(right: float, seed: int, blocks: int = 30) -> str:
    """Predictions of a model for the same 600 patches, a share of them right."""
    random = np.random.default_rng(seed)
    lines = ["block,truth,predicted"]
    for patch in range(600):
        truth = patch % 3
        label = truth if random.random() < right else (truth + 1) % 3
        lines.append(f"32633:0:{patch * blocks // 600},{NAMES[truth]},{NAMES[label]}")
    return "\n".join(lines) + "\n"


def register(
    folder, text: str | None, gain: float | None = 0.05, seed: int = 0, split: str = "2" * 64
) -> None:
    """A version as train registers it and evaluate adds to it."""
    meta = model_meta(SMALL)
    meta = meta.model_copy(update={"hashes": meta.hashes.model_copy(update={"split": split})})
    models = make_models(folder / f"models{seed}{split[0]}", meta, seed)
    with open_run(RECORD) as tracker:
        keep(tracker, RECORD, models)
        assert read_meta(models).weights_sha256
        if text is not None:
            tracker.text(text, PREDICTIONS)
            tracker.metrics({} if gain is None else {"test/gain": gain})


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """The folder of a store with a champion."""
    folder = tmp_path_factory.mktemp("first")
    with mlflow_store(folder):
        register(folder, predictions(0.7, seed=1))
    return folder


@pytest.fixture
def store(first, tmp_path):
    with mlflow_store(tmp_path, first):
        yield tmp_path


def aliases() -> dict[str, str]:
    found = connect().get_registered_model("lenscape").aliases
    return {alias: str(version) for alias, version in found.items()}


def test_a_significantly_better_challenger_becomes_the_champion(store, capsys):
    register(store, predictions(0.9, seed=2), seed=1)
    assert aliases() == {"champion": "1", "challenger": "2"}
    run("challenger")
    assert aliases() == {"champion": "2"}
    assert "models:/lenscape/2 is the champion now" in capsys.readouterr().out
    tags = connect().get_model_version("lenscape", "2").tags
    assert tags["promoted_because"].startswith("balanced accuracy +0.19")
    run("2")
    assert "is the champion already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("right", "gain", "message"),
    [
        (0.71, 0.05, "is not significantly better than models:/lenscape/1: balanced accuracy"),
        (0.9, -0.01, "is not better than its best baseline"),
    ],
)
def test_what_may_be_chance_or_trivial_stays_a_challenger(store, right, gain, message):
    register(store, predictions(right, seed=2), gain, seed=1)
    with pytest.raises(MismatchError, match=message):
        run("challenger")
    assert aliases() == {"champion": "1", "challenger": "2"}
    run("challenger", because="the champion has no clouds")
    assert aliases() == {"champion": "2"}
    tags = connect().get_model_version("lenscape", "2").tags
    assert tags["promoted_because"] == "by hand: the champion has no clouds"


def test_few_blocks_decide_nothing(tmp_path):
    with mlflow_store(tmp_path):
        register(tmp_path, predictions(0.7, seed=1, blocks=8))
        register(tmp_path, predictions(0.9, seed=2, blocks=8), seed=1)
        with pytest.raises(MismatchError, match="8 blocks\\): too few blocks of test ground"):
            run("challenger")


def test_another_split_cannot_be_compared(store):
    register(store, predictions(0.9, seed=2), seed=1, split="7" * 64)
    with pytest.raises(MismatchError, match="were evaluated on different held-out patches"):
        run("challenger")


def test_other_test_patches_of_the_same_split_cannot_be_compared(store):
    register(store, predictions(0.9, seed=1, blocks=20), seed=1)
    with pytest.raises(MismatchError, match="were evaluated on different held-out patches"):
        run("challenger")


def test_a_version_that_was_not_evaluated_is_refused(store):
    register(store, None, seed=1)
    with pytest.raises(TrackingError, match="was not evaluated"):
        run("challenger")
    with pytest.raises(TrackingError, match="no version '9'"):
        run("9")
    assert isinstance(connect(), mlflow.MlflowClient)


def test_changes_name_what_differs_and_what_only_one_has():
    ours, theirs = {"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "1", "d": "4"}
    assert changes(ours, theirs) == [("b", "1", "2"), ("c", "–", "3"), ("d", "4", "–")]


def test_a_model_without_baselines_is_not_said_to_be_worse_than_them(store):
    register(store, predictions(0.9, seed=2), gain=None, seed=1)
    with pytest.raises(MismatchError, match=r"was compared with no baseline \(name some in conf/eval"):
        run("challenger")
    assert aliases() == {"champion": "1", "challenger": "2"}
