import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pandas as pd
import pytest

from fsr.files import write_json
from fsr.images import read_image
from fsr.report import build_report, tables
from fsr.report.cells import read_benchmark
from fsr.report.columns import Resampling, columns
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
def text(page_path):
    return page_path.read_text(encoding="utf-8")


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
    assert len(page.all("caption")) == len(page.all("table")) > 15
    assert all(cell.get("scope") in ("row", "col") for cell in page.all("th"))
    outside_sliders = [image for image in page.all("img") if "id" not in image and "class" not in image]
    assert all(image["alt"] for image in outside_sliders)
    labels = [field["aria-label"] for field in page.all("input") if field["type"] == "range"]
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
        for target in (
            "x_H_rec, the VAE reconstruction",
            "hr, the raw high-resolution image",
            "lr, the low-resolution image",
        )
        for protocol in ("strict", "prototype")
        for name in ("SetA", "SetB")
    ]


def test_pictures_and_the_chart_are_of_the_first_protocol(
    mixed_params, mixed, mixed_folder, mixed_text, rows, tmp_path
):
    assert "PSNR against the VAE reconstruction, protocol strict." in mixed_text
    assert "intervals over images; ×2, protocol strict." in mixed_text
    per_image = pd.read_csv(mixed_folder / "tables/per_image.csv").query("image == 'ant' and target == 'x_H_rec'")
    strict = per_image[per_image["protocol"] == "strict"].set_index("upscaler")["psnr"]
    assert f"({strict['feature_bicubic']:.2f} → {strict['fsr']:.2f} dB)" in mixed_text
    measured = read_benchmark(mixed.benchmarks, ("strict", "prototype"), (2,), rows).under("strict")
    resampling = Resampling(mixed_params.benchmark.bootstrap, mixed_params.seed)
    summary = tables.summarise(columns(measured), rows, resampling)
    draw_psnr(tmp_path / "psnr.png", summary, rows, {"SetA": "SetA", "SetB": "SetB (GTmod12), content not verified"})
    assert (tmp_path / "psnr.png").read_bytes() == (mixed_folder / "figures/psnr.png").read_bytes()


def test_every_scale_has_its_pictures_and_figures_and_the_page_names_the_cut_that_was_trained(
    twofold_params, twofold, facts, tmp_path
):
    trials = [
        {"cut": cut, "status": "ok", "reason": "", "steps": 9, "validation_rgb_l1": error}
        for cut, error in (("f2", 0.2), ("f1", 0.1))
    ]
    trained = write_json(tmp_path / "cut.json", {"cut": "f1", "decided_by": "trial", "trials": trials})
    build_report(twofold_params, replace(twofold, trained_cut=trained), tmp_path)
    drawn = {path.stem for path in (tmp_path / "figures").iterdir()}
    each = {
        "psnr",
        "zooms",
        "representative",
        "trend",
        "visual_five",
        *(f"contact_sheet_{name}" for name in (*facts.sets, facts.absent)),
    }
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
        assert ("31.40" in path.read_text(encoding="utf-8")) == (path.stem == "published"), path
    before, _, rest = mixed_text.partition('<section id="published"')
    inside, _, after = rest.partition("</section>")
    assert "31.40" in inside and "31.40" not in before + after


def test_a_gallery_without_the_compared_rows_is_refused(params, results, tmp_path):
    report = params.report.model_copy(update={"gallery": ["bicubic", "fsr"]})
    with pytest.raises(ValueError, match="add feature_bicubic to report.gallery"):
        build_report(params.model_copy(update={"report": report}), results, tmp_path)


def test_every_section_is_reached_from_the_head_of_the_page(text):
    page = Page(text)
    sections = [each["id"] for each in page.all("section")]
    links = [each["href"] for each in page.all("a") if each["href"][1:] in sections and "class" not in each]
    assert list(dict.fromkeys(links)) == [f"#{name}" for name in sections]
    assert {"compare", "primary", "contextual", "base", "distribution", "failures", "runtime", "images"} <= set(
        sections
    )


