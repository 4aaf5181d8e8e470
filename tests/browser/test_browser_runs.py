from playwright.sync_api import expect

from conftest import Reader, Server


def test_a_claim_runs_to_its_verdict_from_the_button(reader: Reader, empty: Server) -> None:
    page = reader.open(f"{empty.url}findings")
    verdict = page.get_by_test_id("verdict-L4").first
    expect(verdict).to_have_text("not run yet")
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
