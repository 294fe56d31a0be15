"""The index in a real headless Chromium, opened from disk, by keyboard; skipped where there is none, except in CI."""

import pytest
from chromium import chromium

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("chromium")]


@pytest.fixture(scope="module")
def browser():
    """Chromium, headless and offline."""
    with chromium("the gallery's index") as started:
        yield started


@pytest.fixture
def page(browser, gallery):
    browser.get((gallery / "index.html").as_uri())
    return browser


def shown(page):
    """The large picture: what it is called and which file it is; None while it is closed."""
    return page.execute_script("""
        const dialog = document.querySelector("dialog");
        const picture = dialog.querySelector("img").getAttribute("src");
        return dialog.open ? [dialog.querySelector("h3").textContent, picture] : null;
    """)


def test_every_picture_loads_and_nothing_complains(page):
    sizes = page.execute_async_script("""
        const done = arguments[0], pictures = [...document.querySelectorAll(".picture img")];
        pictures.forEach((picture) => { picture.loading = "eager"; });
        Promise.all(pictures.map((picture) => picture.decode())).then(() => done(pictures.map((p) => p.naturalWidth)));
    """)
    assert len(sizes) > 20
    assert min(sizes) > 1000
    assert page.get_log("browser") == []


def test_pictures_open_and_turn_by_keyboard(page):
    from selenium.webdriver.common.keys import Keys

    links = page.find_elements("css selector", ".picture")
    links[0].send_keys(Keys.ENTER)
    title, source = shown(page)
    assert title.startswith("01 ")
    assert source == links[0].get_dom_attribute("href")
    page.switch_to.active_element.send_keys(Keys.ARROW_LEFT)
    assert shown(page)[1] == links[-1].get_dom_attribute("href"), "before the first comes the last"
    page.switch_to.active_element.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert shown(page)[0].startswith("02 ")
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert shown(page) is None
    assert page.switch_to.active_element == links[1], "the focus goes to the picture that was shown last"


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_the_page_follows_the_scheme(page, scheme, dark):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    colour = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, colour[4:-1].split(","))) < 300) is dark


@pytest.mark.parametrize("width", [360, 1440])
def test_nothing_sticks_out_of_a_narrow_window(page, width):
    screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
