"""What a note may hold: pages with hostile texts are parsed, and every element and address in them is looked at."""

import contextlib
import sqlite3
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from bnlens.render import FormulaError, mathml
from bnlens.web import create_app
from bnlens.web.notes.markdown import render_markdown
from bnlens.web.notes.store import tidied
from web.markup import Page, scheme
from web.payloads import PAYLOADS
from web.readers import URL

WRITTEN = (
    "a blockquote br code div em h3 h4 h5 h6 hr li ol p pre s span strong table tbody td th thead tr ul "
    "math menclose mfrac mi mn mo mover mpadded mphantom mroot mrow ms mspace msqrt mstyle msub msubsup "
    "msup mtable mtd mtext mtr munder munderover"
)
LOADING = "iframe object embed base style frame applet template img video audio"
ATTRIBUTES = {"href", "title", "rel", "start", "tabindex", "role", "aria-label", "class"}
ADDRESSES = {"href", "src", "action", "formaction", "data", "xlink:href", "srcset", "poster", "background", "srcdoc"}
SCHEMES = {"", "http", "https", "mailto"}


def problems(text: str) -> list[str]:
    """What in a page could run or load something that is not the server's own."""
    page = Page(text)
    found = []
    for element in page.elements:
        tag, attributes = element.tag, element.attributes
        if tag == "script" and not attributes.get("src", "").startswith("/static/"):
            found.append(f"script {attributes}")
        if tag in LOADING.split():
            found.append(tag)
        if tag == "meta" and "http-equiv" in attributes:
            found.append("meta refresh")
        if tag == "link" and not attributes.get("href", "").startswith("/static/"):
            found.append(f"link {attributes}")
        if tag == "form" and not attributes.get("action", "").startswith("/discussion"):
            found.append(f"form {attributes}")
        found += [f"{tag} {name}" for name in attributes if name.startswith("on") or name in ("style", "formaction")]
        addresses = {name: value for name, value in attributes.items() if name in ADDRESSES}
        found += [f"{tag} {name}={value}" for name, value in addresses.items() if scheme(value) not in SCHEMES]
        if any(outer.attributes.get("data-testid") == "written" for outer in element.inside):
            is_math = any(outer.tag == "math" for outer in (*element.inside, element))
            if tag not in WRITTEN.split():
                found.append(f"{tag} in a note")
            found += [] if is_math else [f"{tag} {name} in a note" for name in attributes if name not in ATTRIBUTES]
            if tag == "a" and attributes.get("rel") != "nofollow noreferrer noopener":
                found.append(f"a with rel {attributes.get('rel')}")
    return found


def test_the_test_sees_what_it_looks_for():
    links = ('<a href="java\tscript:x">', '<a href="&#1;javascript:x">', '<svg><a xlink:href="javascript:x"></svg>')
    inside = [f'<div data-testid="written">{text}</div>' for text in ("<svg></svg>", '<a href="https://x">x</a>')]
    for text in ("<script>x</script>", "<p onclick=x>", '<base href="/">', *links, *inside):
        assert problems(text)
    assert problems('<p class="a"><a href="/claims/D1">x</a></p><script src="/static/web.js"></script>') == []


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    """A server whose notes are all hostile, the names of their authors too, which an earlier bnlens asked for."""
    folder = tmp_path_factory.mktemp("hostile")
    app = create_app(folder)
    for payload in PAYLOADS:
        app.state.site.notes.add(payload)
    with contextlib.closing(sqlite3.connect(folder / "notes.sqlite")) as connection, connection:
        connection.execute("UPDATE notes SET author = substr(text, 1, 80)")
    return TestClient(app, base_url=URL)


@pytest.mark.parametrize("number", range(1, len(PAYLOADS) + 1))
def test_no_text_and_no_name_becomes_a_script(hostile: TestClient, number: int):
    response = hostile.get(f"/discussion/{number}/edit")
    assert (response.status_code, problems(response.text)) == (200, [])
    area = Page(response.text).one("textarea")
    assert area.text.removeprefix("\n") == tidied(PAYLOADS[number - 1])  # nothing was cut out of what was written


@pytest.mark.parametrize("payload", PAYLOADS)
def test_what_a_refused_form_shows_again_is_text(hostile: TestClient, payload: str):
    form = {"text": payload, "subject": payload}
    for address in ("/discussion", "/discussion/1/edit"):
        response = hostile.post(address, data=form)
        assert (response.status_code, problems(response.text)) == (422, [])
    response = hostile.get("/discussion", params={"subject": payload})
    assert (response.status_code, problems(response.text)) == (404, [])


def test_all_hostile_notes_at_once_hold_no_script(hostile: TestClient):
    page = hostile.get("/discussion").text
    assert (page.count('data-testid="written"'), problems(page)) == (len(PAYLOADS), [])


