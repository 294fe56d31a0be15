"""The two pages: made of the scripts' own words, current, and with links that lead somewhere."""

import re
from html.parser import HTMLParser

import pytest

from qtarget_inspect.gallery.pages import RENDERED, index_page, readme_page, write_pages
from qtarget_inspect.gallery.rendering import LARGEST, render, rendered_files, rendered_from, stale_files
from qtarget_inspect.gallery.scripts import find_scripts, read_script


class Page(HTMLParser):
    """Tags of a page with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def scripts(gallery):
    return find_scripts(gallery)


def test_both_pages_are_those_of_the_scripts(gallery, scripts):
    assert (gallery / "index.html").read_text() == index_page(scripts), "run: make gallery"
    assert (gallery / "README.md").read_text() == readme_page(scripts), "run: make gallery"


def test_rendered_files_are_there_small_and_current(gallery, scripts):
    for script in scripts:
        for path in rendered_files(gallery / RENDERED, script):
            assert 2_000 < path.stat().st_size <= LARGEST[path.suffix[1:]], path.name
        png = rendered_files(gallery / RENDERED, script)[0]
        assert rendered_from(png) == script.fingerprint, f"run: qtarget-inspect gallery --only {script.name}"
    assert stale_files(gallery / RENDERED, scripts) == []


def test_links_of_the_index_resolve_and_nothing_comes_from_a_network(gallery):
    page = Page((gallery / "index.html").read_text())
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = [attributes["href"] for attributes in page.all("a")]
    sources = [attributes["src"] for _, attributes in page.tags if "src" in attributes]
    for link in [*links, *sources]:
        assert not re.match(r"\w+:|//", link)
        assert link[1:] in ids if link.startswith("#") else (gallery / link).is_file(), link
    assert page.all("link") == []
    assert len(sources) == len(find_scripts(gallery))


def test_the_index_can_be_read_without_its_pictures(gallery):
    page = Page((gallery / "index.html").read_text())
    assert page.all("html") == [{"lang": "en"}]
    pictures = [attributes for attributes in page.all("img") if "src" in attributes]
    assert all(len(attributes["alt"]) > 20 for attributes in pictures)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_links_of_the_readme_resolve(gallery):
    text = (gallery / "README.md").read_text()
    links = re.findall(r"\]\(([^)]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    assert len(links) == 3 * len(find_scripts(gallery))
    assert all((gallery / link).is_file() for link in links)


def test_words_are_escaped(write_script):
    script = read_script(write_script("01_x", "plt.plot([1 < 2])", title="Is a < b & q\\* so?"))
    page = index_page([script])
    assert "Is a &lt; b &amp; q* so?" in page
    assert "<code>p</code> and q* in <strong>bold</strong> &amp; more." in page
    assert 'alt="What to see: p and q* in bold &amp; more."' in page
    assert "plt.plot([1 &lt; 2])" in page
    assert 'alt="What to see: p and q* in bold &amp; more."' in readme_page([script])
    assert "**[01 Is a < b & q\\* so?](01_x.py)**" in readme_page([script])


def test_pages_elsewhere_take_the_scripts_along(write_script, tmp_path):
    scripts = [read_script(write_script(name)) for name in ("01_x", "02_y")]
    out = tmp_path / "out"
    assert next(iter(render(scripts[:1], out / RENDERED))).error == ""
    (out / RENDERED / "09_gone.png").touch()
    assert [path.name for path in write_pages(scripts, out)] == ["09_gone.png"]
    assert (out / "01_x.py").read_text() == scripts[0].path.read_text()
    assert not (out / "02_y.py").exists(), "it has not been drawn"
    assert "02_y" not in (out / "index.html").read_text()
    assert sorted(path.name for path in (out / RENDERED).iterdir()) == ["01_x.png", "01_x.svg"]
