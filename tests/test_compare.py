"""The page with a slider: what is paired, what it holds, and what it does under mouse, touch and keys."""

import base64
import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from browsing import started
from PIL import Image

from fsr import compare
from fsr.cli import pages
from fsr.compare import default_names, find_pairs, write_comparison
from fsr.images import enlarge, read_image, to_bytes

assert pages.compare


def picture(path: Path, width: int, height: int, seed: int = 0) -> Path:
    path.parent.mkdir(exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


class Images(HTMLParser):
    """The images a page refers to, and every attribute that could fetch something."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.sources, self.notes, self.pixelated, self.addresses = [], [], [], []
        self.feed(page.read_text())

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.addresses += [given[name] for name in ("src", "href", "action", "srcset", "data") if given.get(name)]
        if tag == "img" and "src" in given:
            self.sources.append(given["src"])
            self.notes.append(given["data-note"])
            self.pixelated.append("data-pixelated" in given)

    def bytes(self, index: int) -> bytes:
        return base64.b64decode(self.sources[index].partition(",")[2])


def test_one_page_holds_both_pictures_and_asks_for_nothing(fsr, tmp_path):
    a, b = picture(tmp_path / "a.png", 20, 10), picture(tmp_path / "b.webp", 20, 10, 1)
    code, out, _ = fsr("compare", a, b, "-o", tmp_path / "page.html")
    assert code == 0 and "holds all its pictures" in out
    page = Images(tmp_path / "page.html")
    assert [page.bytes(0), page.bytes(1)] == [a.read_bytes(), b.read_bytes()]
    assert all(address.startswith("data:") for address in page.addresses)
    assert not re.search(r"https?://|url\(|@import", (tmp_path / "page.html").read_text())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.webp", "page.html"]


@pytest.mark.parametrize("smaller", [0, 1])
def test_a_smaller_picture_is_enlarged_as_the_page_says(tmp_path, smaller):
    sizes = [(8, 6), (24, 18)]
    files = [picture(tmp_path / f"{i}.png", *sizes[i]) for i in ((0, 1), (1, 0))[smaller]]
    pages = {}
    for enlargement in ("bicubic", "nearest"):
        write_comparison(find_pairs(*files), tmp_path / "page.html", ("A", "B"), enlargement)
        pages[enlargement] = Images(tmp_path / "page.html")
        assert pages[enlargement].notes[smaller] == f"8×6, shown 3× as large ({enlargement})"
        assert pages[enlargement].notes[1 - smaller] == "24×18"
        assert enlargement in (tmp_path / "page.html").read_text().partition("</header>")[0]
        assert pages[enlargement].bytes(1 - smaller) == files[1 - smaller].read_bytes()
    shown = np.asarray(Image.open(io.BytesIO(pages["bicubic"].bytes(smaller))))
    expected = to_bytes(enlarge(read_image(files[smaller]), 3))[0].permute(1, 2, 0)
    assert torch.equal(torch.from_numpy(shown.copy()), expected)
    assert pages["nearest"].bytes(smaller) == files[smaller].read_bytes()
    assert pages["nearest"].pixelated == [smaller == 0, smaller == 1]
    assert pages["bicubic"].pixelated == [False, False]


def test_what_browsers_do_not_show_becomes_a_png(tmp_path):
    a, b = picture(tmp_path / "a.tif", 9, 7), picture(tmp_path / "b.bmp", 9, 7)
    write_comparison(find_pairs(a, b), tmp_path / "page.html", ("A", "B"))
    page = Images(tmp_path / "page.html")
    for index, file in enumerate((a, b)):
        with Image.open(io.BytesIO(page.bytes(index))) as shown, Image.open(file) as original:
            assert shown.format == "PNG" and np.array_equal(np.asarray(shown), np.asarray(original))


def test_folders_are_paired_by_name_and_what_is_left_out_is_said(fsr, tmp_path):
    for name in ("one.png", "two.jpg", "<b>.png"):
        picture(tmp_path / "a" / name, 8, 8)
    for name in ("two.png", "one.png", "four.png"):
        picture(tmp_path / "b" / name, 16, 16)
    code, _, err = fsr("compare", tmp_path / "a", tmp_path / "b", "-o", tmp_path / "page.html")
    assert code == 0
    assert "only in a, not shown: <b>" in err and "only in b, not shown: four" in err
    text = (tmp_path / "page.html").read_text()
    assert re.findall(r'<option value="\d+">(one|two)</option>', text) == ["one", "two"]
    assert "only in a, not shown: &lt;b&gt;" in text and "only in b, not shown: four" in text
    assert len(Images(tmp_path / "page.html").sources) == 4


def test_many_bytes_go_beside_the_page(fsr, tmp_path, monkeypatch):
    monkeypatch.setattr(compare, "EMBEDDED_LIMIT", 1500)
    for name in ("x", "y"):
        picture(tmp_path / "a" / f"{name}.png", 8, 8)
        picture(tmp_path / "b" / f"{name}.png", 16, 16)
    code, out, _ = fsr("compare", tmp_path / "a", tmp_path / "b", "-o", tmp_path / "the page.html")
    assert code == 0 and "the page_files" in out
    sources = [tmp_path / unquote(source) for source in Images(tmp_path / "the page.html").sources]
    assert len(sources) == 4 and all(source.parent == tmp_path / "the page_files" for source in sources)
    assert sources[1].read_bytes() == (tmp_path / "b/x.png").read_bytes()
    # An enlarged picture counts at its new size.
    one = find_pairs(tmp_path / "a/x.png", tmp_path / "b/x.png").pairs[0]
    assert one.bytes == 4 * (tmp_path / "a/x.png").stat().st_size + (tmp_path / "b/x.png").stat().st_size


def test_names_are_text_and_never_markup(fsr, tmp_path):
    a, b = picture(tmp_path / "a.png", 8, 8), picture(tmp_path / "b.png", 8, 8)
    evil = "</script><script>alert(1)</script>"
    assert fsr("compare", a, b, "-o", tmp_path / "page.html", "--names", f"{evil},<i>")[0] == 0
    text = (tmp_path / "page.html").read_text()
    assert evil not in text and "<i>" not in text and text.count("</script>") == 1


def test_default_names_differ(tmp_path):
    assert default_names(tmp_path / "a/x.png", tmp_path / "b/y.png") == ("x.png", "y.png")
    first, second = default_names(tmp_path / "a/x.png", tmp_path / "b/x.png")
    assert first != second and "a" in first and "b" in second


def test_a_turned_photograph_has_the_size_it_is_shown_in(tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # a quarter turn
    Image.new("RGB", (10, 20)).save(tmp_path / "turned.jpg", exif=exif)
    pair = find_pairs(tmp_path / "turned.jpg", picture(tmp_path / "upright.png", 20, 10)).pairs[0]
    assert (pair.size, pair.factors) == ((20, 10), (1, 1))
    with pytest.raises(ValueError, match="neither is an integer multiple"):
        find_pairs(tmp_path / "turned.jpg", picture(tmp_path / "flat.png", 10, 20))


@pytest.mark.parametrize(
    ("sizes", "fits"),
    [
        (((8, 6), (16, 12)), True),
        (((8, 6), (16, 13)), False),
        (((8, 6), (12, 9)), False),
        (((8, 6), (6, 8)), False),
        (((8, 6), (8, 12)), False),
        (((8, 6), (4, 18)), False),
        (((8, 6), (4, 3)), True),
    ],
)
def test_only_integer_multiples_are_pairs(tmp_path, sizes, fits):
    files = [picture(tmp_path / f"{i}.png", *size) for i, size in enumerate(sizes)]
    if fits:
        assert find_pairs(*files).pairs[0].size == max(sizes)
    else:
        with pytest.raises(ValueError, match=r"8x6 pixels.*neither is an integer multiple.*crop or resize"):
            find_pairs(*files)


def test_what_cannot_be_compared_is_said_in_one_line(fsr, tmp_path):
    a = picture(tmp_path / "a" / "one.png", 8, 8)
    picture(tmp_path / "b" / "two.png", 8, 8)
    picture(tmp_path / "c" / "one.png", 8, 8)
    picture(tmp_path / "c" / "one.jpg", 8, 8)
    (tmp_path / "empty").mkdir()
    broken = tmp_path / "broken.png"
    broken.write_bytes(a.read_bytes()[:60])
    text = tmp_path / "text.png"
    text.write_text("no image")
    cases = {
        (tmp_path / "a", tmp_path / "b"): "name them alike",
        (tmp_path / "a", tmp_path / "b/two.png"): "give two images or two folders",
        (tmp_path / "a", tmp_path / "none"): "is missing",
        (tmp_path / "a", tmp_path / "empty"): "no images in",
        (tmp_path / "a", tmp_path / "c"): "have one name",
        (a, broken): "broken.png is truncated",
        (a, text): "text.png is not an image",
        (a, a, "--names", "only one"): "give two names",
        (a, a, "--names", "a,b,c"): "give two names",
        (a, a, "--enlarge", "lanczos"): "choose one of bicubic, nearest",
    }
    for arguments, message in cases.items():
        code, _, err = fsr("compare", *arguments, "-o", tmp_path / "page.html")
        lines = [line for line in err.splitlines() if line.startswith("error: ")]
        assert code == 1 and len(lines) == 1 and message in lines[0], (arguments, err)
        assert "Traceback" not in err and not (tmp_path / "page.html").exists()


def test_pictures_are_compared_without_loading_any_network():
    code = "import sys, fsr.cli, fsr.compare; sys.exit('diffusers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    yield from started(tmp_path_factory.mktemp("chromium"))


@pytest.fixture
def page(request, browser, tmp_path, monkeypatch):
    """A page of two pairs, loaded, pixel by pixel: wide is 64x32 and 192x96, tall 40x80 twice."""
    for index, folder in enumerate(("a", "b")):
        picture(tmp_path / folder / "tall.png", 40, 80, index)
        picture(tmp_path / folder / "wide.png", 64 * (1 + 2 * index), 32 * (1 + 2 * index), index)
    if getattr(request, "param", "embedded") == "beside":
        monkeypatch.setattr(compare, "EMBEDDED_LIMIT", 0)
    write_comparison(find_pairs(tmp_path / "a", tmp_path / "b"), tmp_path / "p a#ge.html", ("old", "new"))
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get((tmp_path / "p a#ge.html").as_uri())
    choose(browser, ".zoom", "1×")
    decode(browser)
    return browser


def decode(browser):
    browser.execute_async_script(
        "const done = arguments[0];"
        "const images = [...document.querySelectorAll('.pictures img')];"
        "Promise.all(images.map((image) => image.decode())).then(() => done());"
    )


def value(browser, expression):
    return browser.execute_script(f"return {expression}")


CLIP = r"Number(getComputedStyle(viewer.pictures.querySelector('.right')).clipPath.match(/([\d.]+)(px)?\)$/)[1])"
SPLIT = "Number(viewer.split.value)"


def choose(browser, selector, text):
    support = pytest.importorskip("selenium.webdriver.support.ui")
    support.Select(browser.find_element("css selector", selector)).select_by_visible_text(text)


@pytest.mark.parametrize("page", ["embedded", "beside"], indirect=True)
def test_the_page_loads_alone_and_without_a_complaint(page):
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    requests = [each["params"] for each in messages if each["method"] == "Network.requestWillBeSent"]
    own = [each["request"]["url"] for each in requests if each["documentURL"].startswith("file:")]
    assert own and {url.partition(":")[0] for url in own} <= {"file", "data"}
    assert page.get_log("browser") == []
    assert value(page, "[...document.querySelectorAll('.pictures img')].every((image) => image.naturalWidth === 40)")


def test_keys_move_the_split_and_what_is_seen(page):
    keys = pytest.importorskip("selenium.webdriver").Keys
    split, stage = (page.find_element("css selector", name) for name in (".split", ".stage"))
    assert value(page, CLIP) == pytest.approx(20)
    shots = {stage.screenshot_as_png}
    split.send_keys(keys.ARROW_RIGHT)
    assert value(page, SPLIT) == 51 and value(page, CLIP) == pytest.approx(20.4)
    assert split.get_attribute("aria-valuetext") == "51 % old"
    assert split.get_attribute("aria-label") == "old on the left, new on the right"
    for key, expected in ((keys.HOME, 0), (keys.END, 40)):
        split.send_keys(key)
        assert value(page, CLIP) == pytest.approx(expected)
        shots.add(stage.screenshot_as_png)
    assert len(shots) == 3


def test_the_mouse_drags_the_line_and_clicks_it_elsewhere(page):
    actions = pytest.importorskip("selenium.webdriver").ActionChains
    choose(page, "#pair", "wide")
    decode(page)
    knob, pane = (page.find_element("css selector", name) for name in (".knob", ".pane"))
    actions(page).drag_and_drop_by_offset(knob, 48, 0).perform()
    assert value(page, CLIP) == pytest.approx(144, abs=2)
    actions(page).move_to_element_with_offset(pane, -48, 10).click().perform()
    assert value(page, CLIP) == pytest.approx(48, abs=2)


def test_a_finger_drags_the_line(page):
    choose(page, "#pair", "wide")
    decode(page)
    box = value(page, "viewer.stage.getBoundingClientRect().toJSON()")
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    try:
        for kind, points in [("touchStart", [(x, y)]), *(("touchMove", [(x - step, y)]) for step in range(8, 49, 8))]:
            touched = [{"x": each[0], "y": each[1]} for each in points]
            page.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touched})
        page.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    finally:
        page.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
    assert value(page, CLIP) == pytest.approx(48, abs=3)


def test_zoom_repeats_pixels_and_keeps_the_split_in_view(page):
    pane = page.find_element("css selector", ".pane")
    choose(page, "#pair", "wide")
    decode(page)
    for _ in range(10):
        pane.send_keys("+")
    assert value(page, "viewer.zoom.value") == "8"
    assert value(page, "viewer.pictures.getBoundingClientRect().width") == 8 * 192
    assert value(page, "getComputedStyle(document.querySelector('.pictures img.left')).imageRendering") == "pixelated"
    assert value(page, "viewer.pane.scrollLeft") > 0, "the middle stays in the middle"
    assert "800 %" in page.find_element("css selector", ".size").text
    in_view = f"{CLIP} - viewer.pane.scrollLeft"
    before = value(page, in_view)
    actions = pytest.importorskip("selenium.webdriver").ActionChains
    scrolled = value(page, "viewer.pane.scrollLeft")
    actions(page).move_to_element(pane).move_by_offset(-200, 0).click_and_hold().move_by_offset(
        60, 0
    ).release().perform()
    page.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    assert value(page, "viewer.pane.scrollLeft") == pytest.approx(scrolled - 60, abs=2)
    assert value(page, in_view) == pytest.approx(before, abs=1) and value(page, SPLIT) == 50
    for _ in range(10):
        pane.send_keys("-")
    assert value(page, "viewer.zoom.value") == "fit"


def test_small_pictures_fill_some_of_the_screen_by_whole_multiples_and_large_ones_fit(page, tmp_path):
    choose(page, ".zoom", "fit")
    shown = "viewer.pictures.getBoundingClientRect()"
    assert (value(page, f"{shown}.width"), value(page, f"{shown}.height")) == (6 * 40, 6 * 80)
    choose(page, "#pair", "wide")
    assert value(page, f"{shown}.width") == 2 * 192
    for side, name in ((500, "middling"), (1000, "large")):
        write_comparison(find_pairs(*[picture(tmp_path / f"{name}.png", side, side)] * 2), tmp_path / "page.html", "ab")
        page.get((tmp_path / "page.html").as_uri())
        bottom = value(page, "viewer.stage.getBoundingClientRect().height / innerHeight")
        assert value(page, f"{shown}.width") == side if name == "middling" else bottom == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("width", [1280, 420])
def test_nothing_runs_off_the_side(page, width):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    choose(page, "#pair", "wide")
    choose(page, ".zoom", "8×")
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        inside = page.execute_script("return document.documentElement.scrollWidth")
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert inside <= width
