"""A real headless Chromium without a network, and the page in it; skipped where there is none, except in CI."""

import json

import pytest
import torch
from chromium import chromium

from qtarget_inspect.explorer.page import write_explorer

LOSSES = """
import torch


def sqrt_trust(logits, labels):
    log_p = logits.log_softmax(-1).gather(-1, labels[..., None]).squeeze(-1)
    return -log_p.exp().detach().sqrt() * log_p


def distil(logits, labels, teacher_logits):
    own = -logits.log_softmax(-1).gather(-1, labels[..., None]).squeeze(-1)
    return 0.25 * own - 0.75 * (teacher_logits.softmax(-1) * logits.log_softmax(-1)).sum(-1)


def anchored(logits, labels, reference_logits, old_logits, advantages):
    log_p = logits.log_softmax(-1).gather(-1, labels[..., None]).squeeze(-1)
    pull = (reference_logits.softmax(-1) + old_logits.softmax(-1)) * logits.log_softmax(-1)
    return -advantages * log_p - pull.sum(-1)


def coupled(logits, labels):
    log_p = logits.log_softmax(-1).gather(-1, labels[..., None]).squeeze(-1)
    return -log_p * log_p.mean()


def wanting(logits, labels, rewards):
    return rewards * logits.sum(-1)


def even_labels_only(logits, labels):
    log_p = logits.log_softmax(-1).gather(-1, labels[..., None]).squeeze(-1)
    return -log_p * (labels % 2 == 0)


def broken(logits, labels):
    raise RuntimeError("boom")


def infinite(logits, labels):
    log_p = logits.log_softmax(-1).gather(-1, labels[..., None]).squeeze(-1)
    return -log_p / (log_p.exp().detach() > 0.5)
"""


def pytest_collection_modifyitems(items):
    """One browser for all: tests that use it go to one worker."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("chromium"))


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Tensors are tiny here: with more threads, these wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def losses_file(tmp_path_factory):
    """A file of losses, as a user would write it."""
    path = tmp_path_factory.mktemp("losses") / "my_losses.py"
    path.write_text(LOSSES)
    return path


@pytest.fixture(scope="session")
def page_file(tmp_path_factory, losses_file):
    """The page, with two losses of a user's."""
    own = [f"{losses_file}:sqrt_trust", f"{losses_file}:distil"]
    return write_explorer(tmp_path_factory.mktemp("page") / "explorer.html", own)


@pytest.fixture(scope="session")
def odd_page_file(tmp_path_factory, losses_file):
    """The page, with a loss that takes so much that a slider is held, and one that is no sum of pulls."""
    own = [f"{losses_file}:anchored", "squared-logits(logit_weight=0.01)"]
    return write_explorer(tmp_path_factory.mktemp("odd") / "explorer.html", own)


@pytest.fixture(scope="session")
def browser():
    """Chromium, headless and offline, driven by selenium without a look at the network."""
    with chromium("the explorer page") as started:
        yield started


class Page:
    """The page in the browser: opened anew at a fragment, run scripts in it, wait for its redraws.

    Args:
        driver: selenium's.
        path: the file.
    """

    def __init__(self, driver, path):
        self.driver, self.path = driver, path

    def open(self, fragment="", width=1440, height=900, media=()):
        """Load the file anew in a window of a size, with media features such as a dark theme."""
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        features = [{"name": name, "value": value} for name, value in dict(media).items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.driver.get("about:blank")
        self.driver.get(self.path.as_uri() + (f"#{fragment}" if fragment else ""))
        self.settled()
        return self

    def go(self, fragment):
        """Follow a link within the open page."""
        self.run("location.hash = arguments[0]", fragment)
        return self.settled()

    def run(self, script, *arguments):
        """What a script returns."""
        return self.driver.execute_script(script, *arguments)

    def settled(self):
        """Wait until what was asked for is drawn: a size that changes is seen a frame later, and drawn in the next."""
        self.driver.execute_async_script("""
            const done = arguments[0];
            let frames = 0;
            const look = () => (++frames < 3 || frame ? requestAnimationFrame(look) : setTimeout(done, 0));
            look();
        """)
        return self

    def waited(self, expression, seconds=5):
        """The value of an expression of the page's as soon as it is true, or after some seconds."""
        return self.driver.execute_async_script(
            f"""
            const [end, done] = [performance.now() + 1000 * arguments[0], arguments[1]];
            const look = () => {{
                const value = {expression};
                if (value || performance.now() > end) done(value);
                else setTimeout(look, 20);
            }};
            look();
            """,
            seconds,
        )

    def address(self):
        """What stands behind the # once the page has written its state there."""
        assert self.waited("location.hash === `#${fragmentOf(app)}`"), "the address follows the state"
        return self.run("return location.hash")

    def slide(self, name, index):
        """Move a slider as a hand would: to a position, with its input event."""
        script = """
            const slider = document.getElementById(arguments[0]);
            slider.value = arguments[1];
            slider.dispatchEvent(new Event("input", { bubbles: true }));
        """
        self.run(script, name, index)
        return self.settled()

    def choose(self, name, value):
        """Choose in a select, or write into a search, with the event of a hand."""
        script = """
            const control = document.getElementById(arguments[0]);
            control.value = arguments[1];
            control.dispatchEvent(new Event(control.type === "search" ? "input" : "change", { bubbles: true }));
        """
        self.run(script, name, value)
        return self.settled()

    def drawn(self, selector, attribute):
        """An attribute of all shapes that a selector finds, as text."""
        script = "return [...document.querySelectorAll(arguments[0])].map((one) => one.getAttribute(arguments[1]))"
        return self.run(script, selector, attribute)

    def numbers(self):
        """What the page has computed, a record a loss."""
        script = """
            const plain = (key, value) => (typeof value === "number" && !Number.isFinite(value) ? null : value);
            return JSON.stringify(shownView.losses.map((one) => ({
                title: one.title, gauge: one.gauge, law: one.law, residualWords: one.residualWords, note: one.note,
                p: one.now.p, q: one.now.q, g: one.now.g, gamma: one.now.gamma, residual: one.now.residual,
                mass: one.now.mass, negative: one.now.negative,
            })), plain);
        """
        return json.loads(self.run(script))

    def errors(self):
        """What the console complained of since the last look."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in {"SEVERE", "WARNING"}]


@pytest.fixture
def page_of(browser):
    """A page from a file; nothing on its console may be left unsaid."""
    opened = []

    def page_of(path):
        opened.append(Page(browser, path))
        opened[-1].errors()
        return opened[-1]

    yield page_of
    assert [message for page in opened for message in page.errors()] == []


@pytest.fixture
def odd_page(page_of, odd_page_file):
    """The page with the two odd losses."""
    return page_of(odd_page_file)


@pytest.fixture
def page(page_of, page_file):
    """The page with two losses of a user's."""
    return page_of(page_file)
