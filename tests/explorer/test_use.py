"""The page in use: offline, by fragment, by keyboard, by sliders, on a phone and a projector, in the dark."""

import json

import pytest

PICK = "losses=sft,dft"


def values(page, kind, loss=0):
    """Values of the bars of a kind, as they are drawn."""
    script = """
        const bars = document.querySelectorAll(`#bars rect[data-kind="${arguments[0]}"][data-loss="${arguments[1]}"]`);
        return [...bars].map((bar) => Number(bar.dataset.value));
    """
    return page.run(script, kind, loss)


def cells(page):
    """The table as it is read: loss -> column -> text."""
    script = """
        const heads = [...document.querySelectorAll("#table thead th")].map((cell) => cell.textContent);
        return [...document.querySelectorAll("#table tbody tr")].map((row) =>
            Object.fromEntries([...row.cells].map((cell, k) => [heads[k], cell.textContent])));
    """
    return {row["loss"]: row for row in page.run(script)}


def press(page, *keys):
    from selenium.webdriver.common.action_chains import ActionChains

    for key in keys:
        ActionChains(page.driver).send_keys(key).perform()
    return page.settled()


def focused(page):
    return page.run("return document.activeElement.id || document.activeElement.tagName")


def test_it_loads_from_disk_without_a_network(page):
    page.driver.get_log("performance")
    page.open()
    asked = [json.loads(entry["message"])["message"] for entry in page.driver.get_log("performance")]
    urls = [one["params"]["request"]["url"] for one in asked if one["method"] == "Network.requestWillBeSent"]
    assert any(url.startswith("file://") for url in urls), "the log was looked at"
    assert not [url for url in urls if url.startswith(("http:", "https:", "ws:", "wss:"))]
    with pytest.raises(Exception, match=r"ERR_INTERNET_DISCONNECTED|ERR_NAME_NOT_RESOLVED"):
        page.driver.get("http://example.com/")  # the network is off indeed


def test_all_four_figures_are_drawn(page):
    page.open("losses=sft,gem,target-sft,asft")
    for figure in ("bars", "triangle", "gamma", "gradient"):
        box = page.run(f"const b = document.querySelector('#{figure} svg').getBBox();return [b.width, b.height]")
        assert min(box) > 150, figure
    assert page.run("return document.querySelectorAll('#gamma path[data-kind=gamma]').length") == 4
    assert page.run("return document.querySelectorAll('#gradient path[data-kind=label]').length") == 4
    assert page.run("return document.querySelectorAll('#gradient path[stroke-dasharray][data-kind=other]').length") == 4
    assert page.run("return document.querySelectorAll('#triangle [data-kind=model]').length") == 4


def test_a_curve_that_another_covers_is_seen_on_both_sides(page):
    page.open("losses=dft,target-sft,sft")
    dft, target_sft, sft = map(float, page.drawn("#gamma [data-kind=gamma]", "stroke-width"))
    assert dft > 1.5 * target_sft == 1.5 * sft, "the first two have gamma = p_y"
    assert len(set(page.drawn("#gradient [data-kind=label]", "stroke-width"))) == 1


def test_bars_show_p_q_and_residual(page):
    page.open("losses=dft&p=0.3&shape=1.4")
    (dft,) = page.numbers()
    assert values(page, "q") == pytest.approx(dft["q"], abs=1e-12)
    assert values(page, "residual") == pytest.approx(dft["p"], abs=1e-12)
    assert list(map(float, page.drawn("#bars [data-kind=p]", "data-value"))) == pytest.approx(dft["p"], abs=1e-12)
    heights = list(map(float, page.drawn("#bars [data-kind=q]", "height")))
    assert [h / heights[0] for h in heights] == pytest.approx([q / dft["q"][0] for q in dft["q"]], abs=0.02)


