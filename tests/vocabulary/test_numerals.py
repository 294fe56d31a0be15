"""Numbers in names and formulas."""

import pytest

import qtarget_inspect as qt
from qtarget_inspect.vocabulary.numerals import exact, finite, rounded_latex, short_name


@pytest.mark.parametrize("number", [0.7, 1 / 0.7, 1e-9, 3, 1 / 3, -2.5, 1e20])
def test_exact_numbers_come_back(number):
    assert float(exact(number)) == number


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("p^1.4285714285714286", "p^1.429"),
        ("path(0.3333333333333333 to teacher)", "path(0.3333 to teacher)"),
        ("teacher@1.2345678", "teacher@1.235"),
        ("p^1.2345678e-07", "p^1.235e-07"),
        ("top_20", "top_20"),
        ("p^0.7", "p^0.7"),
        ("label", "label"),
    ],
)
def test_names_are_rounded_for_printing_only(name, short):
    assert short_name(name) == short


@pytest.mark.parametrize(
    ("number", "latex"), [(1e-5, "10^{-5}"), (-1e-5, "-10^{-5}"), (2.5e-8, r"2.5\cdot 10^{-8}"), (0.05, "0.05")]
)
def test_small_numbers_in_latex(number, latex):
    assert rounded_latex(number) == latex


@pytest.mark.parametrize("number", ["a", None, True, float("nan"), float("inf"), [1.0]])
def test_what_is_no_finite_number_is_refused(number):
    with pytest.raises(qt.QTargetError, match="the weight must be a finite number, not"):
        finite(number, "the weight")
