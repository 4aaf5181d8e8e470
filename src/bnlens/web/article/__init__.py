"""The front page: an article in five scenes, each with a figure whose knobs turn over states computed before."""
