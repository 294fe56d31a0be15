"""Sources of variants: rows of the paper's table, losses beyond it that come with the package, and all others."""

PAPER = "paper"
"""The source of the sixteen rows of the paper's unification table."""

BEYOND = "beyond the paper"
"""The source of the other losses that come with the package."""

PACKAGE_SOURCES = (PAPER, BEYOND)
"""What comes with the package: it takes flat rows and unshifted labels, and stays registered."""
