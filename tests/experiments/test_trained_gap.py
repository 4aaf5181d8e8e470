"""One real job of few images."""

from bnlens.experiments.trained_gap import train_and_report


def test_a_small_job_trains_and_reports() -> None:
    small = train_and_report(net="mlp", data="digits", samples=320, steps=10, lr=0.1, rounds=1, seed=0)
    assert small["images"] == 320
    assert small["train_accuracy"] > 0.5
    assert {row["statistics_batch_size"] for row in small["rows"]} == {16, 64}
    first = small["rows"][0]
    assert (first["layer"], first["statistics_batch_size"]) == ("(network)", 16)
    # an MLP in training has a gap, and its prediction is of its size even with few samples
    assert first["measured"] > 0
    assert 0.3 < first["first_order"] / first["measured"] < 3
