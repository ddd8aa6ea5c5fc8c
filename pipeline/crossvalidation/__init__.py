"""Cross-validation, where networks of `learn` meet the partings of `geo`: `fitting`, then `record`."""