def test_negative_mass_is_hatched(page):
    page.open("losses=gem(beta=0.5)&p=0.2&shape=1")
    fills = page.drawn("#bars [data-kind=q]", "fill")
    assert min(values(page, "q")) < -1e-3
    assert [value < 0 for value in values(page, "q")] == [fill.startswith("url(#hatch") for fill in fills]
    assert float(cells(page)["GEM (beta=0.5)"]["negative mass"]) > 0.01


def test_without_a_loss_the_model_is_there(page):
    page.open("losses=")
    assert page.numbers() == []
    assert len(page.drawn("#bars [data-kind=p]", "height")) == 10


def test_rounding_is_read_as_zero(page):
    page.open("losses=reinforce,sft&p=0.5&advantage=-1")
    reinforce = cells(page)["REINFORCE"]
    assert abs(page.numbers()[0]["q"][0]) < 1e-14
    assert (reinforce["Q on the label"], reinforce["negative mass"]) == ("0.000", "0.000")
    assert "url(#hatch-0)" not in page.drawn("#bars [data-kind=q][data-loss='0']", "fill")
    assert "Q of mug 0.000." in page.run("return sentences(shownView)")
    page.open("losses=dft&p=0.95&shape=0.2")
    (dft,) = page.numbers()
    assert 0 < dft["q"][-1] < 1e-10
    last = page.run(
        "return [...document.querySelectorAll('#bars-numbers tr:last-child td')].map((one) => one.textContent)"
    )
    assert last[0].split("e")[1] == last[2].split("e")[1], "what is small and no rounding stays, as the residual p"


def test_sliders_move_the_numbers_in_the_right_direction(page):
    page.open("losses=dft,sft,target-sft&p=0.1")
    low = page.numbers()
    page.slide("slider-p", 45)
    high = page.numbers()
    assert high[0]["gamma"] > low[0]["gamma"] + 0.5, "DFT trusts what the model believes"
    assert high[1]["gamma"] == low[1]["gamma"] == 1
    assert high[0]["q"][0] > low[0]["q"][0]
    assert page.run("return document.querySelector('label[for=slider-p]').nextSibling.textContent").startswith("0.98")

    page.open("losses=eaft,target-sft&p=0.1&shape=0.6&teacher=0.2")
    before = page.numbers()
    page.slide("slider-shape", 10)
    after = page.numbers()
    assert after[0]["gamma"] > before[0]["gamma"], "EAFT trusts more where the model is unsure"
    page.slide("slider-teacher", 9)
    assert page.numbers()[1]["q"][0] > after[1]["q"][0], "Target-SFT follows its teacher"
    page.slide("slider-favourite", 4)
    far = page.numbers()[1]["q"]
    page.slide("slider-favourite", 0)
    near = page.numbers()[1]["q"]
    assert far[5] > near[5]
    assert near[1] > far[1]


def test_a_losss_own_parameter_moves_it_and_its_name(page):
    page.open("losses=beyond-log(alpha=1)&p=0.3")
    (linear,) = page.numbers()
    steps = page.run("return lossNamed('beyond-log').parameters[0].steps")
    page.slide("parameter-0-alpha", steps.index(2.0))
    (square,) = page.numbers()
    assert square["gamma"] == pytest.approx(linear["gamma"] ** 2)
    assert square["law"] == "p_y^2"
    assert square["title"] == "Beyond-log (alpha=2)"
    assert "beyond-log(alpha=2)" in page.address()


def test_sliders_of_the_context_are_there_where_they_count(page):
    script = """
        const axes = ["reference", "old", "advantage", "critical", "log_z"];
        return axes.map((axis) => document.getElementById(`slider-${axis}`).closest(".slider").hidden);
    """
    page.open("losses=dft")
    assert page.run(script) == [True] * 5
    page.open("losses=grpo,cft,z-loss")
    assert page.run(script) == [False] * 5
    page.slide("slider-advantage", 0)
    assert page.numbers()[0]["gamma"] < 0


