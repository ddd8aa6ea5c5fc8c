"""Documents about a model: what they say, and that what people write is escaped."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from pipeline.config.evaluate import CardConf
from pipeline.learn.report.rendering import (
    Champion,
    html_report,
    model_card,
    run_description,
    sentences,
)
from pipeline.learn.stats.accuracy import Scores
from pipeline.learn.stats.intervals import Interval
from pipeline.learn.stats.score_intervals import ScoreIntervals
from tests.learn.report.test_summary import WHOLE, with_images
from tests.support.summaries import CALIBRATION, SCORES, intervals, make_summary, with_folds


@pytest.fixture
def summary(tmp_path):
    return make_summary(tmp_path)


def findings(html: str) -> list[tuple[str, str]]:
    """What the report opens with: `good`, `fair` or `bad`, and the sentence."""
    return re.findall(r'<p class="finding (\w+)">(.*?)</p>', html)


def changed(summary, **meta):
    return replace(summary, meta=summary.meta.model_copy(update=meta))


def limitations(summary) -> list[str]:
    return sentences(summary)["limitations"].splitlines()


@pytest.mark.parametrize(
    ("gain", "mark", "sentence"),
    [
        (
            intervals(0.05, 0.01, 0.09),
            "good",
            "significantly better than svm: balanced accuracy +0.050 (95 % CI +0.010 to +0.090)",
        ),
        (intervals(0.05, -0.01, 0.11), "fair", "is not significantly better than svm"),
        (
            intervals(0.05, 0.01, 0.09, blocks=8),
            "fair",
            "is better, on too few blocks to rule out chance, than svm",
        ),
        (intervals(0.05, float("nan"), float("nan"), blocks=1), "fair", "+0.050 (no interval)"),
        (intervals(-0.01, -0.05, 0.03), "bad", "is not better than svm: balanced accuracy -0.010"),
        (
            replace(intervals(0, 0, 0), gain=None, best_baseline=None),
            "bad",
            "compared with no baseline",
        ),
    ],
)
def test_the_report_begins_with_the_comparison_with_the_baselines(summary, gain, mark, sentence):
    html = html_report(replace(summary, intervals=gain), {})
    first = findings(html)[0]
    assert first[0] == mark
    assert sentence in first[1]
    assert html.index(first[1]) < html.index("<table>")


def test_the_report_tells_of_calibration_blocks_and_shared_ground(summary):
    assert [mark for mark, _ in findings(html_report(summary, {}))] == ["good", "good"]
    poor = replace(
        summary,
        calibration=CALIBRATION | {"ece_after": 0.1},
        split=summary.split.model_copy(update={"shared_ground_m2": 5e6}),
        intervals=intervals(0.05, 0.01, 0.09, blocks=8),
    )
    found = findings(html_report(poor, {}))
    assert [mark for mark, _ in found] == ["fair", "fair", "bad", "fair"]
    assert "Parts share 5.00 km2 of ground" in found[2][1]
    assert found[3][1].startswith("8 blocks of test ground")


def test_a_wide_interval_is_noted(summary):
    wide = Interval(0.7, 0.3, 0.9, 40)
    both = {"network": wide, "svm": wide}
    figures = ScoreIntervals(both, both, "svm", Interval(0.05, 0.01, 0.09, 40))
    html = html_report(replace(summary, intervals=figures), {})
    assert "interval of balanced accuracy is 0.60 wide" in findings(html)[-1][1]
    assert "interval of balanced accuracy is 0.60 wide" in figures.sentence
    assert "wide" not in intervals(0.05, 0.01, 0.09).sentence


def test_limitations_name_region_season_level_and_classes_of_low_recall(summary):
    scores = {"network": Scores(np.array([[9, 1, 0], [6, 4, 0], [0, 0, 0]]))}
    poor = replace(
        changed(summary, region=[12.4, 52.4, 12.7, 52.6]),
        scores=scores,
        calibration=CALIBRATION | {"outside_area_of_applicability": 0.0},
        card=CardConf(limits=["Not on ice.", "Not on\nroofs."]),
    )
    assert limitations(poor) == [
        "Ground outside the region of its labels (12.40, 52.40 to 12.70, 52.60), unless the accuracy "
        "of the map is assessed there with a reference sample.",
        "Scenes more than 45 days of the year from 2017-02-16.",
        "Scenes of another processing level than L1C.",
        "Cells outside the area of applicability (dissimilarity above 100 %).",
        "Finding C 1 (40% of 10): fewer than half of the held-out patches are found.",
        "Finding C 2: there are no held-out patches.",
        "Class areas by counting cells: cells of which no class covers 60% were not evaluated.",
        "Not on ice.",
        "Not on roofs.",
    ]
    assert model_card(poor).count("\n- ") == html_report(poor, {}).count("<li>") == 9


def test_the_card_names_a_region_across_the_antimeridian(summary):
    card = model_card(changed(summary, region=[179.5, -17.5, -179.25, -17.0]))
    assert "Labelled ground: 179.50° E to 179.25° W, 17.50° S to 17.00° S." in card


def test_limitations_of_images_and_of_models_without_a_region(summary):
    scenes = [
        scene.model_copy(update={"datetime": "2015-06-23/2017-08-31", "level": None})
        for scene in summary.meta.scenes
    ]
    perfect = {"network": Scores(np.eye(3, dtype=int) * 9)}
    images = replace(changed(with_images(summary, WHOLE, None), scenes=scenes), scores=perfect)
    assert limitations(images) == [
        "Ground outside the region of its labels, unless the accuracy of the map is assessed there "
        "with a reference sample.",
        "Ground of several classes within a patch: only images of one class were evaluated.",
    ]
    assert "s1 (2015-06-23 to 2017-08-31, level unknown, baseline unknown)" in model_card(images)


def test_several_days_are_counted(summary):
    first = summary.meta.scenes[0]
    later = first.model_copy(update={"id": "s2", "datetime": "2017-07-01T10:00:00Z"})
    lines = limitations(changed(summary, scenes=[first, later]))
    assert "Scenes more than 45 days of the year from its 2 days (2017-02-16 to 2017-07-01)." in lines


def test_the_description_tells_data_split_result_and_worst_confusion(summary):
    text = run_description(summary, {})
    assert "**modern** on the bands B01, B02, B03, patches of 16 px, cells of 8 px." in text
    assert summary.intervals.sentence in text
    assert "significantly better than svm: balanced accuracy +0.050" in text
    assert "2 patches of C 0 (50% of them) are predicted as C 1." in text
    assert "s1 (2017-02-16, L1C, baseline unknown); 60 training patches, 20 validation patches" in text
    assert (
        "Blocks of 1920 m, three parts, seed 0. No ground is shared between training and test patches."
        in text
    )
    assert "The test part: 20 patches of ground that the network never saw." in text
    assert "(c) nobody" in text
    assert "Published" not in text
    perfect = {"network": Scores(np.eye(3, dtype=int))}
    assert "No held-out patch is misclassified." in run_description(
        replace(summary, scores=perfect), {}
    )


def test_documents_of_a_cross_validation_speak_of_all_labelled_cells(summary):
    folded = with_folds(summary)
    told = sentences(folded)
    assert told["split"] == (
        "Blocks of 1920 m, 5 folds, seed 0. No ground is shared between training and test patches."
    )
    assert told["held_out"] == (
        "All 1,100 labelled cells, each predicted by the network of a fold that was trained without "
        "its block (spatial cross-validation, 5 folds). The network that maps was trained in the same "
        "way on all of the ground."
    )
    assert told["patches"] == "1,200 training patches, 1,100 held-out patches in 5 folds"
    assert told["calibration"].startswith(
        "Confidence and accuracy differ by 0.010 on average (expected calibration error, of each fold "
        "calibrated by the others; 0.200 before calibration; chosen: temperature 2.00)."
    )
    for text in (html_report(folded, {}), model_card(folded), run_description(folded, {})):
        assert told["held_out"] in text
        assert told["patches"] in text
        assert "validation patches" not in text
        assert "test part" not in text
        assert folded.intervals.comparison in text


def test_published_accuracies_stand_beside_ours(summary):
    images = with_images(summary, WHOLE, "official")
    split = images.split.model_copy(update={"shared_ground_m2": 2.5e6})
    text = run_description(replace(images, split=split), {})
    assert (
        "**Published.** All of EuroSAT: 62.50% here, split 'official', 20 test images; 98.57% ResNet-50"
        in text
    )
    assert "a random 80 % trained, the other 20 % tested, not these lists" in text
    assert "doi:10.1109/JSTARS.2019.2918242).\n" in text
    assert "Parts as in the published split 'official'." in text
    assert "Parts share 2.50 km2 of ground, so that some test ground was seen in training." in text
    assert "No ground is shared" not in text
    assert "images like those of EuroSAT" in sentences(images)["scope"]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (
            {"git.commit": "a" * 40, "git.dirty": "false"},
            "`git checkout aaaaaaaaaaaa`, then `dvc repro`.",
        ),
        (
            {"git.commit": "a" * 40, "git.dirty": "true"},
            "aaaa` with the changes that its files had (the tag `git.dirty`), then `dvc repro`.",
        ),
        ({"git.commit": "a" * 40, "dvc.experiment": "pale-hen"}, "`dvc exp apply pale-hen`, then"),
        ({}, "`dvc repro` in a checkout of the same code and conf."),
    ],
)
def test_documents_say_how_to_repeat_the_run(summary, tags, expected):
    text = run_description(summary, tags)
    assert expected in text
    assert "`111111111111`" in text  # the store's hash
    assert expected.replace("`", "") in html_report(summary, {}, tags)


def test_of_many_scenes_the_first_are_named(summary):
    scene = summary.meta.scenes[0]
    scenes = [scene.model_copy(update={"id": f"scene{n}"}) for n in range(40)]
    text = run_description(changed(summary, scenes=scenes), {})
    assert "scene0 (2017-02-16, L1C, baseline unknown), scene1 (" in text
    assert "scene9 (2017-02-16, L1C, baseline unknown) and 30 more scenes; 60 training patches" in text
    assert "scene10" not in text


def test_the_scope_counts_what_is_not_evaluated(summary):
    left_out = summary.store.counts["left_out"] | {"impure": 1234}
    counts = summary.store.counts | {"left_out": left_out, "positions": 5000}
    scope = sentences(replace(summary, store=summary.store.model_copy(update={"counts": counts})))[
        "scope"
    ]
    assert "one class covers 60% or more" in scope
    assert "mixed cells (1,234 of 5,000 positions)" in scope


def by(summary, *kinds):
    """A summary of labels of some kinds."""
    found = [{"file": "x", kind: 7} for kind in kinds]
    counts = summary.store.counts | {"labels": found}
    return replace(summary, store=summary.store.model_copy(update={"counts": counts}))


def test_points_say_nothing_of_cover(summary):
    said = sentences(by(summary, "points", "points"))
    assert said["scope"] == (
        "These scores hold for cells that hold a point of known class, which is taken for the whole "
        "cell: how much of the cell it covers is not known. Cells without points are not evaluated."
    )
    assert "Class areas by counting cells: only cells that hold a point were evaluated." in limitations(
        by(summary, "points")
    )
    for document in (
        model_card,
        lambda run: html_report(run, {}),
        lambda run: run_description(run, {}),
    ):
        assert "60%" not in document(by(summary, "points"))
    for kinds, told in ((("points", "polygons"), True), (("polygons", "pixels"), False)):
        scope = sentences(by(summary, *kinds))["scope"]
        assert "one class covers 60% or more" in scope
        assert ("Of a cell that a point labels it is not known" in scope) == told
        assert limitations(by(summary, *kinds))[-1].endswith("no class covers 60% were not evaluated.")


def test_calibration_tells_of_the_area_of_applicability_where_it_is_known(summary):
    assert sentences(summary)["calibration"] == (
        "Confidence and accuracy differ by 0.010 on average (expected calibration error; 0.200 before "
        "calibration; chosen: temperature 2.00)."
    )
    known = replace(summary, calibration=CALIBRATION | {"outside_area_of_applicability": 0.068})
    assert sentences(known)["calibration"].endswith(
        "6.8% of the held-out patches lie outside the area of applicability."
    )


@pytest.mark.parametrize(
    ("meta", "name"),
    [
        ({"temperature": 1.0}, "none"),
        ({"temperature": 1.4, "bias": -0.5}, "temperature 1.40 with bias -0.50"),
        (
            {"temperature": 1.0, "slope": 0.8, "bias": 0.1},
            "logistic regression of the log odds (slope 0.80, bias +0.10)",
        ),
    ],
)
def test_one_sentence_says_which_calibration_was_chosen(summary, meta, name):
    one = changed(summary, **meta)
    assert f"; chosen: {name})." in sentences(one)["calibration"]
    assert f"chosen: {name})" in html_report(one, {})
    assert f"chosen: {name})" in run_description(one, {})


def test_the_card_has_its_sections_and_tables(summary):
    card = model_card(changed(summary, region=[-12.4, 52.4, 12.7, 52.6]))
    for title in ("Purpose", "Input and output", "Data", "Licence", "Accuracy", "Limitations"):
        assert f"\n## {title}\n" in card
    assert "\n| network | 0.700 (0.600 to 0.800) | 0.700 (0.600 to 0.800) |\n| svm |" in card
    assert "\n| C 0 | 0.67 | 0.50 | 4 |\n| C 1 |" in card
    assert "Labelled ground: 12.40° W to 12.70° E, 52.40° N to 52.60° N." in card
    assert "The region of its labels is not known." in model_card(summary)


def test_text_of_people_is_text_in_html_and_in_markdown(summary):
    title = "<b>Wald & Wiese</b>"
    classes = [c.model_copy(update={"title": title}) for c in summary.meta.classes]
    card = CardConf(limits=["<script>"])
    run = replace(changed(summary, classes=classes, credit="<i>"), card=card)
    champion = Champion("a < b", "models:/m/<1>", [("train.bands", "<script>", "all")])
    html = html_report(run, {"<caption>": b"\x89PNG"}, {"git.commit": "<commit>"}, champion)
    for text in (title, "<script>", "<i>", "<caption>", "<commit>", "a < b", "models:/m/<1>"):
        assert text not in html
    assert html.count("&lt;b&gt;Wald &amp; Wiese&lt;/b&gt;") >= 4  # the table, twice in a sentence
    assert "&lt;script&gt;" in html
    assert "data:image/png;base64,iVBORw==" in html
    card = model_card(run)
    assert "| &lt;b&gt;Wald &amp; Wiese&lt;/b&gt; |" in card
    assert "\n- &lt;script&gt;\n" in card
    assert not re.search("<[bis]", card + run_description(run, {}))


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("a | b", r"a \| b"),
        ("[x](javascript:y)", r"\[x\](javascript:y)"),
        ("*bold* _it_ `code` ~no~", r"\*bold\* \_it\_ \`code\` \~no\~"),
        ("bare_ground", "bare_ground"),
        ("two\n\n# lines", "two # lines"),
    ],
)
def test_a_title_stays_in_its_cell_of_a_markdown_table(summary, title, expected):
    classes = [c.model_copy(update={"title": title}) for c in summary.meta.classes]
    card = model_card(changed(summary, classes=classes))
    assert f"\n| {expected} | 0.67 | 0.50 | 4 |\n" in card


def test_the_champion_is_compared_where_the_registry_was_asked(summary):
    assert "copy of this report in the MLflow run" in html_report(summary, {})
    html = html_report(summary, {}, champion=Champion("No model is the champion yet."))
    section = html.partition('<section id="champion">')[2].partition("</section>")[0]
    assert "No model is the champion yet." in section
    assert "<table>" not in section
    changes = [("train.bands", "rgb", "all")]
    html = html_report(summary, {}, champion=Champion("No.", "models:/m/1", changes))
    assert "<th>models:/m/1</th>" in html
    assert "<td>train.bands</td><td>rgb</td><td>all</td>" in html


def test_every_number_of_a_model_is_in_its_report(summary):
    html = html_report(summary, {})
    assert "<tr><td>network</td><td>0.700 (0.600 to 0.800)</td>" in html
    row = re.search(r"<tr>(?:(?!<tr>).)*C 0</td>.*?</tr>", html, re.DOTALL)[0]
    assert re.findall(r'<td class="n">(.*?)</td>', row) == ["0.67", "0.50", "0.57", "4"]
    assert '<td>B01</td><td class="n">+0.250 (± 0.010)</td>' in html
    assert "60 training patches, 20 validation patches, 20 held-out patches" in html
    assert summary.scores is SCORES
    sides = summary.meta.geometry.cell_m, summary.meta.geometry.patch_m
    assert "for the cell of {:g} m around its centre; the network sees {:g} m".format(*sides) in html
