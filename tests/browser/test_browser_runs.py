from playwright.sync_api import expect

from conftest import Reader, Server


def test_a_claim_runs_to_its_verdict_from_the_button(reader: Reader, empty: Server) -> None:
    page = reader.open(f"{empty.url}findings")
    verdict = page.get_by_test_id("verdict-L4").first
    expect(verdict).to_have_text("not run yet")
    page.locator("details", has=page.get_by_test_id("run-L4")).first.locator("summary").click()
    page.get_by_test_id("run-L4").first.click()
    expect(page.get_by_test_id("run-bar")).to_be_visible()
    expect(verdict).to_have_text("does not hold here")
    expect(page.get_by_test_id("run-text")).to_contain_text("L4 was computed")
    reader.open(f"{empty.url}claims/L4")
    expect(page.locator(".plot").first).to_be_visible()
    assert reader.problems == []


def test_a_run_is_cancelled_and_another_page_sees_it(reader: Reader, empty: Server) -> None:
    page = reader.open(f"{empty.url}claims/N2")
    page.get_by_test_id("run-N2").first.click()
    expect(page.get_by_test_id("run-text")).to_contain_text("N2 is being computed")
    page.reload()
    expect(page.get_by_test_id("run-text")).to_contain_text("N2 is being computed")
    page.get_by_test_id("cancel").first.click()
    expect(page.get_by_test_id("run-text")).to_contain_text("N2 was cancelled")
    reader.open(f"{empty.url}claims/N2")
    expect(page.get_by_test_id("run-text")).to_contain_text("cancelled")
    assert reader.problems == []


def test_a_server_that_goes_away_is_noticed_and_one_that_comes_back_too(reader: Reader, empty: Server) -> None:
    page = reader.open(f"{empty.url}claims/N2")
    page.get_by_test_id("run-N2").first.click()
    expect(page.get_by_test_id("run-text")).to_contain_text("N2 is being computed")
    port = int(empty.url.rstrip("/").rpartition(":")[2])
    empty.stop()
    expect(page.get_by_test_id("run-text")).to_contain_text("The server does not answer")
    expect(page.get_by_test_id("run-progress")).to_be_hidden()
    empty.start(port)
    expect(page.get_by_test_id("run-detail")).to_contain_text("started anew")
    expect(page.get_by_test_id("run-N2").first).to_be_enabled()


def test_the_bar_of_a_run_covers_nothing_and_can_be_closed(reader: Reader, empty: Server) -> None:
    page = reader.open(f"{empty.url}claims/N2")
    bar = page.get_by_test_id("run-bar")
    page.get_by_test_id("run-N2").first.click()
    expect(bar).to_be_visible()
    assert bar.evaluate("bar => getComputedStyle(bar).position") == "static"
    assert bar.evaluate("bar => bar.previousElementSibling.dataset.run") == "N2"
    page.get_by_test_id("close-run").click()
    expect(bar).to_be_hidden()
    page.get_by_test_id("cancel").dispatch_event("click")
    expect(page.get_by_test_id("run-N2").first).to_be_enabled()
    expect(bar).to_be_hidden()
    assert reader.problems == []
