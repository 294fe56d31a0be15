"""Colours of the page: the categories' own, moved towards black or white until the contrast suffices."""

from __future__ import annotations

import colorsys

LIGHT, DARK = "#ffffff", "#14181f"
"""What figures stand on."""

LINE, TEXT = 3.0, 4.5
"""Contrast that WCAG 2.2 asks of lines (1.4.11) and of text (1.4.3)."""

IN_THE_DARK = 5.5
"""Contrast of both on the dark ground, where the colours as they are would be dull."""

_STEP = 0.01


def contrast(one: str, other: str) -> float:
    """Contrast of two colours, from 1 to 21 (WCAG 2.2).

    Args:
        one: "#rrggbb".
        other: "#rrggbb".

    Returns:
        (L1 + 0.05) / (L2 + 0.05), the lighter above the line.

    Examples:
        >>> round(contrast("#ffffff", "#000000"), 2), round(contrast("#e69f00", "#ffffff"), 2)
        (21.0, 2.25)
    """
    brighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


def readable(colour: str, background: str, least: float) -> str:
    """The colour, made darker (on light) or lighter (on dark) in its own hue as far as the contrast asks for.

    Args:
        colour: "#rrggbb".
        background: "#rrggbb".
        least: contrast to reach.

    Returns:
        "#rrggbb".

    Examples:
        >>> readable("#0072b2", "#ffffff", 4.5)
        '#0072b2'
        >>> contrast(readable("#e69f00", "#ffffff", 4.5), "#ffffff") >= 4.5
        True
    """
    hue, lightness, saturation = colorsys.rgb_to_hls(*_channels(colour))
    step = -_STEP if _luminance(background) > 0.2 else _STEP
    while contrast(colour, background) < least and 0 < lightness < 1:
        lightness = min(1.0, max(0.0, lightness + step))
        colour = _hex(colorsys.hls_to_rgb(hue, lightness, saturation))
    return colour


def palette() -> dict[str, dict[str, dict[str, str]]]:
    """The categories' colours for both themes.

    Returns:
        theme -> category -> {"line", "text"}; the category "" is for losses that have none.
    """
    from qtarget_inspect.plots.style import CATEGORY_COLOURS, OTHER_COLOUR

    colours = {**CATEGORY_COLOURS, "": OTHER_COLOUR}
    return {
        theme: {
            category: {"line": readable(colour, ground, line), "text": readable(colour, ground, text)}
            for category, colour in colours.items()
        }
        for theme, ground, line, text in (("light", LIGHT, LINE, TEXT), ("dark", DARK, IN_THE_DARK, IN_THE_DARK))
    }


def _channels(colour: str) -> tuple[float, float, float]:
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return red, green, blue


def _hex(channels: tuple[float, float, float]) -> str:
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in channels)


def _luminance(colour: str) -> float:
    linear = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in _channels(colour))
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