def test_subjects_that_the_register_does_not_have_are_text(tmp_path: Path):
    app = create_app(tmp_path)
    for payload in PAYLOADS:
        app.state.site.notes.add("x", payload)  # as a file that someone else has written
    client = TestClient(app, base_url=URL)
    for address in ("/discussion", "/discussion/1/edit"):
        assert problems(client.get(address).text) == []
    for payload in PAYLOADS:
        response = client.get("/discussion", params={"subject": payload})
        assert (response.status_code, problems(response.text)) == (200, [])


def test_markdown_is_drawn():
    text = """# One
**b** *i* ~~s~~ `c` <https://a.example> [t](https://b.example "title") [m](mailto:a@b.example) [l](/claims/D1)

> q

3. three

| a | b |
|---|--:|
| 1 | 2 |

```python
<x>
```
![alt](https://c.example/x.png) [![alt](x)](https://d.example) [](https://e.example)
"""
    page = Page(render_markdown(text))
    assert [found.text for found in page.find("h3")] == ["One"]
    assert [found.text for found in page.elements if found.tag in ("strong", "em", "s")] == ["b", "i", "s"]
    assert [(found.attributes["href"], found.text) for found in page.find("a")] == [
        ("https://a.example", "https://a.example"),
        ("https://b.example", "t"),
        ("mailto:a@b.example", "m"),
        ("/claims/D1", "l"),
        ("https://c.example/x.png", "alt"),
        ("https://d.example", "![alt](x)"),
        ("https://e.example", "https://e.example"),
    ]
    assert page.find("a")[1].attributes["title"] == "title"
    assert page.one("ol").attributes["start"] == "3"
    assert [found.text for found in page.find(class_="number")] == ["b", "2"]
    assert page.one("pre").text == "<x>\n"
    assert page.one("pre").attributes["tabindex"] == "0"


@pytest.mark.parametrize("text", ["![a](https://b.example)", "[![a](https://b.example)](https://c.example)"])
def test_a_picture_is_a_link_to_it(text: str):
    link = Page(render_markdown(text)).one("a")
    assert (link.attributes["href"], link.text) == ("https://b.example", "a")


def test_html_is_text():
    page = Page(render_markdown("<b>x</b> <!-- y -->\n\n<div>z</div>"))
    assert [(found.tag, found.text) for found in page.find()] == [("p", "<b>x</b> <!-- y -->"), ("p", "<div>z</div>")]


def test_headings_stay_below_those_of_the_page():
    page = Page(render_markdown("\n".join(f"{'#' * level} x" for level in range(1, 7))))
    assert [heading.tag for heading in page.find()] == ["h3", "h4", "h5", "h6", "h6", "h6"]


def test_formulas_are_drawn_and_money_is_not():
    page = Page(render_markdown("$\\gamma^2 < 3$ costs $5 or $6 \\$ here\n\n$$\n\\frac{a}{b}\n$$"))
    inline, block = page.find("math")
    assert (inline.attributes["display"], inline.text) == ("inline", "γ2<3")
    assert (block.attributes["display"], block.text) == ("block", "ab")
    assert block.is_in(class_="formula")
    long = Page(render_markdown("$" + "a + " * 20 + "b$"))  # can be scrolled to its end, from the keyboard too
    assert long.one("span", class_="formula").attributes["tabindex"] == "0"
    assert "costs $5 or $6 $ here" in page.one("p").text


DEEP = ["{" * 500 + "}" * 500, r"\left(" * 100 + r"\right)" * 100, "x" * 2000]


@pytest.mark.parametrize("latex", ["", r"\frac", r"\left(", "x^", *DEEP, r"\newcommand{\a}{\a\a}\a", r"\def\a{b}\a"])
def test_what_is_no_formula_is_shown_as_it_was_written(latex: str):
    with pytest.raises(FormulaError):
        mathml(latex, display=False)
    if latex:
        assert Page(render_markdown(f"${latex}$")).one("code").text == f"${latex}$"


def test_a_text_cannot_stand_for_a_formula():
    first = render_markdown("$a$ 0- -0- " + "0" * 32 + "-0-")
    assert len(Page(first).find("math")) == 1


WIDE = "|".join("a" * 50) + "\n" + "|".join("-" * 50) + "\na" * 9000


@pytest.mark.parametrize("piece", ["[", "*_", ">", "<", "$a", "[a](", "![](http://a)", "- ", "`a", "&"])
def test_texts_that_are_hard_to_read_are_drawn(piece: str):
    assert problems(f'<div data-testid="written">{render_markdown(piece * (20_000 // len(piece)))}</div>') == []


@pytest.mark.slow
def test_a_wide_table_is_drawn():
    assert problems(f'<div data-testid="written">{render_markdown(WIDE)}</div>') == []
