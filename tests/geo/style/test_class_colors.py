"""Classes get the colours that people expect of them, in five languages."""

from itertools import combinations

import numpy as np
import pytest

from pipeline.geo.style.class_colors import class_colors
from pipeline.geo.style.colors import oklab, rgb

WATER, FOREST, GRASS, CROPS = "#2f7fd6", "#1f7a3d", "#7fbf4d", "#e6c35c"
ORCHARD, BUILT_UP, INDUSTRY, ROAD = "#a0568c", "#d0453e", "#8d5fa8", "#5c5c5c"
SHRUBS, BARE, WETLAND, SNOW = "#a6824c", "#cdb08c", "#6fb8c4", "#cfe4f5"
CLOUD, SHADOW = "#e8e8e8", "#3b3b47"
NAMES = {
    WATER: (
        "Bäche|Ozean|Water|Lakes and rivers|SeaLake|River|Wasser / Seen|Gewässer|Fluss|Badesee|Eau"
        "|Plans d'eau|Lac|Rivière|Agua|Cuerpos de agua|Río|Embalse|Água|Lagoa|Mar"
    ),
    FOREST: (
        "Stadtwald|Plantation forest|Nadelwälder|Forest|Wood|tree_cover"
        "|Coniferous forest|Nadelwald|Laubwald|Wald und Gehölz|Forêt"
        "|Bois|Forêt de feuillus|Bosque|Bosque de coníferas|Floresta|Mata|Árvores"
    ),
    GRASS: (
        "Gazon|Césped|Zonas verdes|Urban green|Campos|Grass|Grassland|meadow"
        "|Pasture|HerbaceousVegetation|Wiese|Grünland|Weide|Prairie"
        "|Pâturage|Prado|Pradera|Pastizal|Pastagem"
    ),
    CROPS: (
        "Zuckerrüben|Cana-de-açúcar|Cultivos de regadío|Campos de cultivo|Cropland"
        "|farm|AnnualCrop|Agriculture|Arable land|Acker|Ackerland|Landwirtschaft"
        "|Getreide|Cultures|Terres arables|Cultivos|Tierra agrícola|Maíz|Lavoura|Agricultura"
    ),
    ORCHARD: (
        "Orchard|Vineyard|PermanentCrop|Obstwiese|Weinberg|Verger|Vigne|Viñedo|Frutales"
        "|Olivar|Pomar|Vinha"
    ),
    BUILT_UP: (
        "Häuser|Área construída|Tissu urbain|Built-up|built_up|Residential"
        "|Urban area|Settlement|Artificial surfaces|Siedlung"
        "|Wohngebiet|Gebäude|Bebauung|Bâti|Zone urbaine|Edificios|Zona urbana|Ciudad"
        "|Área urbana|Cidade"
    ),
    INDUSTRY: ("Industrial|Commercial|Industriegebiet|Gewerbe|Zone industrielle|Industria|Indústria"),
    ROAD: ("Road|Highway|Straße|Autobahn|Feldweg|Route|Carretera|Estrada|Rodovia"),
    SHRUBS: (
        "Hecken|Haies|Matagal|Shrubland|scrub|Bush|Heath|Gebüsch|Heide|Strauch"
        "|Maquis|Matorral|Arbustos|Landes"
    ),
    BARE: (
        "vegetationslos|Sin vegetación|Bare ground|Bare soil|Barren|Sand|Rock"
        "|offener Boden|Fels|Sol nu|Sable|Roche"
        "|Suelo desnudo|Arena|Solo exposto|Areia|Rocha"
    ),
    WETLAND: (
        "Áreas alagadas|Marismas|Manguezal|Wetland|Herbaceous wetland|Swamp"
        "|Peat bog|Moor|Feuchtgebiet|Sumpf|Zone humide|Marais"
        "|Humedal|Pantano|Zona húmida|Brejo"
    ),
    CLOUD: ("Cloud|clouds|Wolken|bewölkt|Nuages|Nubes|Nuvens"),
    SHADOW: ("Cloud shadow|Wolkenschatten|Ombre|Sombra"),
    SNOW: ("Neves eternas|Snow|Snow and ice|Glacier|Schnee|Gletscher|Neige|Nieve|Hielo|Neve"),
}


@pytest.mark.parametrize(
    ("color", "name"), [(c, n) for c, text in NAMES.items() for n in text.split("|")]
)
def test_a_colour_follows_the_meaning_of_the_name(color: str, name: str) -> None:
    assert class_colors([name]) == [color]


def test_those_of_one_meaning_are_shades_of_one_colour() -> None:
    first, second, water = class_colors(["Nadelwald", "Laubwald", "Wasser"])
    assert (first, water) == (FOREST, WATER)
    red, green, blue = rgb(second)
    assert green > red
    assert green > blue


def test_what_means_nothing_known_is_apart_from_the_others() -> None:
    names = ["Wasser", "Wald", *(f"Klasse {number}" for number in range(9))]
    places = oklab(np.array([rgb(color) for color in class_colors(names)], dtype=np.uint8))
    assert min(np.linalg.norm(a - b) for a, b in combinations(places, 2)) >= 0.07


@pytest.mark.parametrize("name", ["森林", "7", "unknown", "Brotfabrik"])
def test_nothing_is_read_into_other_names(name: str) -> None:
    assert class_colors([name]) == ["#332288"]


def test_no_two_are_alike_however_many_there_are() -> None:
    names = [*(f"Wald {i}" for i in range(60)), *(str(i) for i in range(194))]
    assert len(set(class_colors(names))) == 254
