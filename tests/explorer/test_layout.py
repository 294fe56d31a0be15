"""How the page looks: in windows of all sizes, in a lecture, light and dark; nothing is cut off, nothing overlaps."""

import pytest

PICK = "losses=sft,dft"
FOUR = "losses=beyond-log(alpha=0.5),asft(kl_weight=0.2),kd-hybrid-temperature(temperature=3),my_losses.py:sqrt_trust"
WINDOWS = [(390, 844, 0), (500, 900, 0), (720, 450, 0), (1280, 720, 0), (1440, 900, 0), (1920, 1080, 1)]


@pytest.mark.parametrize(("width", "height", "lecture"), WINDOWS)
def test_figures_have_room_for_what_is_in_them(page, width, height, lecture):
    page.open(f"losses=dft&lecture={lecture}", width, height)
    for losses in ("losses=reinforce", "losses=reinforce,ppo(epsilon=0.3)&advantage=-1", FOUR):
        page.go(losses)
        assert cut_off(page) == [], losses
        turned, gaps = names_of_tokens(page)
        assert turned == (width < 500)
        assert turned or min(gaps) >= 2
        assert triangles_fill(page) > 0.55, losses


def cut_off(page):
    """Texts that reach beyond their figure."""
    script = """
        return [...document.querySelectorAll(".plot text")].filter((text) => {
            const [a, b] = [text.getBoundingClientRect(), text.closest("svg").getBoundingClientRect()];
            return a.left < b.left - 1 || a.right > b.right + 1 || a.top < b.top - 2 || a.bottom > b.bottom + 2;
        }).map((text) => `${text.closest(".plot").id}: ${text.textContent}`);
    """
    assert page.run("return document.querySelectorAll('.plot text').length") > 20
    return page.run(script)


def names_of_tokens(page):
    """Whether they are turned, and the pixels between neighbours."""
    script = """
        const names = [...document.querySelectorAll("#bars [data-kind=name]")];
        const boxes = names.map((name) => name.getBoundingClientRect());
        return [names[1].hasAttribute("transform"), boxes.slice(1).map((box, k) => box.left - boxes[k].right)];
    """
    return page.run(script)


def triangles_fill(page):
    """The share of their panel's width or height, the larger one, that the triangles take."""
    script = """
        const plot = document.getElementById("triangle").getBoundingClientRect();
        const sides = [...document.querySelectorAll("#triangle svg > path[d$=Z]:not([data-kind])")];
        const boxes = sides.map((side) => side.getBoundingClientRect());
        const span = (low, high) => Math.max(...boxes.map(high)) - Math.min(...boxes.map(low));
        const across = span((box) => box.left, (box) => box.right) / plot.width;
        return [boxes.length, Math.max(across, span((box) => box.top, (box) => box.bottom) / plot.height)];
    """
    count, share = page.run(script)
    assert count == page.run("return app.chosen.length")
    return share


def test_names_show_what_is_not_the_default_where_there_is_room(page):
    script = "return [...document.querySelectorAll('#gamma text')].map((text) => text.textContent)"
    page.open(FOUR, 1920, 1080)
    assert {"Beyond-log (alpha=0.5)", "ASFT (kl_weight=0.2)", "sqrt_trust"} <= set(page.run(script))
    page.open(FOUR, 390, 844)
    assert {"ASFT", "sqrt_trust"} <= set(page.run(script))
    page.open("losses=asft,asft(kl_weight=0.2)")
    assert {"ASFT (kl_weight=0.05)", "ASFT (kl_weight=0.2)"} <= set(page.run(script))


@pytest.mark.parametrize("width", [390, 1280, 1920])
def test_gauge_and_reading_stand_beside_every_gamma_in_the_same_words(page, width):
    page.open("losses=dft,asft(kl_weight=0.2)", width, 900)
    script = "return [...document.querySelectorAll('#bars text:has(tspan)')].map((text) => text.textContent)"
    dft, asft = page.run(script)
    assert asft.startswith("ASFT (kl_weight=0.2)" if width > 390 else "ASFT")
    assert dft.split(" · ", 1)[1] == asft.split(" · ", 1)[1].replace("normalized", "unit")
    assert dft.endswith(" · unit gauge · attractor reading") == (width == 1920)


