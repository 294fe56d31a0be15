"""Variants: registered losses with their pulls and claims; the registry; losses given as text."""

from qtarget_inspect.variants.claims import Claim
from qtarget_inspect.variants.ranges import Range
from qtarget_inspect.variants.registry import BEYOND_VARIANTS, PAPER_VARIANTS, get, register, unregister, variants
from qtarget_inspect.variants.sources import PACKAGE_SOURCES
from qtarget_inspect.variants.spec import resolve
from qtarget_inspect.variants.variant import Variant

__all__ = [
    "BEYOND_VARIANTS",
    "PACKAGE_SOURCES",
    "PAPER_VARIANTS",
    "Claim",
    "Range",
    "Variant",
    "get",
    "register",
    "resolve",
    "unregister",
    "variants",
]
