"""The address: it holds the state and restores it, and says what of it the page cannot show."""

import pytest

import qtarget_inspect as qt

PICK = "losses=sft,dft"


def test_the_fragment_restores_the_state(page):
    fragment = (
        "losses=asft(kl_weight=0.2),target-sft(eta=0.3),my_losses.py:distil&p=0.1192&shape=0.6&teacher=0.35&favourite=1"
        "&reference=0.5&old=0.1&advantage=-1&critical=0&log_z=5&gauge=unit&reading=label-free&axis=log-odds&theme=dark"
        "&lecture=1"
    )
    page.open(fragment)
    assert page.address() == f"#{fragment}"
    assert [one["title"] for one in page.numbers()] == ["ASFT (kl_weight=0.2)", "Target-SFT (eta=0.3)", "distil"]
    assert page.run("return document.getElementById('slider-favourite').value") == "1"
    assert page.run("return document.getElementById('reading').value") == "label-free"
    assert page.run("return document.documentElement.dataset.theme") == "dark"
    assert page.run("return document.documentElement.classList.contains('lecture')")


def test_a_link_followed_in_the_open_page_moves_it(page):
    page.open(PICK)
    page.run("location.hash = 'losses=gem&p=0.9'")
    page.settled()
    assert [one["title"] for one in page.numbers()] == ["GEM"]
    assert page.run("return app.at.p") == pytest.approx(0.9, abs=0.02)


def test_a_loss_worked_out_at_parameters_is_found_by_its_name(odd_page):
    page = odd_page
    page.open("losses=dft,squared-logits(logit_weight=0.01)")
    assert [one["title"] for one in page.numbers()] == ["DFT", qt.get("squared-logits").title]
    assert page.numbers()[1]["gamma"] is None, "no known pulls explain it"
    assert "γ undefined" in page.run("return document.getElementById('bars').textContent")
    assert page.address().startswith("#losses=dft,squared-logits(logit_weight=0.01)&")


@pytest.mark.parametrize(
    "fragment",
    [
        "losses=nothing,dft(beta=3),asft(kl_weight=-1),dft&p=seven&shape=&gauge=loud&lecture=maybe&%E0%A4%A",
        "losses=&p=-3",
        "junk",
        "losses=sft,dft,gem,kd,asft,focal",
        "losses=beyond-log(alpha=1e999),<img src=x onerror=alert(1)>",
    ],
)
def test_a_fragment_that_says_nonsense_does_no_harm(page, fragment):
    page.open(fragment)
    assert len(page.numbers()) <= 4
    assert page.run("return Object.keys(DATA.positions).every((axis) => DATA.positions[axis].includes(app.at[axis]))")
    assert page.run("return document.querySelectorAll('img').length") == 0


@pytest.mark.parametrize(
    ("fragment", "said"),
    [
        ("losses=foo,sft", ["foo is no loss of this page"]),
        ("losses=SFT,mine.py:margin", ["link says: mine.py:margin is no loss of this page."]),
        ("losses=asft(kl_weight=0.1", ["asft(kl_weight=0.1 is no loss of this page"]),
        ("losses=asft(kl_weight=-5,nope=1)", ["kl_weight=-5 is not between 0 and 1", "asft has no nope"]),
        ("losses=sft&p=9", ["p=9 is beyond its slider"]),
        ("losses=sft,dft,gem,kd,asft,focal", ["4 losses are shown at once, not asft(kl_weight=0.05), focal("]),
        ("losses=sft&gauge=loud&p=seven", ["gauge=loud says nothing here", "p=seven says nothing here"]),
    ],
)
def test_what_a_link_asks_for_in_vain_is_said(page, fragment, said):
    note = "return document.getElementById('missed').checkVisibility() && document.getElementById('missed').textContent"
    page.open(fragment)
    assert all(words in page.run(note) for words in said)
    page.choose("scene", "1")
    assert page.run(note) is False, "a scene asks for nothing in vain"


def test_the_pages_own_links_ask_for_nothing_in_vain(page):
    page.open(PICK)
    page.slide("slider-p", 56)
    page.open(page.address()[1:])
    assert page.run("return missed") == []
    assert page.run("return app.at.p") == page.run("return DATA.positions.p.at(-1)")


def test_a_copied_link_holds_the_state(page):
    page.open("losses=dft&p=0.3")
    page.run("""
        window.copied = [];
        const clipboard = { writeText: async (text) => copied.push(text) };
        Object.defineProperty(navigator, "clipboard", { value: clipboard, configurable: true });
    """)
    page.slide("slider-p", 40)
    page.run("document.getElementById('copy-link').click()")
    page.settled()
    (link,) = page.run("return copied")
    before = page.numbers()
    page.driver.get("about:blank")
    page.driver.get(link)
    page.settled()
    assert page.numbers() == before
