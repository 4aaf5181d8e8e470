import math

import pytest

from bnlens.errors import UsageError
from bnlens.paper import compare_terms, key_terms, neighbour_corpus, record, term_weights, works


def test_weights_of_a_small_corpus_by_hand() -> None:
    weights = term_weights("Noise of noise and Batch-size 3", corpus=["The batch", "a size; batch"])
    once, twice, thrice = (math.log(4 / (1 + df)) + 1 for df in (1, 2, 3))  # n = 3 texts, df of them with the term
    raw = dict.fromkeys(("noise noise", "noise batch", "batch size"), once)
    raw |= {"noise": 2 * once, "size": twice, "batch": thrice}
    norm = math.sqrt(sum(value**2 for value in raw.values()))
    assert weights == pytest.approx({term: value / norm for term, value in raw.items()}, rel=1e-12)
    assert list(weights) == ["noise", "batch size", "noise batch", "noise noise", "size", "batch"]


def test_words_are_letters_in_lower_case() -> None:
    assert list(term_weights("Élan x 42 γ_B ÉLAN 3d", corpus=["other"])) == ["élan", "élan élan"]


def test_key_terms_are_the_heaviest() -> None:
    found = key_terms("noise noise batch", corpus=["batch"], count=2)
    assert [term.term for term in found] == ["noise", "noise batch"]
    assert found[0].weight > found[1].weight > 0
    assert len(key_terms("noise", corpus=["batch"], count=50)) == 1


def test_by_default_the_paper_is_compared_with_its_neighbours() -> None:
    paper = record()
    text = " ".join([f"{paper.title}.", paper.summary, *paper.digest])
    assert term_weights() == term_weights(text, corpus=list(neighbour_corpus().values()))
    assert len(key_terms()) == 8
    assert len(neighbour_corpus()) >= 40
    assert paper.id not in neighbour_corpus()
    for work_id, digest in neighbour_corpus().items():
        assert digest.startswith(works()[work_id]["title"])
        assert 2 <= digest.removeprefix(works()[work_id]["title"]).count(". ") <= 5, work_id


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"text": "the of and"}, "no words beside stop words"),
        ({"text": "", "corpus": ["the"]}, "no words beside stop words"),
        ({"text": "noise", "corpus": []}, "the corpus is empty"),
        ({"text": "noise", "count": 0}, "count is 0"),
    ],
)
def test_mistakes_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        key_terms(**arguments)  # type: ignore[arg-type]


def test_a_comparison_by_hand() -> None:
    ours = {"a": 0.9, "x": 0.8, "c": 0.7, "b": 0.6}
    found = compare_terms(ours, {"b": 0.5, "a": 0.9, "missing": 0.4})
    assert found.terms == ("a", "b", "missing")
    assert (found.theirs, found.ours, found.rank) == ((0.9, 0.5, 0.4), (0.9, 0.6, 0.0), (1, 4, None))
    assert found.overlap == 1
    assert (found.spearman, found.kendall) == (pytest.approx(1), pytest.approx(1))
    reversed_order = compare_terms(ours, {"b": 3, "c": 2, "x": 1, "a": 0})
    assert (reversed_order.spearman, reversed_order.kendall) == (pytest.approx(-1), pytest.approx(-1))
    assert math.isnan(compare_terms(ours, {"y": 2, "z": 1}).spearman)
    with pytest.raises(UsageError, match="at least two"):
        compare_terms(ours, {"a": 1})


def test_the_page_is_what_is_compared_with_by_default() -> None:
    found = compare_terms(term_weights())
    assert dict(zip(found.terms, found.theirs, strict=True)) == dict(record().page.terms)
