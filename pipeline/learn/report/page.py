"""The report of a model as one HTML page that stands on its own: what to decide by, verdict first.

Two sections are filled in later (see `sections`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pipeline.config.evaluate import CardConf
from pipeline.learn.evaluation.band_importance import BandImportance
from pipeline.learn.evaluation.predictions import NETWORK, Evaluation
from pipeline.learn.report.model_card import interval, limits
from pipeline.learn.report.sections import embedded, render
from pipeline.learn.report.summary import caveat, repeat, scenes_of, split_of, trust, worst
from pipeline.learn.stats.intervals import Certainty

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1c1c1c; max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .6rem 0; }
td, th { padding: .25rem .7rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top; }
td.n { text-align: right; }
img { max-width: 100%; height: auto; }
figure { margin: 1rem 0; } figcaption { color: #555; font-size: .9rem; }
.verdict { border-left: .4rem solid; padding: .5rem .9rem; margin: .5rem 0; background: #f6f6f6; }
.good { border-color: #009e73; } .fair { border-color: #e69f00; } .bad { border-color: #d55e00; }
.swatch { display: inline-block; width: .9rem; height: .9rem; border: 1px solid #888;
  vertical-align: -.1rem; margin-right: .4rem; }
code { background: #f0f0f0; padding: 0 .2rem; }
"""
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{{ title }}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{{ style }}</style></head>
<body>
<h1>{{ title }}</h1>
<section id="verdict"><h2>Verdict</h2>
{% for mark, sentence in verdicts %}<p class="verdict {{ mark }}">{{ sentence }}</p>
{% endfor %}</section>
<section id="models"><h2>Against the baselines</h2>
<table><tr><th>model</th><th>accuracy (95 %)</th><th>balanced accuracy (95 %)</th></tr>
{% for name, accuracy, balanced in models %}<tr><td>{{ name }}</td><td>{{ accuracy }}</td>\
<td>{{ balanced }}</td></tr>
{% endfor %}</table><p>{{ sentence }}</p><p>{{ caveat }}</p></section>
<section id="classes"><h2>By class</h2>
<table><tr><th>class</th><th>user's accuracy</th><th>producer's accuracy</th><th>F1</th>\
<th>test patches</th></tr>
{% for info, one in classes %}<tr><td><span class="swatch" style="background:{{ info.color }}"></span>\
{{ info.title }}</td><td class="n">{{ '%.2f' % one.precision }}</td>\
<td class="n">{{ '%.2f' % one.recall }}</td><td class="n">{{ '%.2f' % one.f1 }}</td>\
<td class="n">{{ one.support }}</td></tr>
{% endfor %}</table><p>{{ worst }}</p></section>
<section id="limits"><h2>Where not to believe it</h2><ul>
{% for line in limits %}<li>{{ line }}</li>
{% endfor %}</ul></section>
<section id="champion"><h2>What changed since the champion</h2>
<!--champion--><p>The registry knows; see this page in the run.</p><!--/champion--></section>
<section id="maps"><h2>Maps</h2>
<!--maps--><p>No scene was mapped with it yet.</p><!--/maps--></section>
<section id="figures"><h2>Figures</h2>
{% for caption, data in figures %}<figure><img alt="{{ caption }}" \
src="data:image/png;base64,{{ data }}"><figcaption>{{ caption }}</figcaption></figure>
{% endfor %}</section>
<section id="bands"><h2>Bands</h2>
<table><tr><th>band</th><th>balanced accuracy lost</th></tr>
{% for one in bands %}<tr><td>{{ one.band }}</td><td class="n">{{ '%+.3f' % one.loss }} \
(± {{ '%.3f' % one.spread }})</td></tr>
{% endfor %}</table>
<p>Lost when a band comes from other patches. Bands that resemble each other stand in for each other: \
little loss does not mean that a band could be left out together with its like.</p></section>
<section id="lineage"><h2>Where it comes from</h2><table>
{% for what, value in lineage %}<tr><th>{{ what }}</th><td>{{ value }}</td></tr>
{% endfor %}</table></section>
</body></html>
"""


@dataclass(frozen=True)
class Page:
    """What a page is made of."""

    evaluation: Evaluation
    certainty: Certainty
    said: CardConf
    """What a person says of the model."""
    figures: Mapping[str, bytes]
    """PNG files by what they show."""
    bands: Sequence[BandImportance]
    tags: Mapping[str, str]
    """Of the run: `git.commit`, `git.dirty` and `dvc.experiment`, where it has them."""

    def html(self) -> str:
        """The page; sections that are filled in later say so."""
        evaluation, certainty = self.evaluation, self.certainty
        meta, network = evaluation.meta, evaluation.scores[NETWORK]
        balanced = certainty.balanced_accuracy.items()
        return render(
            _PAGE,
            title=f"{meta.preset} on {len(meta.bands)} bands, weights {meta.weights_sha256[:12]}",
            style=Markup(_STYLE),
            verdicts=verdicts(evaluation, certainty),
            models=[
                (name.replace("_", " "), interval(certainty.accuracy[name]), interval(one))
                for name, one in balanced
            ],
            sentence=certainty.sentence,
            caveat=caveat(evaluation.store.meta),
            classes=list(zip(meta.classes, network.per_class, strict=True)),
            worst=worst(network, meta).replace("**", ""),
            limits=limits(evaluation, self.said),
            figures=[(caption, embedded(png)) for caption, png in self.figures.items()],
            bands=self.bands,
            lineage=self._lineage(),
        )

    def _lineage(self) -> list[tuple[str, str]]:
        meta, split = self.evaluation.meta, self.evaluation.split
        counts = ", ".join(
            f"{len(split.rows(part)):,} {part}" for part in ("train", "validation", "test", "unused")
        )
        hashes = meta.hashes
        return [
            ("scenes", scenes_of(meta)),
            ("labels", meta.credit),
            ("patches", counts),
            ("split", split_of(split)),
            ("bands", ", ".join(meta.bands)),
            ("store", hashes.store),
            ("split, hash", hashes.split),
            ("conf of train, hash", hashes.conf),
            ("weights", meta.weights_sha256),
            ("again", repeat(self.tags).replace("`", "")),
        ]


def verdicts(evaluation: Evaluation, certainty: Certainty) -> list[tuple[str, str]]:
    """What to decide by, the most important first, each `good`, `fair` or `bad`."""
    found = [_against(certainty)]
    found.append(("fair" if evaluation.trust["ece_after"] > 0.05 else "good", trust(evaluation.trust)))
    shared = evaluation.split.split.shared_ground_m2
    if shared:
        found.append(
            ("bad", f"Parts share {shared / 1e6:,.2f} km2 of ground: what is tested was seen.")
        )
    notes = [note for note in (certainty.width_note, certainty.note) if note]
    return [*found, *(("fair", f"{note[:1].upper()}{note[1:]}.") for note in notes)]


def _against(certainty: Certainty) -> tuple[str, str]:
    gain = certainty.gain
    if gain is None or certainty.rival is None:
        return "bad", "It was compared with nothing: name baselines in conf/evaluate.yaml."
    rival = certainty.rival.replace("_", " ")
    told = f"balanced accuracy {gain.value:+.3f}, 95 % interval {gain.low:+.3f} to {gain.high:+.3f}"
    if gain.value <= 0:
        return "bad", f"No better than the best baseline, {rival}: {told}."
    if gain.low <= 0:
        return "fair", f"Perhaps better than the best baseline, {rival}, not surely: {told}."
    if not gain.trusted:
        return "fair", f"Better than the best baseline, {rival}, on few blocks: {told}."
    return "good", f"Surely better than the best baseline, {rival}: {told}."
