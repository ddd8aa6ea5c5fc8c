from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.learn.evaluation.band_importance import losses, permuted_predictions
from pipeline.learn.network.classifier import PatchClassifier
from pipeline.learn.report import figures
from pipeline.learn.report.activations import (
    Shown,
    activation_maps,
    activations,
    receptive_fields,
)
from tests.support.learners import model_meta


def classifier_of(network="modern", **meta):
    torch.manual_seed(0)
    return PatchClassifier(model_meta(network=network, **meta)).eval()


def shown(classifier, title="Forest"):
    geometry = classifier.meta.geometry
    random = np.random.default_rng(1)
    side = geometry.patch_px
    pixels = random.integers(1, 5000, (len(classifier.meta.bands), side, side)).astype(np.uint16)
    return Shown(pixels, random.random((side, side, 3)), title)


def test_activations_are_those_of_the_layers():
    classifier = classifier_of()
    one = shown(classifier)
    found = activations(classifier, one.pixels)
    assert {name: values.shape for name, values in found.items()} == {
        "activation_1": (32, 14, 14),
        "activation_2": (32, 12, 12),
        "pooling_2": (32, 6, 6),
        "activation_3": (64, 4, 4),
        "pooling_3": (64, 2, 2),
    }
    pixels = torch.from_numpy(one.pixels[None].astype(np.float32))
    first = classifier.network[:3]((pixels - classifier.mean) / classifier.std)
    assert found["activation_1"] == pytest.approx(first[0].detach().numpy(), abs=1e-5)
    # the pooled values are the largest of each four
    grown = found["activation_2"].reshape(32, 6, 2, 6, 2).max(axis=(2, 4))
    assert found["pooling_2"] == pytest.approx(grown)


def test_activation_maps_have_a_row_a_patch_and_a_column_a_layer():
    classifier = classifier_of()
    figure = activation_maps(classifier, [shown(classifier), shown(classifier, "Water")])
    titles = [axes.get_title() for axes in figure.axes]
    assert len(titles) == 2 * 6
    assert titles[0] == "Forest"
    assert titles[6] == "Water"
    assert titles[3] == "pooling 2\n6 x 6 x 32"
    dense = classifier_of("mlp")
    assert "dense layers alone" in activation_maps(dense, [shown(dense)]).get_suptitle()


def test_receptive_fields_grow_to_the_whole_patch():
    classifier = classifier_of()
    figure = receptive_fields(classifier, shown(classifier))
    sizes = [axes.patches[1].get_width() for axes in figure.axes]
    assert sizes == [3, 5, 6, 10, 12, 16]
    assert figure.axes[-1].get_title() == "dense 1\n16 px, 160 m"
    assert [
        axes.patches[1].get_width()
        for axes in receptive_fields(classifier_of("mlp"), shown(classifier)).axes
    ] == [16]


class OneBand(torch.nn.Module):
    """Predicts 1 where the middle band is bright, whatever the other bands are."""

    def __init__(self, meta):
        super().__init__()
        self.meta, self.mean = meta, torch.zeros(1)

    def forward(self, pixels):
        bright = pixels[:, 1].float().mean(dim=(1, 2)) > 1000
        return torch.stack([~bright, bright], dim=1).float() * 10


def test_the_band_that_decides_is_the_one_that_counts():
    random = np.random.default_rng(0)
    truth = np.arange(200) % 2
    patches = random.integers(1, 2000, (200, 3, 16, 16)).astype(np.uint16)
    patches[:, 1] = np.where(truth, 1500, 500)[:, None, None]
    before = patches.copy()
    classifier = OneBand(model_meta(classes=2))
    predicted = permuted_predictions(classifier, patches)
    assert predicted[0].tolist() == truth.tolist()
    found = losses(classifier.meta.bands, truth, predicted, 2)
    assert [one.band for one in found] == ["B01", "B02", "B03"]
    assert [found[0].loss, found[2].loss] == [0, 0]
    assert 0.4 < found[1].loss < 0.6  # half of the predictions are right by chance
    assert found[1].spread > 0
    assert (patches == before).all()
    axes = figures.band_importance(found).axes[0]
    assert [bar.get_width() for bar in axes.containers[0]] == [one.loss for one in found]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["B01", "B02", "B03"]
