from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import geopandas as gpd
import mlflow
import numpy as np
import pytest

from pipeline.config.compute import ComputeConf
from pipeline.config.evaluate import CardConf, EvaluateConf
from pipeline.errors import LenscapeError, MismatchError, OutputError, SplitError
from pipeline.learn.data.training_data import TrainingData, folds_of
from pipeline.learn.evaluation.baselines import BASELINES, NAMES, baseline_predictions
from pipeline.learn.evaluation.predictions import evaluate_model, fold_baselines
from pipeline.learn.inference.predictor import batched_probabilities
from pipeline.learn.network.classifier import PatchClassifier
from pipeline.learn.report import evaluation_figures
from pipeline.learn.report.summary import RunSummary
from pipeline.learn.stats.accuracy import Scores
from pipeline.learn.stats.calibration import Reliability, calibrate
from pipeline.learn.stats.intervals import Hits, balanced_accuracy
from pipeline.learn.tracking.tracking_uri import store_uri
from pipeline.stages import evaluate
from pipeline.store import PatchStore
from tests.support.evaluated import CONF, challenged, evaluated_project, train_another
from tests.support.limits import file_limit
from tests.support.stores import BANDS, join, make_folds, make_split, make_store, make_table
from tests.support.trained import CPU, fit, train_conf

