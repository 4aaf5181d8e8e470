"""The front page: its five questions, its numbers against computations of their own, its figures and colours."""

import json
import math
import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.optimize import minimize_scalar
from scipy.special import expit, gammaln, spence
from sklearn.datasets import load_digits
from starlette.testclient import TestClient

from bnlens.web import create_app
from bnlens.web.article.drawing import Drawing, Mark, Panel, Scale, patches
from bnlens.web.article.figures import figures
from bnlens.web.article.states import CELL, PICTURE, states
from web.markup import Page
from web.readers import URL

ROOT = Path(__file__).parents[2]
ARTICLE = ROOT / "src/bnlens/web/article"
RESULTS = ROOT / "benchmarks/results"
SCENES = ("noise", "theorem", "fails", "rates", "generalization")


def refuse():
    raise AssertionError("the front page asked for results")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a folder that does not exist, of a register that cannot be read."""
    app = create_app(tmp_path_factory.mktemp("article") / "missing", register=refuse)
    response = TestClient(app, base_url=URL).get("/")
    assert response.status_code == 200
    return response.text


def scene(page: str, name: str) -> str:
    return page[page.index(f'<section class="scene" id="{name}"') :].partition("</section>")[0]


def plain(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", text))


def rows(claim: str, file: str = "core_claims.json") -> list[dict]:
    found = json.loads((RESULTS / file).read_text(encoding="utf-8"))["claims"]
    return next(one["rows"] for one in found if one["id"] == claim)


def only(found: list[dict], **wanted) -> dict:
    (one,) = [row for row in found if all(row[name] == value for name, value in wanted.items())]
    return one


def test_each_scene_has_its_question_statement_figure_verdict_and_links(page):
    asked = re.findall(
        r"^\| [^|]+ \| ([^|]+\?) \| ([^|]+) \|$", (ROOT / "docs/article.md").read_text(encoding="utf-8"), re.M
    )
    assert len(asked) == len(SCENES)
    for name, (question, answer) in zip(SCENES, asked, strict=True):
        text = scene(page, name)
        if name == "fails":
            text += page[page.index('id="layers"') :].partition("</section>")[0]
        assert question in text
        for said in re.findall(r"“([^”]+)”", answer):
            assert said in plain(text), said
        for part in (
            'class="paper"',
            'role="img"',
            'class="verdict"',
            'class="badge',
            'href="/claims/',
            'href="/labs/',
            'href="/derivation/',
        ):
            assert part in text, (name, part)
    assert all(f'<a href="{door}">' in page for door in ("/labs/network", "/labs", "/claims"))


def test_no_result_is_typed_into_the_text():
    text = re.sub(r"\{[{%#].*?[}%#]\}", "", (ARTICLE / "article.html").read_text(encoding="utf-8"), flags=re.S)
    assert re.findall(r"\d+\.\d+", text) == []


def test_verdicts_are_those_of_the_results(page):
    files = ("core_claims.json", "d5_cifar10.json", "dial_cifar10.json")
    found = {one["id"]: one["verdict"] for file in files for one in json.loads((RESULTS / file).read_text())["claims"]}
    shown = re.findall(r'<a href="/claims/(\w+)" title="[^"]+">\1</a> <span class="badge \w+">([^<]+)</span>', page)
    assert len(shown) > 10
    assert [(name, verdict) for name, verdict in shown if found.get(name, verdict) != verdict] == []


def test_pictures_show_the_batch_whose_numbers_are_told():
    noise, digits = states()["noise"], load_digits()
    even = digits.target % 2 == 0
    h = digits.data @ (digits.data[even].mean(0) - digits.data[~even].mean(0))
    x = (h - h.mean()) / h.std()
    shades = {(image / 16 * 15).round().astype(np.uint8).tobytes(): place for place, image in enumerate(digits.data)}
    sheet = np.array(Image.open(PICTURE))
    for M, (columns, down) in {4: (2, 2), 16: (4, 4), 64: (8, 8)}.items():
        cells = sheet[8 * CELL :][: CELL * down, : CELL * columns].reshape(down, CELL, columns, CELL).swapaxes(1, 2)
        chosen = [shades[np.ascontiguousarray(cell[1:-1, 1:-1]).tobytes()] for cell in cells.reshape(-1, CELL, CELL)]
        mean, std, *_ = only(noise["states"], M=M)["batches"][1]
        assert (x[chosen].mean(), x[chosen].std()) == pytest.approx((mean, std), rel=2e-3)


def test_the_rise_of_the_loss_is_that_of_torchs_batch_norm():
    import torch
    from torch.nn import functional as F

    noise, digits = states()["noise"], load_digits()
    even = torch.tensor(digits.target % 2 == 0).double()
    data = torch.tensor(digits.data)
    h = data @ (data[even == 1].mean(0) - data[even == 0].mean(0))
    x = (h - h.mean()) / h.std(correction=0)
    affine = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([affine], max_iter=200, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(affine[0] * x + affine[1], even)
        loss.backward()
        return loss

    optimizer.step(closure)
    gamma, beta = affine.detach()
    population = F.binary_cross_entropy_with_logits(gamma * x + beta, even)
    assert float(population) == pytest.approx(noise["loss"], rel=1e-3)
    for M in (8, 32):
        torch.manual_seed(M)
        rises = []
        for _ in range(60):
            order = torch.randperm(len(h))[: len(h) // M * M]
            batches = h[order].reshape(-1, M).T  # each batch a channel
            outputs = F.batch_norm(
                batches, None, None, gamma.expand(len(order) // M), beta.expand(len(order) // M), True, eps=1e-12
            )
            whole = F.binary_cross_entropy_with_logits(gamma * x[order] + beta, even[order])
            rises.append(float(F.binary_cross_entropy_with_logits(outputs.T.flatten(), even[order]) - whole))
        shown = only(noise["states"], M=M)
        stderr = math.hypot(np.std(rises, ddof=1) / len(rises) ** 0.5, shown["stderr"])
        assert abs(np.mean(rises) - shown["gap"]) < 4 * stderr
        assert stderr < 0.1 * shown["gap"]


def test_the_minimum_moves_as_the_two_terms_say():
    x, weights = np.polynomial.hermite_e.hermegauss(80)
    weights /= weights.sum()
    found = only(states()["theorem"], distribution="gaussian")

    def total(gamma: float, M: int) -> float:
        y, t = gamma * x, np.logaddexp(0, 1.5 * x)
        loss = -spence(1 + np.exp(y)) - t * y  # the integral of softplus, less t y
        zeta = 2 / 8 * expit(y) * x**2 + expit(y) / 2
        return float(weights @ (loss + gamma**2 * zeta / M))

    for M, lowest in found["lowest"].items():
        assert minimize_scalar(total, args=(int(M),), bounds=(0.8, 1.6), method="bounded").x == pytest.approx(
            lowest, abs=3e-3
        )


def test_units_are_those_of_the_claim():
    names = {"softplus_glm": "softplus GLM", "relu": "ReLU", "poisson": "Poisson"}
    assert len(states()["units"]) == 30
    for one in states()["units"]:
        place = {"unit": names.get(one["unit"], one["unit"]), "pre-activations": one["distribution"]}
        row = only(rows("D1"), **place, at="optimum" if one["at_optimum"] else "away from it")
        at = one["M"].index(64)
        assert abs(one["gap"][at] - row["M × gap"]) < 5 * math.hypot(one["stderr"][at], row["M × gap stderr"])
        assert one["two_term"] == pytest.approx(row["two-term value"], rel=1e-3)
        assert one["law"] == pytest.approx(row["own-batch law"], rel=1e-3)


def test_shares_add_up_and_two_terms_are_the_claims():
    trained = rows("D5", "d5_cifar10.json")
    assert {(one["net"], one["M"]) for one in states()["network"]} == set(product(("cnn", "resnet"), (16, 64)))
    for one in states()["network"]:
        assert sum(layer["share"] for layer in one["layers"]) == pytest.approx(one["gap"][0], rel=0.01)
        for layer in one["layers"]:
            row = only(trained, network=f"{one['net']}-seed0", layer=layer["layer"], M=one["M"])
            assert layer["two_term"] == pytest.approx(row["two-term"], rel=1e-3)
            assert layer["alone"] == pytest.approx(row["measured"], rel=0.15)  # the same net, measured once more to 5%


def test_rates_of_the_linear_unit_are_the_closed_forms():
    for one in states()["rates"]:
        M, systems = one["M"], one["systems"]
        mean_std = math.sqrt(2 / M) * math.exp(gammaln(M / 2) - gammaln((M - 1) / 2))
        mean_inverse = math.sqrt(M / 2) * math.exp(gammaln((M - 2) / 2) - gammaln((M - 1) / 2))
        zeta = 3 / (4 * M)
        decay = 2 * M * (1 + 2 * zeta) ** 3 / (1 + 2 * zeta - 2 * zeta**2)
        expected = {"weight_norm": 2 * M, "gamma_decay": decay, "batch_norm": 2 * (M - 3) * mean_inverse / mean_std}
        if one["unit"] == "linear":
            assert {name: system["largest"] for name, system in systems.items()} == pytest.approx(expected, rel=1e-3)
            assert systems["batch_norm"]["gamma"][-1] == pytest.approx(mean_std, abs=3e-3)
        for system in systems.values():
            ends = np.interp(system.get("times", []), system["tau"], system["gamma"])
            close = np.abs(ends - system.get("simulated", [])) < 4 * np.array(system.get("stderr", [])) + 0.02
            assert close.all(), (one["unit"], M)


def test_students_after_100_epochs_are_those_of_the_claim():
    found, names = states()["students"], {"BN": "BN", "decay": "WN + decay, 1/(2M)", "SGD": "SGD"}
    at = found["epochs"].index(100)
    for name, column in names.items():
        one = found["trained"][name]
        for load, error, stderr in zip(one["loads"], one["error"][at], one["stderr"][at], strict=True):
            row = only(rows("G3a"), unit="linear", load=load)
            assert abs(error - row[column]) < 2 * math.hypot(stderr, row[f"{column} stderr"])
    alpha, S = np.array(found["alpha"]), 0.25
    above = alpha > 1.05  # nearer to the peak four digits of the load do not do
    least_squares = np.array(found["ends"]["SGD"], dtype=float)
    assert least_squares[above] == pytest.approx(S / (2 * (alpha[above] - 1)), rel=0.02)


def test_ratios_are_those_of_the_tables():
    found = states()["ratios"]
    away = [row["two-term value"] / row["M × gap"] for row in rows("D1") if row["at"] == "away from it"]
    layers = [row["two-term"] / row["measured"] for row in rows("D5", "d5_cifar10.json") if row["layer"] != "(network)"]
    ended = [row["ridge, λ = 3α/(2M)"] / row["batch norm"] for row in rows("G3b") if row["load"] >= 1]
    for name, values in (("away", away), ("layers", layers), ("end", ended)):
        assert found[name] == pytest.approx([min(values), max(values)], rel=1e-3)


@pytest.mark.parametrize("name", list(figures()))
def test_every_state_is_a_patch_of_the_first(name):
    figure = figures()[name]
    found = patches(figure.drawings)
    for drawing, row, caption in zip(figure.drawings, found["rows"], found["captions"], strict=True):
        marks = [{**mark.attributes, "": mark.text} for mark in figure.start.marks]
        for (mark, attribute), value in zip(found["columns"], row, strict=True):
            marks[mark][attribute] = found["values"][value]
        assert marks == [{**mark.attributes, "": mark.text} for mark in drawing.marks]
        assert caption == drawing.caption
        assert "nan" not in drawing.svg("").lower()
    assert "</script" not in figure.data
    assert len(figure.drawings) == math.prod(len(knob.choices) for knob in figure.knobs)


def test_states_with_other_marks_are_refused():
    one, other = (Drawing(10, [Mark(tag, {"d": ""})]) for tag in ("path", "text"))
    with pytest.raises(ValueError, match="same marks"):
        patches([one, other])


def test_places_of_a_panel():
    panel = Panel(Scale(1, 100, 0, 200, log=True), Scale(0, 1, 100, 0))
    assert panel.line([1, 10, 100, 1000], [0, 0.5, 2, 0], "law").attributes["d"] == "M0 100L100 50L200 0"
    assert panel.line([], [], "law").attributes["d"] == ""
    assert Mark("text", {"class": '"<'}, "a < b").svg() == '<text class="&quot;&lt;">a &lt; b</text>'


def test_colours_stand_out_from_both_grounds():
    def luminance(colour: str) -> float:
        parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    def pairs(path: Path) -> dict[str, tuple[str, str]]:
        return {
            name: found
            for name, *found in re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", path.read_text())
        }

    common = pairs(ROOT / "src/bnlens/render/page.css")
    colours = pairs(ARTICLE / "article.css")
    assert len(colours) == 6
    for name, theme, ground in product(colours, (0, 1), ("ground", "raised")):
        one, other = sorted((luminance(colours[name][theme]), luminance(common[ground][theme])), reverse=True)
        assert (one + 0.05) / (other + 0.05) >= 4.5, (name, theme, ground)


def test_the_page_is_light_and_whole_without_scripts(page):
    assert len(page.encode()) < 200_000
    assert "plotly" not in page
    elements = Page(page).elements
    assert sum(one.tag == "svg" and one.attributes.get("role") == "img" for one in elements) == len(figures())
    knobs = [one for one in elements if one.tag in ("input", "select")]
    assert len(knobs) == sum(len(figure.knobs) for figure in figures().values())
    hidden = [one for one in elements if one.tag == "div" and one.attributes.get("class") == "turn"]
    assert all("hidden" in one.attributes for one in hidden)
    assert all(any(outer in hidden for outer in knob.inside) for knob in knobs)


@pytest.mark.parametrize("path", ["/", "/paper", "/claims", "/findings", "/derivation", "/labs"])
def test_the_first_look_is_light(client: TestClient, path: str):
    page = client.get(path).text
    text = re.sub(r"<svg.*?</svg>|<script type=.*?</script>", "", page, flags=re.S)  # figures come on top
    addresses = re.findall(r'(?:href|src)="(/static/[^"]+)"', page)
    files = [client.get(address, headers={"Accept-Encoding": "identity"}).content for address in addresses]
    assert len(files) >= 4
    assert len(text.encode()) + sum(map(len, files)) < 100_000
