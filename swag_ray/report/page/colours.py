"""The colours of pages and figures, in light and dark. Without matplotlib, which a page may do without."""

from __future__ import annotations

# Okabe and Ito's palette, safe for colour-blind readers; every tone doubles as the name of a CSS variable, so no two
# may be alike.
COLOURS = {
    "paper": "#ffffff",
    "ink": "#1b1f24",
    "quiet": "#5f6872",
    "line": "#cfd4da",
    "normal": "#0072b2",
    "anomaly": "#d55e00",
    "third": "#00795a",
    "fourth": "#a6447a",
}
DARK_COLOURS = {
    "paper": "#15181c",
    "ink": "#e6e8ea",
    "quiet": "#9aa3ad",
    "line": "#3a4149",
    "normal": "#56b4e9",
    "anomaly": "#f0883e",
    "third": "#3cc39a",
    "fourth": "#dd8fbd",
}
