"""Cross-validation, where networks of `learn` meet the splits of `geo`: `fitting`, then `record`."""