def test_every_chapter_is_written_three_ways(mixed_folder):
    written = {path.relative_to(mixed_folder) for path in mixed_folder.rglob("*.md")}
    names = {path.stem for path in written}
    assert names == {"benchmark", "primary", "contextual", "base_detail", "base_only", "distribution", "differences",
                     "failures", "colour_shift", "diagnostics", "learning_rates", "published", "probe", "data",
                     "runtime", "training_cost", "repeats", "cuts", "headline"}  # fmt: skip
    for path in written:
        assert path.parts[0] == ("machine" if path.stem in ("runtime", "training_cost", "cuts") else "tables")
        for suffix in (".csv", ".tex"):
            assert (mixed_folder / path).with_suffix(suffix).stat().st_size > 0
        assert "nan" not in (mixed_folder / path).read_text(encoding="utf-8")


def test_the_numbers_of_every_image_stand_on_the_page(mixed_folder, mixed_text, facts, rows):
    tables = dict(re.findall(r'<details class="images" id="([^"]+)">.*?json">(.*?)</script>', mixed_text, re.DOTALL))
    name, images = facts.base_only
    assert list(tables) == ["images-x2-SetA", "images-x2-SetB", f"images-x2-{name}-base-only"]
    table = json.loads(tables["images-x2-SetB"])
    assert table["columns"][:4] == ["image", "row", "PSNR (dB)", "SSIM"] and "LPIPS (alex)" not in table["columns"]
    measured = pd.read_csv(mixed_folder / "tables/per_image.csv").query("protocol == 'strict' and set == 'SetB'")
    assert len(table["rows"]) == len(measured.query("target == 'x_H_rec'"))
    fox = {row[1]: row for row in table["rows"] if row[0] == "fox"}
    psnr = measured.query("image == 'fox' and target == 'x_H_rec' and upscaler == 'lua_steps'")["psnr"].item()
    assert fox[rows["lua_steps"].label][2] == f"{psnr:.2f}"
    assert {row[0] for row in json.loads(tables[f"images-x2-{name}-base-only"])["rows"]} == set(images)
    drills = [each for each in Page(mixed_text).all("a") if each.get("class") == "drill"]
    assert {each["href"][1:] for each in drills} == {"images-x2-SetA", "images-x2-SetB"}
    assert "fox" in {each["data-image"] for each in drills}


def test_failures_and_the_comparison_of_methods_stand_on_the_page(mixed_text, mixed_folder):
    assert "FSR is worse than one of these rows on 1 of 6 test images." in mixed_text
    assert "5 images of Gen side by side: bicubic (pixels), FSR one-step, LUA, same steps" in mixed_text
    for path in sorted(mixed_folder.rglob("*.png")):
        assert ("contact_sheet_Manga109" in path.name) or data_uri(path) in mixed_text, path


def test_what_depends_on_the_machine_is_on_the_page_and_in_a_folder_of_its_own(
    params, results, facts, page_path, tmp_path
):
    """And the name of an experiment is escaped."""
    again = params.model_copy(update={"experiment": "<script>alert(1)</script>"})
    other = write_json(tmp_path / "runtime.json", facts.cost | {"seconds": 59.6, "peak_memory_gib": 9.0})
    timed = tmp_path / "runtime.csv"
    timed.write_text(results.runtime.read_text().splitlines()[0] + "\n")
    build_report(again, replace(results, train_runtime=other, runtime=timed), tmp_path / "b")
    first = page_path.parent
    made = sorted(path.relative_to(first) for path in first.rglob("*.*"))
    assert made == sorted(path.relative_to(tmp_path / "b") for path in (tmp_path / "b").rglob("*.*"))
    assert {path.parts[0] for path in made} == {"tables", "figures", "machine", "index.html"}
    for path in made:
        same = (first / path).read_bytes() == (tmp_path / "b" / path).read_bytes()
        no_other_cuts = path.stem == "cuts"  # so nothing in it was timed
        assert same == (path.parts[0] in ("tables", "figures") or no_other_cuts), path
    page = (tmp_path / "b" / "index.html").read_text(encoding="utf-8")
    assert "60 steps over 120 crops in 0 h 01 min 00 s" in page
    assert "Nothing was timed; benchmark.runtime.sides is empty." in page
    assert "<script>alert" not in page
