"""The panels of the Inspect tab: the map and its knobs, and what is drawn under it."""