def test_gauge_and_reading_change_gamma_and_stand_beside_it(page):
    page.open("losses=asft(kl_weight=0.05)&p=0.1192&gauge=unit")
    (unit,) = page.numbers()
    page.open("losses=asft(kl_weight=0.05)&p=0.1192")
    (natural,) = page.numbers()
    assert (unit["gauge"], natural["gauge"]) == ("unit", "normalized")
    assert natural["gamma"] == pytest.approx(unit["gamma"] / (unit["gamma"] + 0.05))
    text = page.run("return document.getElementById('bars').textContent")
    assert "normalized gauge · attractor reading" in text
    row = cells(page)["ASFT"]
    assert (row["gauge"], row["reading"]) == ("normalized", "attractor")
    page.open("losses=dft&p=0.3&reading=label-free")
    (dft,) = page.numbers()
    p = dft["p"][0]
    assert dft["gamma"] == pytest.approx(2 * p - p**2)


def test_what_is_undefined_is_a_dash(page):
    page.open("losses=reverse-kl,sft&gauge=normalized")
    reverse, sft = cells(page).values()
    assert reverse["γ now"] == "–", "no total pull: no normalized gauge"
    assert reverse["Q on the label"] == "–"
    assert sft["γ now"] == "1.000"
    assert values(page, "q", 0) == []


def test_where_a_users_loss_was_not_worked_out_there_are_dashes_and_a_note(odd_page):
    page = odd_page
    page.open("losses=my_losses.py:anchored&advantage=1&reference=0.5&old=0.2")
    (worked,) = page.numbers()
    assert worked["gamma"] == pytest.approx(1 / 3)
    assert worked["note"] == ""
    page.slide("slider-advantage", 0)
    (unknown,) = page.numbers()
    assert unknown["gamma"] is None
    assert unknown["note"] == "worked out at advantage 1 only"
    assert "worked out at advantage 1 only" in page.run("return document.getElementById('table').textContent")


def test_the_keyboard_alone_picks_a_loss_and_moves_a_slider(page):
    from selenium.webdriver.common.keys import Keys

    page.open(PICK)
    page.run("document.activeElement.blur()")
    for _ in range(40):
        press_once(page, Keys.TAB)
        if page.run("return document.activeElement.matches('#picker summary')"):
            break
    assert page.run("return document.activeElement.matches('#picker summary')"), "the picker is reached by Tab"
    outline = page.run("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline not in ("", "none"), "the focus is visible"
    press(page, Keys.ENTER, Keys.TAB, "gem")
    assert focused(page) == "search"
    press(page, Keys.TAB)
    while page.run("return document.activeElement.type") != "checkbox":
        press_once(page, Keys.TAB)
    press(page, Keys.SPACE)
    assert [one["title"] for one in page.numbers()] == ["SFT", "DFT", "GEM"]
    for _ in range(60):
        if focused(page) == "slider-p":
            break
        press_once(page, Keys.TAB)
    before = page.numbers()[1]["gamma"]
    press(page, *[Keys.ARROW_RIGHT] * 4)
    assert page.numbers()[1]["gamma"] > before
    press(page, Keys.HOME)
    assert page.numbers()[1]["gamma"] == pytest.approx(0.001, abs=1e-4)


def press_once(page, key):
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(page.driver).send_keys(key).perform()


def test_no_more_than_four_at_once(page):
    script = """
        const boxes = [...document.querySelectorAll("#offered input")];
        return [boxes.filter((box) => box.checked).length, boxes.filter((box) => !box.disabled).length];
    """
    page.open("losses=sft,dft,gem,kd")
    assert page.run(script) == [4, 4]
    page.run("document.querySelector('#chosen .remove').click()")
    page.settled()
    assert [one["title"] for one in page.numbers()] == ["DFT", "GEM", "KD"]
    assert page.run(script)[1] > 40


def test_search_finds_by_name_formula_and_reference(page):
    page.open(PICK)
    script = "return [...document.querySelectorAll('#offered .loss:not([hidden])')].map((item) => item.textContent)"
    for wanted, expected in (("2408.16673", {"GEM", "GEM (script)"}), ("target-sft", {"Target-SFT"}), ("zzz", set())):
        page.choose("search", wanted)
        assert set(page.run(script)) == expected
        assert page.run("return document.getElementById('none').hidden") == bool(expected)


def test_a_scene_sets_the_page(page):
    page.open(PICK)
    page.choose("scene", "2")
    assert [one["title"] for one in page.numbers()] == ["GEM", "focal loss"]
    assert all(one["negative"] > 1e-3 for one in page.numbers())
    assert "need not be a distribution" in page.run("return document.getElementById('scene-sentence').textContent")


def test_every_control_has_a_name(page):
    page.open("losses=grpo,cft,z-loss,target-sft")
    page.run("document.getElementById('picker').open = true")
    tree = page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = {
        "button",
        "slider",
        "checkbox",
        "combobox",
        "searchbox",
        "textbox",
        "image",
        "DisclosureTriangle",
        "dialog",
    }
    controls = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in tree
        if node.get("role", {}).get("value") in roles and not node.get("ignored")
    ]
    assert {role for role, _ in controls} >= {"button", "slider", "checkbox", "combobox", "searchbox", "image"}
    assert [one for one in controls if not one[1].strip()] == []
    names = [name for role, name in controls if role in {"button", "slider"}]
    assert len(names) == len(set(names)), "no two buttons or sliders are called the same"


