"""Formulas: one source in LaTeX, MathML for pages, Unicode for terminals and JSON."""

import copy
import json
import pickle
import re
from xml.etree import ElementTree

import pytest

from bnlens.claims import claims
from bnlens.labs import LABS
from bnlens.render import FormulaError, MathText, escape, mathml, table

NAMESPACE = "{http://www.w3.org/1998/Math/MathML}"
FORMULAS = {
    r"\zeta\gamma^2": "ζγ²",
    r"\gamma^2 H_{\gamma\gamma}": "γ²H_γγ",
    r"\frac{\rho + 2}{8M} I(\gamma)": "(ρ + 2)/(8M) I(γ)",
    r"\frac{1}{2} + \frac{3K}{8}": "1/2 + 3K/8",
    r"1 - \gamma_\text{BN}/\gamma^* = 2\zeta/H": "1 − γ_BN/γ* = 2ζ/H",
    r"-\gamma G_\gamma": "−γG_γ",
    r"x = -1": "x = −1",
    r"\sqrt{2\eta\lambda/(1 + \text{momentum})}": "√(2ηλ/(1 + momentum))",
    r"\sqrt M": "√M",
    r"10^{-6}": "10⁻⁶",
    r"M^{-3/2}": "M^(−3/2)",
    r"0.5 \pm 0.1": "0.5 ± 0.1",
    r"N \to \infty": "N → ∞",
    r"\operatorname{Var} m": "Var m",
    r"f(M, P)": "f(M, P)",
    r"\mathbb{E}[x^2]": "E[x²]",
    r"\hat x^2": "x̂²",
    r"|w|^2 = N": "|w|² = N",
    r"l''": "l″",
    r"\begin{cases} a & b \\ c & d \end{cases}": "{a, b; c, d",
}


def tree(formula: str) -> ElementTree.Element:
    """The MathML of a formula; parsing raises where a tag is not closed."""
    return ElementTree.fromstring(mathml(formula))  # noqa: S314 - ours


@pytest.mark.parametrize("latex", FORMULAS)
def test_a_formula_in_plain_text(latex: str) -> None:
    assert MathText(f"${latex}$") == FORMULAS[latex]


@pytest.mark.parametrize("latex", FORMULAS)
def test_a_formula_is_whole_mathml(latex: str) -> None:
    assert tree(latex).tag == f"{NAMESPACE}math"


def test_words_stand_upright_and_fractions_are_fractions() -> None:
    found = tree(r"\text{gain} = \frac{\eta_\text{max}}{2}")
    assert [word.text for word in found.iter(f"{NAMESPACE}mtext")] == ["gain", "max"]
    assert len(list(found.iter(f"{NAMESPACE}mfrac"))) == 1


def test_a_sign_is_an_operator_with_its_spaces() -> None:
    assert [sign.text for sign in tree(r"1 \pm 2").iter(f"{NAMESPACE}mo")] == ["±"]


@pytest.mark.parametrize(
    "latex", [r"\text{<b onclick=x>}", r"\color{red\" onload=x}{a}", r"\href{javascript:x}{a}", "a<b"]
)
def test_a_formula_holds_nothing_but_mathml(latex: str) -> None:
    for text in (mathml(latex), MathText(f"${latex}$").__html__()):
        assert all(element.tag.startswith(NAMESPACE) for element in ElementTree.fromstring(text).iter())  # noqa: S314
        assert not re.search(r"<[^>]*(?:onclick|onload|javascript)", text)


def test_text_around_formulas_is_escaped() -> None:
    text = MathText(r"<i>$x$</i> & so")
    assert text == "<i>x</i> & so"
    assert re.sub(r"<math.*</math>", "FORMULA", text.__html__()) == "&lt;i&gt;FORMULA&lt;/i&gt; &amp; so"
    assert escape(text) == text.__html__()


def test_numbers_below_zero_have_a_minus_sign_on_pages_alone() -> None:
    text = MathText(r"by -0.038(12), -.5 to (-1): $x$ over 2-4, 1e-5 or E-1; a 2-by-2 table")
    assert "by −0.038(12), −.5 to (−1): " in text.__html__()
    assert "2-4, 1e-5 or E-1; a 2-by-2" in text.__html__()
    assert "by -0.038(12)" in text
    cells = table([{"fall": -0.038, "fall stderr": 0.012}, {"fall": -2}], caption="Falls")
    assert ">−0.038 ± 0.012<" in cells
    assert ">−2<" in cells


@pytest.mark.parametrize("text", ["costs $5 or $6", "a $ b $ c", r"$\frac$", r"$\newcommand{\a}{\a\a}\a$", "$$"])
def test_a_text_without_a_formula_that_can_be_drawn_stays(text: str) -> None:
    assert (MathText(text), MathText(text).__html__()) == (text, escape(text))


@pytest.mark.parametrize("latex", ["", "{" * 50 + "}" * 50, "x" * 2000, r"\def\a{b}\a", r"\frac"])
def test_a_formula_that_cannot_be_drawn_is_refused(latex: str) -> None:
    with pytest.raises(FormulaError, match="cannot draw the formula"):
        mathml(latex)


def test_a_copy_keeps_the_formulas_and_json_has_plain_text() -> None:
    text = MathText(r"$\zeta$")
    for other in (copy.deepcopy(text), pickle.loads(pickle.dumps(text)), MathText(text)):
        assert (other, MathText(other).source, type(other)) == ("ζ", r"$\zeta$", MathText)
    assert json.loads(json.dumps({text: text})) == {"ζ": "ζ"}


def test_a_table_has_formulas_in_its_caption_and_a_plain_name() -> None:
    text = table([{MathText(r"$\eta_\text{max}$"): 1.0}], caption=MathText(r"Rates $\eta$"))
    assert 'aria-label="Rates η"' in text
    assert text.count("<math") == 2


def texts() -> list[MathText]:
    """Everything that is said of the claims before they are run."""
    found = []
    for claim in claims().values():
        paper = claim.paper
        said = (claim.title, claim.statement, claim.agreement, claim.source)
        found += [*said, *((paper.words, paper.section, paper.differs or "") if paper else ())]
    return [MathText(text) for text in found]


RAW = re.compile(r"zeta|sigma_|mu_|\+-|\^2|sqrt|\b(?:alpha|lambda|eta|tau|rho)\b|gamma[_0^*]|[$\\]")


def test_claims_are_told_without_raw_formulas() -> None:
    assert [text for text in texts() if RAW.search(text)] == []
    assert sum("<math" in text.__html__() for text in texts()) > 40


def test_formulas_of_labs_can_be_drawn_and_have_upright_words() -> None:
    formulas = [step.latex for lab in LABS for step in lab.formulas if step.latex]
    assert len(formulas) >= 10
    for latex in formulas:
        words = re.sub(r"\\(?:text|operatorname)\{[^}]*\}|\\[A-Za-z]+", " ", latex)
        assert re.findall(r"[a-z]{2,}|[A-Z]{2,}", words) == [], latex
        assert tree(latex).tag == f"{NAMESPACE}math"
