"""Key terms by TF-IDF: the words and pairs of words that a text uses more than its neighbours do.

The weight of term t in text d among the n texts of the corpus and d itself is

    w(t, d) = tf(t, d) (ln((1 + n) / (1 + df(t))) + 1),   n = corpus size + 1,

with the count tf of the term in the text and the number df of texts that have it, divided by the Euclidean norm over all terms
of the text (scikit-learn's ``TfidfVectorizer``; Salton and Buckley 1988, Information Processing & Management 24, 513).

Words are runs of at least two letters, in lower case; hyphens, digits and symbols part them. Scikit-learn's English stop
words is left out before pairs are formed. Words are not stemmed, so *network* and *networks* are two terms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bnlens._arguments import Count, checked
from bnlens.errors import UsageError
from bnlens.paper._data import load
from bnlens.paper._record import record
from bnlens.paper._works import works

__all__ = ["KeyTerm", "TermComparison", "compare_terms", "key_terms", "neighbour_corpus", "term_weights"]

_WORD = r"(?u)[^\W\d_]{2,}"


@dataclass(frozen=True)
class KeyTerm:
    """A word or a pair of words, and its weight in (0, 1]."""

    term: str
    weight: float


@dataclass(frozen=True)
class TermComparison:
    """Key terms beside those that someone else found.

    Attributes:
        terms: theirs, heaviest first.
        theirs: their weights.
        ours: our weights of the same terms, zero where the text does not have the term.
        rank: our rank of each, 1 for the heaviest term of the text, None where the text does not have it.
        overlap: how many of theirs are among as many of our heaviest.
        spearman: Spearman's rank correlation of the two lists of weights; NaN if either is constant.
        kendall: Kendall's tau-b of them.
    """

    terms: tuple[str, ...]
    theirs: tuple[float, ...]
    ours: tuple[float, ...]
    rank: tuple[int | None, ...]
    overlap: int
    spearman: float
    kendall: float


def neighbour_corpus() -> dict[str, str]:
    """Return id -> title and digest, in our words, of works near the paper; the paper is not among them."""
    return {work_id: f"{works()[work_id]['title']}. {digest}" for work_id, digest in load("digests").items()}


@checked
def term_weights(text: str | None = None, *, corpus: Sequence[str] | None = None) -> dict[str, float]:
    """Return the weight of every term of ``text``, heaviest first, equal weights in alphabetical order.

    Args:
        text: any text; None is the paper's title, summary and digest.
        corpus: the texts to compare with, without ``text``; None is `neighbour_corpus`.

    Raises:
        UsageError: the text has no words, or the corpus is empty.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    paper = record()
    text = " ".join((f"{paper.title}.", paper.summary, *paper.digest)) if text is None else text
    texts = list(neighbour_corpus().values()) if corpus is None else list(corpus)
    if not texts:
        raise UsageError("the corpus is empty; key terms are relative to other texts, so give at least one")
    vectorizer = TfidfVectorizer(token_pattern=_WORD, stop_words="english", ngram_range=(1, 2))
    try:
        weights = vectorizer.fit_transform([*texts, text])[len(texts)]
    except ValueError as error:  # nothing but stop words anywhere
        raise UsageError("the text has no words beside stop words; give English text") from error
    names = vectorizer.get_feature_names_out()
    found = {str(names[index]): float(weight) for index, weight in zip(weights.indices, weights.data, strict=True)}
    if not found:
        raise UsageError("the text has no words beside stop words; give English text")
    return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))


@checked
def key_terms(text: str | None = None, *, corpus: Sequence[str] | None = None, count: Count = 8) -> list[KeyTerm]:
    """Return the ``count`` heaviest terms of a text, or fewer if it has fewer.

    Args:
        text: any text; None is the paper's title, summary and digest.
        corpus: the texts to compare with; None is `neighbour_corpus`.
        count: how many, at least 1.

    Raises:
        UsageError: the text has no words, the corpus is empty, or ``count`` is below 1.

    >>> [found.term for found in key_terms("noise of the batch, noise again", corpus=["batch size", "a batch"], count=1)]
    ['noise']
    """
    return [KeyTerm(term, weight) for term, weight in list(term_weights(text, corpus=corpus).items())[:count]]


@checked
def compare_terms(weights: Mapping[str, float], theirs: Mapping[str, float] | None = None) -> TermComparison:
    """Compare the weights of `term_weights` with key terms found by someone else.

    Args:
        weights: ours, term -> weight.
        theirs: term -> weight; None is the public page of the paper.

    Raises:
        UsageError: ``theirs`` has fewer than two terms.
    """
    from scipy import stats

    theirs = record().page.terms if theirs is None else theirs
    if len(theirs) < 2:
        raise UsageError("one term has no order; compare at least two")
    terms = sorted(theirs, key=lambda term: -theirs[term])
    order = {term: rank for rank, term in enumerate(sorted(weights, key=lambda term: (-weights[term], term)), start=1)}
    ours = [weights.get(term, 0.0) for term in terms]
    values = [theirs[term] for term in terms]
    is_constant = len(set(ours)) == 1 or len(set(values)) == 1
    tests = (stats.spearmanr, stats.kendalltau)
    spearman, kendall = (float("nan") if is_constant else float(test(values, ours).statistic) for test in tests)
    rank = tuple(order.get(term) for term in terms)
    overlap = sum(place is not None and place <= len(terms) for place in rank)
    return TermComparison(tuple(terms), tuple(values), tuple(ours), rank, overlap, spearman, kendall)
