"""The labs under a reader's hands: everything in view, one entry of the history for a move, and what a field does not take."""

import pytest
from browser_paths import LABS
from playwright.sync_api import Browser, Page, expect

from conftest import Reader, Server


def is_seen(page: Page, selector: str) -> bool:
    """Whether all of the last element is within the window, and nothing stands over its middle."""
    script = """element => {
      const box = element.getBoundingClientRect();
      const top = document.elementFromPoint((box.left + box.right) / 2, (box.top + box.bottom) / 2);
      return box.top >= -1 && box.bottom <= innerHeight + 1 && (element.contains(top) || top.contains(element));
    }"""
    return bool(page.locator(selector).last.evaluate(script))


@pytest.mark.parametrize("lab", LABS)
@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_figure_and_knobs_are_in_view_together(
    browser: Browser, server: Server, lab: str, width: int, height: int
) -> None:
    context = browser.new_context(viewport={"width": width, "height": height})
    reader = Reader(context.new_page())
    page = reader.open(server.url + lab)
    page.locator(".plot .main-svg").first.wait_for()
    assert is_seen(page, ".plot")
    if width < height:
        page.locator(".knob:visible").last.scroll_into_view_if_needed()
        assert is_seen(page, ".plot")
    assert is_seen(page, ".knob:visible")
    assert reader.problems == []
    context.close()


def test_a_sliders_move_is_one_entry_of_the_history(reader: Reader, server: Server) -> None:
    page = reader.open(f"{server.url}labs/gap")
    numbers, before = page.get_by_test_id("headlines").inner_text(), page.evaluate("history.length")
    box = page.get_by_label("Scale γ, slider").bounding_box()
    assert box is not None
    height = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 0.2 * box["width"], height)
    page.mouse.down()
    for share in (0.4, 0.6, 0.8):
        page.mouse.move(box["x"] + share * box["width"], height)
        value = page.get_by_test_id("knob-gamma").input_value()
        page.wait_for_url(f"**gamma={value}*")
    page.mouse.up()
    assert page.evaluate("history.length") == before + 1
    page.go_back()
    expect(page.get_by_test_id("headlines")).to_have_text(numbers, use_inner_text=True)
    assert reader.problems == []


@pytest.mark.parametrize("keys", ["", "e"])
def test_an_empty_field_and_letters_are_told(reader: Reader, server: Server, keys: str) -> None:
    page = reader.open(f"{server.url}labs/gap")
    page.get_by_test_id("knob-gamma").fill("")
    page.get_by_test_id("knob-gamma").press_sequentially(keys)
    page.get_by_test_id("knob-gamma").press("Tab")
    expect(page.get_by_test_id("knob-gamma-problem")).to_have_text("Scale γ must be a number from 0.05 to 5.")
    assert page.url.endswith("labs/gap")
    page.get_by_test_id("knob-gamma").fill("1.5")
    page.get_by_test_id("knob-gamma").press("Tab")
    page.wait_for_url("**gamma=1.5")
    expect(page.get_by_test_id("knob-gamma-problem")).to_have_count(0)


def test_a_range_follows_the_other_knobs(reader: Reader, server: Server) -> None:
    page = reader.open(f"{server.url}labs/dynamics?system=sgd&batch_size=1")
    page.get_by_test_id("knob-system").select_option("batch-norm")
    page.wait_for_url("**labs/dynamics?batch_size=4")
    expect(page.get_by_test_id("knob-batch_size")).to_have_value("4")
    expect(page.get_by_test_id("headlines")).to_be_visible()
    assert reader.problems == []


def test_only_a_simulation_waits_for_compute(reader: Reader, server: Server) -> None:
    page = reader.open(f"{server.url}labs/generalization")
    page.get_by_test_id("knob-simulate").select_option("yes")
    page.get_by_test_id("knob-runs").fill("2")
    page.get_by_test_id("knob-runs").press("Tab")
    assert "simulate" not in page.url
    page.get_by_test_id("compute").click()
    page.wait_for_url("**simulate=yes&runs=2")
    expect(page.get_by_test_id("headline-simulated")).to_be_visible()
    page.get_by_test_id("knob-simulate").select_option("no")
    expect(page.get_by_test_id("compute")).to_be_hidden()
    page.wait_for_url("**labs/generalization")
