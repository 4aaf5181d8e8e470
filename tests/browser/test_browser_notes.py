from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from conftest import Reader, Server
from web.payloads import PAYLOADS

NOTE = "**Why** is $\\gamma^2$ here?\n\n$$\n\\frac{\\rho + 2}{8M}\n$$\n\n| M | gap |\n|--:|--:|\n| 8 | 0.03 |\n\n- one"

SEND = """async (text) => {
  const form = document.querySelector("[data-testid=note-text]").form, fields = new FormData(form);
  fields.set("text", text);
  return (await fetch(form.action, {method: "POST", body: new URLSearchParams(fields)})).status;
}"""
"""Sends a note as its form does, and stays."""


def write(page: Page, text: str) -> None:
    page.get_by_test_id("note-text").fill(text)
    page.get_by_test_id("note-send").click()


@pytest.mark.parametrize("scripts", [True, False])
def test_a_note_from_the_first_word_to_its_end(browser: Browser, empty: Server, scripts: bool) -> None:
    context = browser.new_context(java_script_enabled=scripts)
    reader = Reader(context.new_page())
    page = reader.open(f"{empty.url}claims/D1")
    page.get_by_test_id("notes-link").click()
    expect(page.get_by_test_id("empty")).to_contain_text("no notes on D1 yet")
    write(page, NOTE)
    note = page.get_by_test_id("note-1")
    expect(note.locator("strong")).to_have_text("Why")
    expect(note.locator("math")).to_have_count(2)
    expect(note.locator("td.number")).to_have_count(2)
    assert page.url.endswith("/discussion?subject=D1#note-1")
    page.reload()  # sends nothing again
    expect(page.locator("article")).to_have_count(1)

    note.get_by_test_id("edit").click()
    expect(page.get_by_test_id("note-text")).to_have_value(NOTE)
    write(page, f"{NOTE}\n\nchanged")
    expect(note).to_contain_text("changed")

    port = int(empty.url.rstrip("/").rpartition(":")[2])
    empty.stop()
    empty.start(port)
    reader.open(f"{empty.url}claims/D1")
    expect(page.get_by_test_id("notes-link")).to_have_text("1 note")
    page.get_by_test_id("notes-link").click()
    expect(note.locator("math")).to_have_count(2)

    note.get_by_test_id("delete").click()
    expect(note).to_contain_text("changed")
    page.get_by_test_id("delete-button").click()
    expect(page.get_by_test_id("empty")).to_be_visible()
    assert reader.problems == []
    context.close()


def test_no_note_runs_a_script(browser: Browser, empty: Server) -> None:
    """With the content security policy switched off: the notes themselves hold nothing that could run."""
    context = browser.new_context(bypass_csp=True)
    context.add_init_script("window.alert = window.confirm = window.prompt = () => { window.pwned = 1; };")
    reader = Reader(context.new_page())
    page = reader.page
    dialogs: list[str] = []
    asked: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{empty.url}discussion")
    for payload in PAYLOADS:
        assert page.evaluate(SEND, payload) < 400, payload
    count = len(PAYLOADS)
    reader.open(f"{empty.url}discussion")
    assert page.locator("article").count() == count
    page.mouse.move(200, 400)
    for link in page.locator(".written a").all():
        link.dispatch_event("mouseover")
        link.focus()
        assert link.evaluate("a => a.protocol") in ("http:", "https:", "mailto:")
    for part in page.locator(".written *").all():
        part.dispatch_event("pointerenter")
    assert page.locator("article script, article img, article svg, article iframe, article style").count() == 0
    assert page.evaluate("window.pwned") is None
    for number in range(1, count + 1):
        page.goto(f"{empty.url}discussion/{number}/edit")
        assert page.evaluate("window.pwned") is None
    assert dialogs == []
    assert [url for url in asked if not url.startswith(empty.url)] == []
    assert reader.problems == []
    context.close()


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_notes_fit_and_axe_finds_nothing_serious(
    browser: Browser, empty: Server, serious: Callable[[Page], list[Any]], theme: str, width: int
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme, bypass_csp=True)
    reader = Reader(context.new_page())
    page = reader.page
    long = "`" + "x" * 300 + "` https://example.org/" + "y" * 200 + "\n\n```\n" + "z " * 200 + "\n```\n\n# Heading\n\n"
    wide = "|".join("column" * 12) + "\n" + "|".join("-" * 12 * 6)
    for text in (NOTE, long, wide, "$" + "a+" * 150 + "b$", "![](https://example.org/x.png) [](/claims/D1)"):
        reader.open(f"{empty.url}discussion")
        write(page, text)
    for address in ("discussion", "discussion?subject=", "discussion/1/edit"):
        reader.open(empty.url + address)
        overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overflow <= 0, address
        assert page.locator("h1").count() == 1
        assert serious(page) == [], address
    reader.open(f"{empty.url}discussion")
    page.get_by_test_id("note-2").get_by_test_id("delete").click()
    assert serious(page) == []
    assert reader.problems == []
    page.get_by_test_id("delete-button").locator("visible=true").click()
    page.goto(f"{empty.url}discussion/1/edit")
    write(page, " ")
    expect(page.get_by_test_id("problem")).to_be_visible()
    assert serious(page) == []
    context.close()
