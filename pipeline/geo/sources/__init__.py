"""Where scenes come from: a module a kind of source, each of which gives `SceneFiles`."""
