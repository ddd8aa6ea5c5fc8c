"""Colours of classes by the meaning of their names: water blue, forest green, built-up red.

Names may be English, German, French, Spanish or Portuguese, and compounds (`Nadelwald`, `SeaLake`).
What means nothing known has a colour of the scheme "muted" of Paul Tol (Colour Schemes, SRON technical
note SRON/EPS/TN/09-002), which people of any colour vision tell apart.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from pipeline.geo.style.colors import distinct_colors, oklab, rgb

_MUTED = (
    "#332288", "#88ccee", "#44aa99", "#117733", "#999933", "#ddcc77", "#cc6677", "#882255", "#aa4499",
)  # fmt: skip
_APART = 0.07
"""In OKLab: nearer colours of two classes are hard to tell apart."""
_SHADES = (0.0, 0.35, -0.3, 0.6, -0.5, 0.2, -0.15)
"""Of one meaning: as it is, then lighter (towards white) and darker (towards black)."""
# The first line that fits counts: what is more special stands first. `\b` before or behind a word that
# is a part of others by chance.
_MEANINGS = (
    ("#3b3b47", r"shadow|schatten|\bombres?\b|sombra"),
    ("#e8e8e8", r"cloud|cirrus|wolk|nuage|\bnubes?\b|nuvem|nuvens"),
    (
        "#cfe4f5",
        r"snow|glaci|\bice|schnee|\beis\b|gletscher|firn\b|neige|nieve|hielo|\bneves?\b"
        r"|\bgelo\b|\bglaces?\b",
    ),
    ("#7fbf4d", r"urban green|green space|\b(?:zona|area)s? verde|espaces? verts?"),
    (
        "#6fb8c4",
        r"wetland|swamp|marsh|\bbog|\bfens?\b|\bpeat|mangrov|\breeds?\b|feucht|sumpf|moor"
        r"|schilf|\bhumid[ae]|marais|marecage|tourbi|humedal|pantan|turber|\bumid|brejo"
        r"|turfeira|marisma|alagad|inundad|inundav|inondab|varze|mangue|mangl",
    ),
    (
        "#a0568c",
        r"orchard|vineyard|\bvines?\b|permanent ?crop|obst|weinb|\bwein\b|\breben"
        r"|streuobst|verger|viticult|vigne|vignobl|vinedo|huert|frutal|\boliv|oliveda|pomar|vinha"
        r"|(?<!forest )plantat(?!ion forest)|plantac",
    ),
    (
        "#8d5fa8",
        r"industr|commerc|gewerbe|\bmines?\b|mining|bergbau|tagebau|zone d ?activite",
    ),
    (
        "#5c5c5c",
        r"\broad|highway|motorway|street|\brail|transport|asphalt|pavement|strass|autobahn"
        r"|bahn|verkehr|weg\b|\broute|autoroute|\brue\b|carreter|\bcalle|ferrovi"
        r"|ferrocarril|estrada|rodovia",
    ),
    (
        "#d0453e",
        r"built|build|urban|urbain|residen|settle|\bcity\b|\btown|village|\bhous"
        r"|artificial|imperv|siedlung|wohn|gebaude|gebaeude|bebau|versiegel|\bstadt(?!wald)"
        r"|\bort\b|ortschaft|\bbati|habitat|\bville\b|edific|construid|construcc"
        r"|construcao|ciudad|\bcasas?\b|cidade"
        r"|\bhaus|maison|sealed",
    ),
    (
        "#a6824c",
        r"shrub|scrub|bush|heath|chaparral|heide|busch|strauch|maquis|macchia|matorral"
        r"|arbust|broussaille|\blandes?\b|garrigue|brezal|\bmato\b|fourre"
        r"|matagal|hecke|hedge|\bhaies?\b",
    ),
    (
        "#1f7a3d",
        r"forest|\bwood|woodland|\btrees?\b|conifer|decidu|broadleav|evergreen|wald|forst"
        r"|baum|geholz|gehoelz|foret|\bbois\b|boise|arbre|arbor|feuillu|resineux|bosque"
        r"|arbol|florest|\bmatas?\b|arvore|selva|jungle|\bpines?\b|pinar|pinhal|eucal",
    ),
    (
        "#7fbf4d",
        r"grass|meadow|pasture|savann|steppe|\blawn|herbac|\bherb|wiese|weide|grunland"
        r"|gruenland|rasen|prairie|paturage|pelouse|prado|prader|pastiz|\bpasto|pastag"
        r"|campo limpo|relva|gazon|cesped|gramine",
    ),
    (
        "#e6c35c",
        r"crop|\bfarm|arable|agric|\bfields?\b|cereal|wheat|maize|\bcorn\b|barley|\brice\b"
        r"|rapeseed|acker|landwirt|getreide|weizen|\bmais\b|gerste|\braps\b|\bfeld|cultur"
        r"|cultiv|labour|\bchamps?\b|terres? arable|\bble\b|colza|labor|\btrigo\b|maiz"
        r"|\bmilho|lavoura|\bsoja|ruben?\b|kartoffel|sugar ?cane|canne a sucre|\bcana de",
    ),
    (
        "#cdb08c",
        r"\bbare|barren|\bsoil|\bsand|rock|\bdune|desert|beach|gravel|quarr|boden\b|\bfels"
        r"|gestein|schotter|\bkies|brach|\bkahl|strand|\bsols?\b|\bnu(?:s|e|es|a|as)?\b"
        r"|roche|sable|plage|carriere|suelo|desnud|arena|\broca|playa|\bsolo|rocha|areia"
        r"|praia|exposto|vegetationslos|(?:ohne|sans|sin|sem|non|un) ?veget",
    ),
    (
        "#2f7fd6",
        r"water|\blakes?\b|lake\b|\brivers?\b|\bseas?\b|ocean|\bponds?\b|reservoir|stream"
        r"|lagoon|wasser|gewass|gewaess|\bsee|seen?\b|fluss|\bfluesse|teich|weiher|meer"
        r"|\beaux?\b|\blacs?\b|riviere|fleuve|\bmer\b|etang|\bagua|\blago|\brios?\b"
        r"|embalse|\bmar\b|laguna|lagoa|represa|acude|canal|\bbach|\bbache\b|ozean",
    ),
    ("#7fbf4d", r"\bcampos?\b"),
)


def class_colors(names: Sequence[str]) -> list[str]:
    """A colour as `#rrggbb` for each class, by the meaning of its name; no two are alike."""
    palette = [*_MUTED, *distinct_colors(len(names) + len(_MUTED))]
    chosen: dict[int, str] = {}
    for number, name in enumerate(names):
        if color := _meaning(name):
            chosen[number] = _first_apart([*_shades(color), *palette], chosen.values())
    for number in range(len(names)):
        if number not in chosen:
            chosen[number] = _first_apart(palette, chosen.values())
    return [chosen[number] for number in range(len(names))]


def _meaning(name: str) -> str | None:
    """The colour of what a name means; None where it means nothing known."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).replace("ß", "ss")
    plain = unicodedata.normalize("NFKD", apart).encode("ascii", "ignore").decode()
    text = re.sub(r"[^a-z0-9]+", " ", plain.lower())
    return next((color for color, pattern in _MEANINGS if re.search(pattern, text)), None)


def _shades(color: str) -> Iterator[str]:
    """A colour, then lighter and darker ones."""
    base = np.array(rgb(color))
    for share in _SHADES:
        towards = 255 if share > 0 else 0
        red, green, blue = np.rint(base + abs(share) * (towards - base)).astype(int).tolist()
        yield f"#{red:02x}{green:02x}{blue:02x}"


def _first_apart(colors: Sequence[str], others: Collection[str]) -> str:
    """The first colour that can be told from the others; if none can, the first that is another."""
    if not others:
        return colors[0]
    near = oklab(_rgb_rows(colors))[:, None] - oklab(_rgb_rows(list(others)))
    apart = np.linalg.norm(near, axis=2).min(axis=1)
    return colors[int((apart >= _APART).argmax() if (apart >= _APART).any() else (apart > 0).argmax())]


def _rgb_rows(colors: Sequence[str]) -> npt.NDArray[np.uint8]:
    return np.array([rgb(color) for color in colors], dtype=np.uint8)