def test_numbers_open_below_the_bars(page):
    page.open("losses=sft,dft,gem,asft")
    page.run("document.querySelector('.numbers').open = true")
    page.settled()
    script = """
        const box = (id) => document.getElementById(id).getBoundingClientRect();
        return [box("bars-numbers").bottom, box("panel-bars").bottom, box("panel-gamma").top];
    """
    numbers, panel, below = page.run(script)
    assert numbers < panel < below


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_theme_follows_the_system_and_the_switch(page, theme):
    page.open(PICK, media={"prefers-color-scheme": theme})
    ground = "return Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])"
    assert (page.run(ground) < 60) == (theme == "dark")
    other = {"light": "dark", "dark": "light"}[theme]
    page.choose("theme", other)
    assert (page.run(ground) < 60) == (other == "dark")
    fill = page.run("return document.querySelector('#bars svg > rect').getAttribute('fill')")
    assert fill == {"light": "#ffffff", "dark": "#14181f"}[other]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_is_told_from_its_ground(page, theme):
    page.open("losses=sft,dft,gem,kd-hybrid", media={"prefers-color-scheme": theme})
    script = """
        const lightness = (colour) => {
            const parts = colour.match(/[\\d.]+/g).slice(0, 3).map((c) => c / 255);
            const [r, g, b] = parts.map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const groundOf = (node) => {
            for (; node; node = node.parentElement) {
                const colour = getComputedStyle(node).backgroundColor;
                if (!/rgba\\(.*, 0\\)|transparent/.test(colour)) return colour;
            }
            return "rgb(255, 255, 255)";
        };
        const poor = [];
        const texts = "h1, h2, p, label, legend, th, td, button, summary, output, text, tspan";
        for (const node of document.querySelectorAll(texts)) {
            if (!node.textContent.trim() || !node.getClientRects().length || node.closest(".visually-hidden")) continue;
            const svg = node instanceof SVGElement;
            const style = getComputedStyle(node);
            const a = lightness(svg ? style.fill : style.color);
            const b = lightness(groundOf(svg ? node.closest(".panel") : node));
            const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            if (contrast < 4.5) poor.push([node.tagName, node.textContent.slice(0, 30), contrast.toFixed(2)]);
        }
        return poor;
    """
    assert page.run(script) == []


@pytest.mark.parametrize(("width", "height"), [(390, 844), (768, 1024), (1440, 900), (1920, 1080)])
def test_nothing_is_wider_than_the_window(page, width, height):
    page.open("", width, height)
    for lecture in (0, 1):
        page.go(f"losses=grpo,asft-reverse-kl,my_losses.py:distil,target-sft&lecture={lecture}")
        assert page.run("return document.documentElement.scrollWidth") <= width
        script = """
            const boxes = [...document.querySelectorAll(".plot svg")].map((svg) => svg.getBoundingClientRect());
            return boxes.map((box) => [box.left, box.right, box.width]);
        """
        boxes = page.run(script)
        assert len(boxes) == 4
        for left, right, drawn in boxes:
            assert left >= 0
            assert right <= width
            assert drawn > 200


def test_type_is_larger_in_a_lecture(page):
    page.open(PICK, 1920, 1080)
    size = "return parseFloat(document.querySelector('#gamma svg').getAttribute('font-size'))"
    before = page.run(size)
    page.run("document.getElementById('lecture').click()")
    page.settled()
    assert page.run(size) > 1.3 * before
    assert page.run("return document.getElementById('lecture').getAttribute('aria-pressed')") == "true"
    assert "lecture=1" in page.address()


def test_nothing_moves_for_those_who_ask_for_that(page):
    page.open(PICK, media={"prefers-reduced-motion": "reduce"})
    assert page.run("return getComputedStyle(document.getElementById('toast')).transitionDuration") == "0s"