SMALL = {
    "epochs": 1,
    "batch_size": 64,
    "network": {"convolutions": [{"filters": 4, "kernel": 3, "pool": {"size": 2}}]},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    with evaluated_project(tmp_path_factory.mktemp("evaluate")) as made:
        yield made


@pytest.fixture(scope="module")
def cells(project):
    """The held-out predictions as they are in the file, in the order of the store."""
    return gpd.read_parquet(project.models / "held_out.parquet")


@pytest.fixture(scope="module")
def truth(project, cells):
    return project.store.patches["label"][cells["row"]]


@pytest.fixture(scope="module")
def logits(cells):
    return cells[["logit class1", "logit class2", "logit class3"]].to_numpy()


@pytest.fixture(scope="module")
def predicted(logits):
    return logits.argmax(axis=1)


@pytest.fixture(scope="module")
def metrics(project):
    return json.loads((project.reports / "metrics.json").read_text())


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_on_a_full_disk_all_reports_stay_as_they_were(project, tmp_path):
    inputs = project.models, project.folder / "patches", project.folder / "split"
    (tmp_path / "reports").mkdir()
    earlier = {"report.html": b"earlier", "metrics.json": b"earlier", "audit.json": b"of split"}
    for name, content in earlier.items():
        (tmp_path / "reports" / name).write_bytes(content)
    (tmp_path / "evaluate.yaml").write_text("gallery: 1\nbaselines: [majority]\n")
    said = r"reports/errors\.gpkg cannot be written"  # not the first of them
    with file_limit(150_000), pytest.raises(OutputError, match=said):
        evaluate.run(tmp_path / "evaluate.yaml", *inputs, tmp_path / "reports")
    left = {path.name: path.read_bytes() for path in (tmp_path / "reports").iterdir()}
    assert left == earlier


def test_held_out_predictions_are_of_every_cell_and_say_where_it_lies(project, cells, truth):
    assert cells["row"].tolist() == project.split.tested.tolist()
    table = project.store.patches
    assert cells["truth"].tolist() == [f"class{label + 1}" for label in truth]
    for fold in range(3):
        rows = cells["row"][cells["fold"] == fold + 1]
        assert rows.tolist() == project.split.rows("test", fold).tolist()
    in_place = cells.geometry.centroid
    blocks = zip((in_place.x // 1920).astype(int), (in_place.y // 1920).astype(int), strict=True)
    assert cells["block"].tolist() == [f"32633:{x}:{y}" for x, y in blocks]
    assert np.allclose(in_place.x, table["x"][cells["row"]])
    assert np.allclose(in_place.y, table["y"][cells["row"]])
    assert cells.crs.to_epsg() == 32633


def test_metrics_are_those_of_the_pooled_held_out_predictions(metrics, truth, predicted):
    scores = Scores.of(truth, predicted, 3)
    assert (scores.confusion != scores.confusion.T).any()  # or which is which would not matter
    assert metrics["test"] == pytest.approx(scores.numbers | {"patches": len(truth)})
    assert len(truth) == 270
    assert list(metrics["baseline"]) == sorted(BASELINES)
    # spectra tell the classes apart, but for the patches that look like another class
    assert 0.75 < metrics["baseline"]["logistic_regression"]["accuracy"] < 0.95
    assert metrics["baseline"]["majority"]["balanced_accuracy"] == pytest.approx(1 / 3, abs=0.05)


def test_baselines_of_a_fold_learn_from_its_training_patches_alone(project, metrics, truth):
    rows, expected = project.split.tested, {}
    for fold in range(3):
        train, tested = (project.split.rows(part, fold) for part in ("train", "test"))
        assert not set(train) & set(tested)
        data = TrainingData(
            project.store, train, tested, project.store.statistics(train), BANDS, block_m=1920.0
        )
        weights = data.class_weights(0.5)
        for name, labels in baseline_predictions(list(BASELINES), data, weights, tested, CPU).items():
            own = expected.setdefault(name, np.empty(len(rows), dtype=int))
            own[np.isin(rows, tested)] = labels
    for name, labels in expected.items():
        scores = Scores.of(truth, labels, 3).numbers
        found = metrics["baseline"][name]
        assert {key: found[key] for key in scores} == pytest.approx(scores), name


def test_the_folds_of_baselines_side_by_side_give_the_same(project):
    folds = folds_of(project.store, project.split, BANDS)
    weights = [fold.data.class_weights(0.5) for fold in folds]
    names = ["random_forest", "svm"]
    alone = [
        baseline_predictions(names, fold.data, weights[fold.number], fold.tested, CPU) for fold in folds
    ]
    for workers in (1, 3):
        compute = ComputeConf(accelerator="cpu", workers=workers)
        found = fold_baselines(names, folds, weights, compute)
        for fold, expected in zip(folds, alone, strict=True):
            own = np.isin(project.split.tested, fold.tested)
            for name in names:
                assert (found[name][own] == expected[name]).all()


def test_probabilities_of_a_fold_are_calibrated_by_the_others(project, metrics, cells, truth, logits):
    calibration, fold = metrics["calibration"], cells["fold"].to_numpy()
    after = np.empty(logits.shape)
    for number in (1, 2, 3):
        own = fold == number
        by_others = calibrate(truth[~own], logits[~own], fold[~own])
        after[own] = by_others.probabilities(logits[own])
    assert calibration["ece_after"] == pytest.approx(Reliability.of(truth, after).error, abs=1e-6)
    before = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert calibration["ece_before"] == pytest.approx(Reliability.of(truth, before).error, abs=1e-6)
    whole = calibrate(truth, logits, fold)
    assert {name: calibration[name] for name in whole._fields} == pytest.approx(whole._asdict())
    meta = PatchClassifier.load(project.models).meta
    assert meta.calibrated_by == pytest.approx(whole)
    layer = gpd.read_file(project.reports / "errors.gpkg", layer="errors")
    assert layer["confidence"].tolist() == np.rint(100 * after.max(axis=1)).tolist()
    rows = rows_of(project.reports / "reliability.csv")
    assert sum(int(row["patches"]) for row in rows) == 2 * len(truth)
    for when in ("before", "after"):
        mine = [row for row in rows if row["probabilities"] == when]
        gaps = [abs(float(row["confidence"]) - float(row["accuracy"])) for row in mine]
        weights = [int(row["patches"]) for row in mine]
        assert np.average(gaps, weights=weights) == pytest.approx(calibration[f"ece_{when}"], abs=1e-3)
    assert project.run.data.metrics["test/ece_after"] == pytest.approx(calibration["ece_after"])


def test_intervals_are_those_of_whole_blocks(project, metrics, cells, truth, predicted):
    found = metrics["intervals"]
    hits = Hits.of(truth, predicted, cells["block"].to_numpy(), 3)
    assert found["balanced_accuracy"]["network"] == balanced_accuracy(hits).record
    assert found["balanced_accuracy"]["network"]["blocks"] == len(set(cells["block"])) > 1
    logged = project.run.data.metrics
    assert logged["test/balanced_accuracy_low"] == pytest.approx(balanced_accuracy(hits).low)
    assert logged["test/gain"] == pytest.approx(found["gain"]["value"], abs=1e-4)


def test_the_share_outside_the_area_of_applicability_is_that_of_the_layer(project, metrics, cells):
    calibration = metrics["calibration"]
    layer = gpd.read_file(project.reports / "errors.gpkg", layer="errors")
    outside = (layer["dissimilarity"] > 100).mean()
    assert 0 < outside == pytest.approx(calibration["outside_area_of_applicability"])
    assert layer["dissimilarity"].tolist() == np.ceil(100 * cells["dissimilarity"]).tolist()


def test_every_test_patch_is_a_row_of_the_confusion(project, truth, predicted):
    names = [info.name for info in project.store.meta.classes]
    rows = rows_of(project.reports / "confusion.csv")
    assert [(row["actual"], row["predicted"]) for row in rows] == [
        (names[t], names[p]) for t, p in zip(truth, predicted, strict=True)
    ]


def test_the_table_of_classes(project, truth, predicted):
    scores = Scores.of(truth, predicted, 3)
    for row, mine in zip(rows_of(project.reports / "per_class.csv"), scores.per_class, strict=True):
        assert float(row["recall"]) == pytest.approx(mine.recall, abs=1e-4)
        assert int(row["support"]) == mine.support


def test_errors_lie_where_the_patches_lie(project, cells, truth, predicted):
    layer = gpd.read_file(project.reports / "errors.gpkg", layer="errors")
    rows = project.split.tested
    assert len(layer) == len(rows) == 270
    assert list(layer["result"] == "wrong") == list(truth != predicted)
    assert np.allclose(layer.geometry.centroid.x, project.store.patches["x"][rows])
    assert np.allclose(layer.geometry.centroid.y, project.store.patches["y"][rows])
    assert set(layer.geometry.area) == {80.0**2}
    titles = np.array([info.title for info in project.store.meta.classes])
    assert list(layer["truth"]) == list(titles[truth])
    assert layer["confidence"].between(33, 100).all()
    assert list(layer["fold"]) == list(cells["fold"])
    assert list(layer["block"]) == list(cells["block"])


def test_the_run_of_the_model_holds_the_same_figures(project, truth, predicted):
    run, scores = project.run, Scores.of(truth, predicted, 3)
    assert run.data.metrics["test/balanced_accuracy"] == pytest.approx(scores.balanced_accuracy)
    assert "baseline/logistic_regression/accuracy" in run.data.metrics
    assert f"{scores.accuracy:.3f}" in run.data.tags["mlflow.note.content"]
    client = mlflow.MlflowClient(store_uri())
    figures = {entry.path for entry in client.list_artifacts(run.info.run_id, "figures")}
    assert {"figures/confusion.png", "figures/per_class.png", "figures/mistakes.png"} <= figures
    (version,) = client.search_model_versions(f"run_id = '{run.info.run_id}'")
    assert float(version.tags["balanced_accuracy"]) == pytest.approx(scores.balanced_accuracy, abs=1e-4)


def test_a_store_of_other_bands_is_refused_and_the_report_stays(project, tmp_path):
    other = make_store(tmp_path / "patches", bands=BANDS[:1])
    make_split(tmp_path / "split", other)
    before = (project.reports / "metrics.json").read_bytes()
    with pytest.raises(MismatchError, match="missing"):
        evaluate.run(
            project.folder / "evaluate.yaml",
            project.models,
            tmp_path / "patches",
            tmp_path / "split",
            project.reports,
        )
    assert (project.reports / "metrics.json").read_bytes() == before


def evaluate_again(project, out, **changes):
    """Run the stage again on some other input."""
    folder = project.folder
    given = {"model": project.models, "store": project.store.folder, "split": folder / "split"}
    given |= changes
    evaluate.run(folder / "evaluate.yaml", *given.values(), out)


def test_an_empty_test_part_is_refused(project, tmp_path):
    store = project.store
    parts = ["train", "validation", "unused"] * 100
    split = make_split(tmp_path / "split", store, parts)
    models = shutil.copytree(project.models, tmp_path / "models")
    path = models / "model.json"
    meta = json.loads(path.read_text())
    meta["hashes"]["split"] = split.sha256
    path.write_text(json.dumps(meta))
    with pytest.raises(SplitError, match="test part"):
        evaluate_again(project, tmp_path / "reports", model=models, split=split.folder)
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize("make", [make_split, make_folds])
def test_a_model_of_another_split_is_refused(project, tmp_path, make):
    """Its test patches may have been training patches."""
    split = make(tmp_path / "split", project.store)
    if make is make_folds:
        split = make_folds(tmp_path / "other", project.store, 2)
    with pytest.raises(MismatchError, match="may have trained the model"):
        evaluate_again(project, tmp_path / "reports", split=split.folder)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("changed", r"held_out\.parquet is broken: it has changed since `train` wrote it"),
        ("missing", r"held_out\.parquet does not exist; run `train` first"),
        ("fold changed", r"folds/2/weights\.safetensors has the hash"),
        ("fold missing", r"folds/2/model\.json does not exist; run `train` first"),
    ],
)
def test_held_out_predictions_that_are_not_those_of_the_model_are_refused(
    project, cells, tmp_path, name, message
):
    models = shutil.copytree(project.models, tmp_path / "models")
    held_out, fold = models / "held_out.parquet", models / "folds" / "2"
    if name == "changed":
        cells.assign(**{"logit class1": -cells["logit class1"]}).to_parquet(held_out, index=False)
    elif name == "missing":
        held_out.unlink()
    elif name == "fold changed":
        shutil.copy(models / "folds" / "1" / "weights.safetensors", fold)
    else:
        shutil.rmtree(fold)
    with pytest.raises(LenscapeError, match=message):
        evaluate_again(project, tmp_path / "reports", model=models)
    assert not (tmp_path / "reports").exists()


def test_a_model_without_folds_is_evaluated_on_the_test_part(tmp_path):
    with evaluated_project(tmp_path, folds=None) as parted:
        metrics = json.loads((parted.reports / "metrics.json").read_text())
        rows = parted.split.rows("test")
        truth = parted.store.patches["label"][rows]
        classifier = PatchClassifier.load(parted.models)
        shares = batched_probabilities(classifier, parted.store.chunks(rows))
        scores = Scores.of(truth, shares.argmax(axis=1), 3)
        assert metrics["test"] == pytest.approx(scores.numbers | {"patches": 60})
        calibration = metrics["calibration"]
        assert calibration["ece_after"] == pytest.approx(Reliability.of(truth, shares).error, abs=1e-6)
        assert calibration["temperature"] == classifier.meta.temperature
        assert {one["training_patches"] for one in metrics["baseline"].values()} == {180}
        layer = gpd.read_file(parted.reports / "errors.gpkg", layer="errors")
        assert len(layer) == 60
        assert list(layer["result"] == "wrong") == list(shares.argmax(axis=1) != truth)
        assert not (parted.models / "held_out.parquet").exists()
        assert not (parted.models / "folds").exists()
        card = (parted.reports / "model_card.md").read_text("utf-8")
        assert "180 training patches, 60 validation patches, 60 held-out patches." in card


def test_the_same_model_gives_the_same_report(project):
    before = {path.name: path.read_bytes() for path in project.reports.iterdir()}
    assert set(before) == {
        "metrics.json", "per_class.csv", "confusion.csv", "reliability.csv", "errors.gpkg",
            "label_issues.gpkg", "bands.csv", "report.html", "model_card.md",
    }  # fmt: skip
    evaluate.run(
        project.folder / "evaluate.yaml",
        project.models,
        project.store.folder,
        project.split.folder,
        project.reports,
    )
    assert {path.name: path.read_bytes() for path in project.reports.iterdir()} == before


def test_errors_open_coloured_by_right_and_wrong(project):
    path = project.reports / "errors.gpkg"
    styles = gpd.read_file(path, layer="layer_styles", ignore_geometry=True)
    assert styles["useAsDefault"].tolist() == [True]
    assert 'attr="result"' in styles["styleQML"][0]
    layer = gpd.read_file(path, layer="errors")
    place = layer.geometry.centroid.iloc[0]
    assert layer["block"][0] == f"32633:{int(place.x // 1920)}:{int(place.y // 1920)}"


def test_the_labels_that_predictions_contradict_are_listed(project):
    layer = gpd.read_file(project.reports / "label_issues.gpkg", layer="label_issues")
    assert len(layer) > 0
    assert layer["rank"].tolist() == list(range(1, len(layer) + 1))
    assert (layer["label"] != layer["looks_like"]).all()
    assert (layer["contradicting"] >= 50).all()
    cells = gpd.read_file(project.reports / "errors.gpkg", layer="errors")
    first = cells[cells.geometry.centroid.within(layer.geometry[0])]
    assert len(first) == layer["cells"][0]
    assert set(first["truth"]) == {layer["label"][0]}


def evaluated(folder, store, bands=BANDS, baselines=("majority",)):
    """The evaluation of an untrained model on a store; the model sees some of its bands."""
    split = make_split(folder / "split", store)
    data = TrainingData.of_split(store, split, tuple(bands))
    made = fit(data, train_conf(**SMALL), folder / "networks")
    made.classifier.save(folder / "models")
    settings = EvaluateConf(baselines=list(baselines))
    return evaluate_model(settings, folder / "models", store.folder, split.folder, CPU)


def test_a_learning_curve_is_that_of_the_networks_on_a_share_of_the_blocks(project, tmp_path):
    train_another(project, f"{CONF}learning_curve: [0.5]\n", tmp_path)
    metrics = json.loads((tmp_path / "reports" / "metrics.json").read_text())
    cells = gpd.read_parquet(tmp_path / "models" / "held_out.parquet")
    classes = sorted(set(cells["truth"]))
    truth, on_half = (
        np.array([classes.index(name) for name in cells[key]]) for key in ("truth", "on 0.5")
    )
    curve = {share: one["value"] for share, one in metrics["learning_curve"].items()}
    half = Scores.of(truth, on_half, 3).balanced_accuracy
    whole = metrics["test"]["balanced_accuracy"]
    assert curve == pytest.approx({"0.5": half, "1": whole}, abs=1e-4)
    assert "Learning curve" in (tmp_path / "reports" / "report.html").read_text()


def test_the_baseline_sees_the_bands_of_the_model_and_no_others(tmp_path):
    store = make_store(tmp_path / "patches")
    pixels = np.load(store.folder / "pixels.npy")
    pixels[:, 1] = np.random.default_rng(5).permutation(pixels[:, 1])  # B03 says nothing any more
    np.save(store.folder / "pixels.npy", pixels)
    store = PatchStore.open(store.folder)
    for name, bands in (("blind", ["B03"]), ("seeing", ["B08"])):
        found = evaluated(tmp_path / name, store, bands, ["logistic_regression"])
        scores = found.scores["logistic_regression"]
        assert (scores.balanced_accuracy > 0.95) == (name == "seeing")
        assert scores.balanced_accuracy > 0.95 or scores.balanced_accuracy < 0.55


def test_shuffled_labels_stay_at_chance(tmp_path):
    store = make_store(tmp_path / "patches", count=900, shuffled=True)
    for name, scores in evaluated(tmp_path, store, baselines=NAMES).scores.items():
        assert scores.balanced_accuracy < 0.45, name  # chance is a third


def test_errors_of_two_zones_share_one_layer(tmp_path):
    table = join(make_table(12, 12), make_table(12, 12, epsg=32634, scene="s2", seed=1))
    store = make_store(tmp_path / "patches", table)
    found = evaluated(tmp_path, store)
    blocks = evaluate._blocks(found)
    summary = RunSummary.of(found, blocks, CardConf())
    evaluate.write_tables(found, summary, blocks, tmp_path / "reports")
    layer = gpd.read_file(tmp_path / "reports" / "errors.gpkg", layer="errors")
    assert layer.crs.to_epsg() == 4326
    assert {block.partition(":")[0] for block in layer["block"]} == {"32633", "32634"}
    assert set(layer["scene"]) == {"s1", "s2"}
    x = layer.geometry.bounds["minx"][layer["scene"] == "s2"]
    assert x.between(18, 19).all()


@pytest.mark.parametrize(
    ("bands", "names"),
    [
        (("B08", "B11"), "B08, B11, B08"),
        (("B08", "B11", "B12", "B02"), "B08, B11, B12"),
        (("B02", "B03", "B04"), "B04, B03, B02"),
    ],
)
def test_the_gallery_says_which_bands_it_shows(tmp_path, bands, names):
    found = evaluated(tmp_path, make_store(tmp_path / "patches", bands=bands, count=200), bands)
    figure = evaluation_figures._gallery(found, 6)
    assert f"red, green and blue are {names}" in figure.get_suptitle()


def page_of(run) -> str:
    """The report among a run's artifacts."""
    client = mlflow.MlflowClient(store_uri())
    return Path(client.download_artifacts(run.info.run_id, "report.html")).read_text("utf-8")


def without_registry(html: str) -> str:
    """A page without the line that names the commit and without the champion."""
    html = re.sub("<tr><th>repeat</th>.*?</tr>", "", html)
    return re.sub('<section id="champion">.*?</section>', "", html, flags=re.DOTALL)


def test_the_report_stands_on_its_own(project):
    html = (project.reports / "report.html").read_text("utf-8")
    sources = re.findall(r'(?:src|href)="([^"]{0,40})', html)
    assert len(sources) == 9
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    metrics = json.loads((project.reports / "metrics.json").read_text())
    assert f"{metrics['test']['balanced_accuracy']:.3f} (" in html
    assert html.index("Summary") < html.index("<table>")
    logged = page_of(project.run)
    assert "This model, models:/lenscape/1, is the champion." in logged
    # but for what the registry knows it is the same page
    assert without_registry(logged) == without_registry(html)
    assert len(html) - len(without_registry(html)) > 100


def test_the_model_card_is_the_description_of_the_version(project):
    card = (project.reports / "model_card.md").read_text("utf-8")
    version = mlflow.MlflowClient(store_uri()).get_model_version("lenscape", "1")
    assert version.description == card
    for title in ("Purpose", "Data", "Licence", "Accuracy", "Limitations"):
        assert f"## {title}" in card
    row = next(line for line in card.splitlines() if line.startswith("| network |"))
    found = json.loads((project.reports / "metrics.json").read_text())["intervals"]["accuracy"]
    one = found["network"]
    assert f"{one['value']:.3f} ({one['low']:.3f} to {one['high']:.3f})" in row


def test_a_challenger_is_compared_with_the_champion(project):
    html = page_of(challenged(project))
    assert "<td>train.network.convolutions.1.filters</td><td>4</td><td>6</td>" in html
    assert "the champion stays models:/lenscape/1" in html or "is significantly better than" in html
    assert "<td>train.lr</td>" not in html


def test_the_table_of_bands_is_that_of_the_run(project):
    rows = rows_of(project.reports / "bands.csv")
    assert [row["band"] for row in rows] == list(BANDS)
    metrics = project.run.data.metrics
    assert [metrics[f"band/{band}"] for band in BANDS] == pytest.approx(
        [float(row["balanced_accuracy_lost"]) for row in rows], abs=1e-4
    )
    assert max(float(row["balanced_accuracy_lost"]) for row in rows) > 0.05


def test_perceptrons_are_fitted_on_one_device(project, tmp_path):
    """Lightning would start this command once more, and that would write the same reports."""
    (tmp_path / "compute.yaml").write_text("accelerator: cpu\ndevices: 2\n")
    (tmp_path / "evaluate.yaml").write_text("gallery: 2\nbaselines: [mlp]\n")
    data = project.folder / "patches", project.folder / "split"
    evaluate.run(
        tmp_path / "evaluate.yaml",
        project.models,
        *data,
        tmp_path / "reports",
        tmp_path / "compute.yaml",
    )
    assert (tmp_path / "reports" / "report.html").exists()