def test_figures_have_a_text_and_the_numbers_a_sentence(page):
    page.open("losses=dft,gem(beta=0.5)&p=0.2&shape=1")
    page.run("document.getElementById('sentence').textContent = ''")
    page.slide("slider-p", 20)
    sentence = page.waited("document.getElementById('sentence').textContent")
    assert sentence.startswith(
        "The model gives mug 0.119. DFT: label trust 0.119 in the unit gauge, attractor reading;"
    )
    assert "negative mass" in sentence
    assert page.run("return document.getElementById('sentence').getAttribute('aria-live')") == "polite"
    for figure in ("bars", "triangle", "gamma", "gradient"):
        assert "DFT" in page.run(f"return document.getElementById('{figure}').getAttribute('aria-label')")
    rows = page.run("return [...document.querySelectorAll('#bars-numbers tbody tr')].map((row) => row.textContent)")
    assert len(rows) == 10
    assert rows[0].startswith("mug (label)")


@pytest.mark.parametrize("figure", ["bars", "triangle", "gamma", "gradient"])
def test_a_figure_is_saved_as_svg_and_as_png(page, figure):
    page.open("losses=gem,dft")
    svg = page.run("return decodeURIComponent(svgAddress(arguments[0]))", figure)
    assert svg.startswith("data:image/svg+xml")
    assert "xmlns" in svg
    script = """
        const done = arguments[1];
        pngOf(arguments[0]).then(async (png) => {
            const bytes = new Uint8Array(await png.arrayBuffer());
            done([png.type, bytes.length, String.fromCharCode(...bytes.slice(1, 4))]);
        });
    """
    kind, size, magic = page.driver.execute_async_script(script, figure)
    assert (kind, magic) == ("image/png", "PNG")
    assert size > 5000


def test_where_the_clipboard_is_closed_the_text_is_shown(page):
    page.open("losses=dft&p=0.3")
    page.run("Object.defineProperty(navigator, 'clipboard', { value: undefined, configurable: true })")
    page.run("document.getElementById('copy-python').click()")
    page.settled()
    assert page.run("return document.getElementById('text-dialog').open")
    assert "qt.TokenBatch(" in page.run("return document.getElementById('text-area').value")
    assert page.run("return document.getElementById('text-area').selectionEnd") > 100


def test_the_help_says_what_is_missing_and_why(page):
    page.open(PICK)
    page.run("document.getElementById('help').click()")
    text = page.run("return document.getElementById('help-text').textContent")
    assert "logit-norm: its gradient is that of softmax" in text
    assert "dpo: it compares two sequences" in text
    page.run("document.querySelector('#help-dialog button').click()")
