import json
from itertools import combinations
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from conftest import Reader, Server

_COLOURS = {"paper": "grey", "citation": "green", "reference": "blue"}


def _hue(rgb: str) -> str:
    red, green, blue = map(int, rgb[rgb.index("(") + 1 : -1].split(",")[:3])
    if max(red, green, blue) - min(red, green, blue) < 40:
        return "grey"
    return {red: "red", green: "green", blue: "blue"}[max(red, green, blue)]


def test_the_graph_answers_a_click(reader: Reader, server: Server) -> None:
    page = reader.open(f"{server.url}network")
    details = page.get_by_test_id("details-ioffe2015batch")
    expect(details).to_be_hidden()
    page.get_by_test_id("mark-ioffe2015batch").locator("use").click()
    expect(details).to_be_visible()
    expect(page.get_by_test_id("status")).to_contain_text("Batch Normalization: Accelerating")
    expect(page.locator(".mark.selected")).to_have_count(1)
    assert "#work-" in page.url
    page.reload()
    expect(details).to_be_visible()
    page.get_by_test_id("mark-he2016deep").locator("use").click()
    expect(details).to_be_hidden()
    page.locator(".canvas").press("Escape")
    expect(page.locator("details[open]")).to_have_count(0)
    assert reader.problems == []


def test_the_graph_answers_a_search(reader: Reader, server: Server) -> None:
    page = reader.open(f"{server.url}network")
    search, status = page.get_by_test_id("search"), page.get_by_test_id("status")
    search.fill("salimans 2016")
    expect(status).to_have_text("1 work found")
    expect(page.locator(".mark.match")).to_have_count(1)
    expect(page.get_by_test_id("work-ioffe2015batch")).to_be_hidden()
    search.press("Enter")
    expect(page.get_by_test_id("details-salimans2016weight")).to_be_visible()
    search.fill("no such work")
    expect(status).to_have_text("0 works found")
    search.fill("")
    expect(page.get_by_test_id("work-ioffe2015batch")).to_be_visible()
    assert reader.problems == []


def test_roles_have_their_colours_and_a_legend(browser: Browser, server: Server) -> None:
    for theme in ("light", "dark"):
        page = browser.new_page(color_scheme=theme)
        page.goto(f"{server.url}network")
        for role, hue in _COLOURS.items():
            colours = page.locator(f"#network-graph .mark.{role} use").evaluate_all(
                "marks => marks.map(m => getComputedStyle(m).fill)"
            )
            assert {_hue(colour) for colour in colours} == {hue}, (theme, role)
            expect(page.get_by_test_id("legend").locator(f"li.{role}")).to_have_count(1)
        page.close()


@pytest.mark.parametrize("width", [390, 1280])
def test_labels_do_not_collide(browser: Browser, server: Server, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 844})
    page.goto(f"{server.url}network")
    page.wait_for_load_state("networkidle")
    boxes = page.locator("#network-graph text").evaluate_all(
        "all => all.map(t => t.getBoundingClientRect()).map(b => [b.left, b.right, b.top, b.bottom])"
    )
    frame = page.locator("#network-graph").bounding_box()
    assert frame is not None
    assert len(boxes) > 18
    for left, right, top, bottom in boxes:
        assert frame["x"] <= left < right <= frame["x"] + frame["width"]
        assert frame["y"] <= top < bottom <= frame["y"] + frame["height"]
    for one, other in combinations(boxes, 2):
        apart = one[1] <= other[0] or other[1] <= one[0] or one[3] <= other[2] or other[3] <= one[2]
        assert apart, (one, other)
    page.close()


def test_zoom_and_drag_move_the_graph(reader: Reader, server: Server) -> None:
    page = reader.open(f"{server.url}network")
    graph, canvas = page.locator("#network-graph"), page.locator(".canvas")

    def place() -> list[float]:
        return canvas.evaluate("frame => [frame.scrollLeft, frame.scrollTop]")

    def width() -> float:
        return graph.evaluate("graph => graph.getBoundingClientRect().width")

    whole = width()
    page.get_by_test_id("zoom-in").click()
    assert width() == pytest.approx(1.4 * whole, abs=1)
    before, box = place(), canvas.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 50, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 130, box["y"] + 80, steps=4)
    page.mouse.up()
    assert place() == pytest.approx([before[0] - 80, before[1] - 40], abs=2)
    expect(page.locator("details[open]")).to_have_count(0)
    canvas.press("0")
    assert (width(), place()) == (pytest.approx(whole, abs=1), [0, 0])
    assert reader.problems == []


def test_a_large_export_is_cut_with_a_notice(reader: Reader, server: Server, tmp_path: Path) -> None:
    first = "https://openalex.org/W1"
    works = [{"id": first, "doi": "https://doi.org/10.48550/arXiv.1809.00846", "referenced_works": []}]
    for number in range(2, 1002):
        cited = {"title": f"Work {number}", "referenced_works": [first]}
        works.append({"id": f"https://openalex.org/W{number}", **cited})
    (tmp_path / "many.json").write_text(json.dumps(works), encoding="utf-8")
    page = reader.open(f"{server.url}network")
    page.get_by_test_id("send-file").set_input_files(tmp_path / "many.json")
    page.get_by_test_id("send-button").click()
    page.wait_for_url("**file=sent-*")
    expect(page.get_by_test_id("network-note").first).to_contain_text("Limited to 500 of 1,001 works")
    expect(page.locator("#network-graph .mark.citation")).to_have_count(499)
    assert reader.problems == []
