import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import pandas as pd
import pytest

from fsr.files import write_json
from fsr.images import read_image
from fsr.report import build_report, tables
from fsr.report.cells import read_benchmark
from fsr.report.figures import draw_psnr
from fsr.report.page import PictureStore, data_uri

VOID = {"img", "input", "meta", "link", "br"}


class Page(HTMLParser):
    """The elements of a page, and whether they nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def page_path(params, results, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    build_report(params, results, folder)
    return folder / "index.html"


@pytest.fixture(scope="module")
def text(page_path):
    return page_path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def mixed_folder(mixed_params, mixed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed")
    build_report(mixed_params, mixed, folder)
    return folder


@pytest.fixture(scope="module")
def mixed_text(mixed_folder):
    return (mixed_folder / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["text", "mixed_text"])
def test_the_page_nests_and_names_its_language(page, request):
    page = Page(request.getfixturevalue(page))
    assert page.open == []
    assert page.all("html")[0]["lang"] == "en"


def test_every_picture_stands_in_the_page_once(text, facts):
    uris = re.findall(r"data:image/png;base64,[A-Za-z0-9+/=]+", text)
    assert len(uris) == len(set(uris))
    page = Page(text)
    ids = [image["id"] for image in page.all("img") if "id" in image]
    assert len(ids) == len(set(ids))
    for slider in (each for each in page.all("div") if each.get("class") == "slider"):
        pictures = json.loads(slider["data-pictures"])
        assert set(pictures) == set(facts.gallery)
        assert set(pictures.values()) <= set(ids)


def test_equal_pictures_are_held_once(tmp_path):
    for name, content in {"a": b"one", "b": b"one", "c": b"two"}.items():
        (tmp_path / name).write_bytes(content)
    store = PictureStore()
    a, b, c = (store.add(tmp_path / name) for name in "abc")
    assert a == b != c
    assert len(store.uris) == 2


@pytest.mark.parametrize("page", ["text", "mixed_text"])
def test_nothing_is_asked_of_the_network(page, request):
    """A citation may name an address, as text; no attribute, style or script does."""
    text = request.getfixturevalue(page)
    attributes = [value for _, each in Page(text).elements for value in each.values() if value]
    assert not [value for value in attributes if "//" in value and not value.startswith("data:image/png;base64,")]
    code = "".join(re.findall(r"<(?:style|script)>.*?</(?:style|script)>", text, flags=re.DOTALL))
    assert code and not re.search(r"https?:|url\(|@import|//", code)
    assert "default-src 'none'" in text


def test_tables_and_pictures_have_captions_and_headings(text, facts):
    page = Page(text)
    assert len(page.all("caption")) == len(page.all("table")) == 4 + 4 + 2 + 1
    assert all(cell.get("scope") in ("row", "col") for cell in page.all("th"))
    outside_sliders = [image for image in page.all("img") if "id" not in image and "class" not in image]
    assert all(image["alt"] for image in outside_sliders)
    labels = [field["aria-label"] for field in page.all("input")]
    assert len(set(labels)) == sum(map(len, facts.sets.values()))


def test_images_stand_by_gain_and_the_failure_is_named(text, facts):
    order = [slider["data-image"] for slider in Page(text).all("div") if slider.get("class") == "slider"]
    assert set(order[:3]) == set(facts.sets["SetA"])
    assert order[-1] == facts.loses_on[1]
    assert text.count("FSR is worse here") == 1


def test_a_study_without_anything_to_warn_of_has_no_warning(text, facts):
    assert "alert" not in [each.get("role") for each in Page(text).all("p")]
    assert "not available" not in text
    assert "3 training images compared with 6 test images: none shows a test image" in text
    assert "No published numbers are listed for SetA, SetB." in text
    assert "#leakage" not in text and "Pairs of pictures" not in text


def test_protocols_follow_each_other_below_each_target(mixed_text):
    captions = re.findall(r"<caption><span>Means over images: (.*?)</span>", mixed_text)
    label = {"SetA": "SetA", "SetB": "SetB (GTmod12), content not verified"}
    assert captions == [
        f"{label[name]}, 3 images; ×2, protocol {protocol}, target {target}"
        for target in ("x_H_rec, the VAE reconstruction", "hr, the raw high-resolution image")
        for protocol in ("strict", "prototype")
        for name in ("SetA", "SetB")
    ]


def test_pictures_and_the_chart_are_of_the_first_protocol(mixed_params, mixed, mixed_folder, mixed_text, tmp_path):
    assert "PSNR against the VAE reconstruction, protocol strict." in mixed_text
    assert "intervals over images; ×2, protocol strict." in mixed_text
    per_image = pd.read_csv(mixed_folder / "tables/per_image.csv").query("image == 'ant' and target == 'x_H_rec'")
    strict = per_image[per_image["protocol"] == "strict"].set_index("upscaler")["psnr"]
    assert f"({strict['feature_bicubic']:.2f} → {strict['fsr']:.2f} dB)" in mixed_text
    measured = read_benchmark(mixed.benchmarks, ("strict", "prototype"), (2,)).under("strict")
    summary = tables.summarise(measured, mixed_params.benchmark.bootstrap, mixed_params.seed)
    draw_psnr(tmp_path / "psnr.png", summary, {"SetA": "SetA", "SetB": "SetB (GTmod12), content not verified"})
    assert (tmp_path / "psnr.png").read_bytes() == (mixed_folder / "figures/psnr.png").read_bytes()


def test_every_scale_has_its_pictures_and_figures(twofold_params, twofold, facts, tmp_path):
    build_report(twofold_params, twofold, tmp_path)
    drawn = {path.stem for path in (tmp_path / "figures").iterdir()}
    each = {"psnr", "zooms", *(f"contact_sheet_{name}" for name in (*facts.sets, facts.absent))}
    assert drawn == {"training", "probe"} | each | {f"{name}_x4" for name in each}
    for name in each:
        first, second = ((tmp_path / f"figures/{name}{suffix}.png").read_bytes() for suffix in ("", "_x4"))
        assert (first == second) == (name == f"contact_sheet_{facts.absent}"), name
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert "<h1>FSR ×2 and ×4 " in text and "6 of 6 test images at each scale, in each set" in text
    assert re.findall("<h3>(.*?)</h3>", text) == ["SetA, ×2", "SetB, ×2", "SetA, ×4", "SetB, ×4"]
    sliders = [each["data-image"] for each in page.all("div") if each.get("class") == "slider"]
    assert len(set(sliders)) == len(sliders) == 12
    uris = re.findall(r"data:image/png;base64,[A-Za-z0-9+/=]+", text)
    assert len(uris) == len(set(uris))
    for picture in sorted(twofold.pictures.rglob("*.png")):
        assert data_uri(picture) in text, picture
    per_image = pd.read_csv(tmp_path / "tables/per_image.csv").query("image == 'ant' and target == 'x_H_rec'")
    for scale, part in per_image.groupby("scale"):
        psnr = part.set_index("upscaler")["psnr"]
        assert f"<b>ant, ×{scale}</b> FSR" in text
        assert f"({psnr['feature_bicubic']:.2f} → {psnr['fsr']:.2f} dB)" in text
    assert "<sup>1</sup> https://example.org/paper" in (tmp_path / "tables/published.md").read_text(encoding="utf-8")


def test_the_page_names_the_cut_that_was_trained(params, results, tmp_path):
    trials = [
        {"cut": cut, "status": "ok", "reason": "", "steps": 9, "validation_rgb_l1": error}
        for cut, error in (("f2", 0.2), ("f1", 0.1))
    ]
    trained = write_json(tmp_path / "cut.json", {"cut": "f1", "decided_by": "trial", "trials": trials})
    build_report(params, replace(results, trained_cut=trained), tmp_path)
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "here at <b>f1 (decoder.conv_in)</b>" in text
    assert "Training went on with f1.</p>" in text
    assert (tmp_path / "tables/probe.md").read_text(encoding="utf-8").endswith("Training went on with f1.\n")


def test_a_set_that_is_not_available_is_named_everywhere(mixed_folder, mixed_text, facts):
    line = f"{facts.absent}: not available ({facts.absent_reason})"
    assert f"<li>{line}</li>" in mixed_text
    assert f"- {line}\n" in (mixed_folder / "tables/benchmark.md").read_text(encoding="utf-8")
    table = pd.read_csv(mixed_folder / "tables/benchmark.csv")
    lines = table[table["set"] == facts.absent]
    assert list(lines["protocol"]) == ["strict", "prototype"]
    assert set(lines["images"]) == {0} and lines["psnr"].isna().all()
    assert set(lines["reasons"]) == {f"not available: {facts.absent_reason}"}
    notice = read_image(mixed_folder / f"figures/contact_sheet_{facts.absent}.png")
    assert 0.001 < (notice < 0.9).float().mean() < 0.2
    assert f"Contact sheet of {facts.absent}" not in mixed_text
    assert facts.absent not in set(pd.read_csv(mixed_folder / "tables/per_image.csv")["set"])


def test_a_leaked_image_is_warned_of(mixed_folder, mixed_text, mixed):
    assert [each.get("role") for each in Page(mixed_text).all("p")].count("alert") == 1
    sentence = (
        "3 training images compared with 6 test images: 1 test image shown, whole or in part, by training images."
    )
    assert mixed_text.count(sentence) == 2
    assert "Training images that show test images" in mixed_text
    assert data_uri(mixed.leakage_grid) in mixed_text
    remark = "SetA: training images show, whole or in part, bee; its numbers are not of unseen images."
    assert remark in (mixed_folder / "tables/benchmark.md").read_text(encoding="utf-8")
    assert sentence in (mixed_folder / "tables/data.md").read_text(encoding="utf-8")


def test_published_numbers_stand_in_sheets_of_their_own(mixed_folder, mixed_text):
    published = (mixed_folder / "tables/published.md").read_text(encoding="utf-8")
    assert published.count("Published numbers, not measured here") == 2
    assert mixed_text.count("<caption><span>Published numbers, not measured here: SetB") == 1
    for path in (mixed_folder / "tables").iterdir():
        assert ("31.40" in path.read_text(encoding="utf-8")) == (path.name == "published.md"), path
    before, _, rest = mixed_text.partition('<section id="published"')
    inside, _, after = rest.partition("</section>")
    assert "magic" in inside and "magic" not in before + after


def test_a_gallery_without_the_compared_rows_is_refused(params, results, tmp_path):
    report = params.report.model_copy(update={"gallery": ["bicubic", "fsr"]})
    with pytest.raises(ValueError, match="add feature_bicubic to report.gallery"):
        build_report(params.model_copy(update={"report": report}), results, tmp_path)


def test_names_are_escaped(params, results, tmp_path):
    build_report(params.model_copy(update={"experiment": "<script>alert(1)</script>"}), results, tmp_path)
    assert "<script>alert" not in (tmp_path / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("chromium and chromedriver are not installed; the page is not tried in a browser")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    flags = ("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-component-update",
             "disable-background-networking", "disable-sync", "window-size=1280,900",
             f"user-data-dir={tmp_path_factory.mktemp('chromium')}")  # fmt: skip
    for flag in flags:
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield browser
    browser.quit()


@pytest.fixture
def slider(browser, page_path):
    """The page, loaded, and its first slider with all pictures decoded."""
    browser.get(page_path.as_uri())
    slider = browser.find_element("css selector", ".slider")
    settle(browser)
    return slider


def settle(browser):
    """Wait until every picture of the sliders is decoded."""
    browser.execute_async_script(
        "const done = arguments[0];"
        "Promise.all([...document.querySelectorAll('.slider img')].map((image) => image.decode())).then(() => done());"
    )


def clip(browser, slider) -> str:
    right = slider.find_element("css selector", "img.right")
    return browser.execute_script("return getComputedStyle(arguments[0]).clipPath", right)


def test_keys_move_the_split(browser, slider):
    keys = pytest.importorskip("selenium.webdriver").Keys
    handle = slider.find_element("css selector", "input")
    middle, before = clip(browser, slider), slider.screenshot_as_png
    handle.send_keys(keys.ARROW_RIGHT)
    assert handle.get_attribute("value") == "51"
    assert clip(browser, slider) == middle.replace("50%", "51%") != middle
    handle.send_keys(keys.HOME)
    assert "0px 0px 0px 0%" in clip(browser, slider) or clip(browser, slider) == "inset(0px)"
    at_start = slider.screenshot_as_png
    handle.send_keys(keys.END)
    assert "100%" in clip(browser, slider)
    assert len({before, at_start, slider.screenshot_as_png}) == 3


def test_the_focused_slider_is_outlined(browser, slider):
    keys = pytest.importorskip("selenium.webdriver").Keys
    outline = "return getComputedStyle(arguments[0]).outlineStyle"
    assert browser.execute_script(outline, slider) == "none"
    slider.find_element("css selector", "input").send_keys(keys.ARROW_LEFT)
    assert browser.execute_script(outline, slider) == "solid"


def test_a_choice_changes_picture_label_and_description(browser, slider):
    select = pytest.importorskip("selenium.webdriver.support.ui").Select
    left, before = slider.find_element("css selector", "img.left"), slider.screenshot_as_png
    source = left.get_attribute("src")
    select(browser.find_element("id", "left")).select_by_value("lr")
    settle(browser)
    assert left.get_attribute("src") != source
    assert slider.screenshot_as_png != before
    assert slider.find_element("css selector", ".tag.left").text == "low resolution"
    assert "low resolution on the left" in slider.find_element("css selector", "input").get_attribute("aria-label")
    assert browser.execute_script("return getComputedStyle(arguments[0]).imageRendering", left) == "pixelated"


def test_the_page_loads_alone_and_without_a_complaint(browser, slider):
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [each["params"] for each in messages if each["method"] == "Network.requestWillBeSent"]
    own = [each["request"]["url"] for each in requests if each["documentURL"].startswith("file:")]
    assert own and {url.partition(":")[0] for url in own} == {"file", "data"}
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("width", [1280, 420])
def test_nothing_runs_off_the_side(browser, slider, width):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        inside, outside = browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert inside <= outside
