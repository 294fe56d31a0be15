"""Every scene's sentence as a claim about the numbers that the page shows there."""

import numpy as np
import pytest

from qtarget_inspect.explorer import scenes


def the_scene(page, title):
    """The page in the scene: name of a loss -> its numbers."""
    place = next(k for k, scene in enumerate(scenes.SCENES) if scene[0] == title)
    if "explorer" not in page.driver.current_url or page.run("return LOSSES.length < 40"):
        page.open()
    page.choose("scene", str(place))
    assert page.run("return document.getElementById('scene-sentence').textContent") == scenes.SCENES[place][2]
    return numbers_of(page)


def numbers_of(page):
    names = page.run("return shownView.losses.map((one) => one.loss.name)")
    records = page.numbers()
    for record in records:
        for name in ("p", "q", "g"):
            record[name] = np.array(record[name])
    return dict(zip(names, records, strict=True))


def teacher_of(page):
    return np.array(page.run("return shownView.now.teacher.p"))


def cross_entropy_and_trust(page, seen):
    """SFT moves all mass to the label; DFT trusts it as far as the model does."""
    assert seen["sft"]["q"] == pytest.approx([1] + [0] * 9, abs=1e-12)
    assert seen["dft"]["gamma"] == pytest.approx(seen["dft"]["p"][0])
    assert seen["dft"]["gamma"] < 0.06


def a_teacher_decides(page, seen):
    """One trust, another residual, which leans to the teacher's tokens."""
    dft, target_sft, teacher = seen["dft"], seen["target-sft"], teacher_of(page)
    assert dft["gamma"] == pytest.approx(target_sft["gamma"])
    assert dft["residual"] == pytest.approx(list(dft["p"]))

    def distance(residual):
        return 0.5 * np.abs(np.array(residual) - teacher).sum()

    assert distance(target_sft["residual"]) < 0.7 * distance(dft["residual"])


def negative_mass(page, seen):
    """Both take more from some token than it has."""
    for one in seen.values():
        assert min(one["q"][1:]) < -0.01
        assert one["negative"] > 0.01


def two_gauges(page, seen):
    """gamma is 1 and p_y / (p_y + 0.05) in one gauge, p_y in the other."""
    p = seen["dft"]["p"][0]
    assert seen["dft"]["gamma"] == pytest.approx(1)
    assert seen["asft"]["gamma"] == pytest.approx(p / (p + 0.05))
    page.choose("gauge", "unit")
    assert [one["gamma"] for one in page.numbers()] == pytest.approx([p, p])


def four_laws(page, seen):
    """The others' entropy moves EAFT's trust and none of the other three."""
    gammas = [one["gamma"] for one in seen.values()]
    assert len({round(gamma, 3) for gamma in gammas}) == 4
    p = seen["eaft"]["p"]
    assert seen["eaft"]["gamma"] == pytest.approx(-(p * np.log(p)).sum() / np.log(10))
    page.slide("slider-shape", 1)
    moved = {name for name, one in numbers_of(page).items() if one["gamma"] != pytest.approx(seen[name]["gamma"])}
    assert moved == {"eaft"}


def three_divergences(page, seen):
    """Forward KL has the teacher as its target; the other gradients vanish with p."""
    assert seen["forward-kl"]["q"] == pytest.approx(teacher_of(page))
    page.slide("slider-shape", 0)  # the others' mass sits on one token: the teacher's favourite has next to none
    tight, favourite = numbers_of(page), teacher_of(page)[1:].argmax() + 1
    assert tight["forward-kl"]["p"][favourite] < 1e-4
    assert tight["forward-kl"]["g"][favourite] < -0.5
    assert max(abs(tight[name]["g"][favourite]) for name in ("reverse-kl", "jsd")) < 2e-3


def a_bad_action(page, seen):
    """gamma is negative, and Q on the label where p_y is below 1/2."""
    for one in seen.values():
        assert one["p"][0] < 0.5
        assert one["gamma"] < -0.9
        assert one["q"][0] < -0.3
    page.slide("slider-p", 32)
    above = numbers_of(page)["reinforce"]
    assert above["p"][0] > 0.5
    assert above["q"][0] > 0 > above["gamma"]


CLAIMS = (
    cross_entropy_and_trust,
    a_teacher_decides,
    negative_mass,
    two_gauges,
    four_laws,
    three_divergences,
    a_bad_action,
)


@pytest.mark.parametrize(
    ("title", "holds"), [(scene[0], claim) for scene, claim in zip(scenes.SCENES, CLAIMS, strict=True)]
)
def test_what_a_scene_says_is_what_the_page_shows(page, title, holds):
    holds(page, the_scene(page, title))
