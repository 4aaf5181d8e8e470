import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Browser

from conftest import Server

FORM = '<form method="post" action="{url}discussion" target="_top"><input name="text" value="evil"><button>Send</button></form>'
REFUSAL = "This did not come from a page of this server"


@pytest.fixture
def elsewhere(empty: Server) -> Iterator[int]:
    """Port of another server, whose page has the form of ours, once in a frame without an origin."""
    form = FORM.format(url=empty.url)
    page = f"<!doctype html><title>Elsewhere</title>{form}<iframe sandbox='allow-forms allow-top-navigation' srcdoc='{form}'>"

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *args: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        yield other.server_port
        other.shutdown()
        thread.join()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])  # another site, and another origin of the same site
def test_a_page_of_another_origin_changes_nothing(browser: Browser, empty: Server, elsewhere: int, host: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(empty.url)  # the reader has been here
    for form in (page.locator("body > form"), page.frame_locator("iframe").locator("form")):
        page.goto(f"http://{host}:{elsewhere}/")
        with page.expect_response(f"{empty.url}discussion") as answer:
            form.get_by_role("button").click()
        assert answer.value.status == 403
        page.wait_for_url(f"{empty.url}discussion")
        assert REFUSAL in page.inner_text("body")
    page.goto(f"http://{host}:{elsewhere}/")
    for path, body in (("claims/L4/run", ""), ("runs/cancel", ""), ("discussion", "text=evil")):
        options = {"method": "POST", "mode": "no-cors", "body": body}  # as a form would: no preflight
        page.evaluate("([url, options]) => fetch(url, options).catch(() => 0)", [empty.url + path, options])
    for method in ("POST", "PUT", "DELETE"):  # after a preflight, which nobody answers
        options = {"method": method, "headers": {"Content-Type": "application/json"}, "body": "{}"}
        ask = "([url, options]) => fetch(url, options).then(() => 'sent', () => 'refused')"
        assert page.evaluate(ask, [f"{empty.url}discussion", options]) == "refused"
    assert context.request.get(f"{empty.url}api/notes").json() == []
    assert context.request.get(f"{empty.url}api/runs/current").status == 404
    context.close()
