"""Sentences of the library in the words of the command line."""

from types import SimpleNamespace

import pytest

from bnlens.cli._flags import in_flags


def option(name, *flags, no=()):
    return SimpleNamespace(name=name, opts=list(flags), secondary_opts=list(no))


OPTIONS = [
    option("statistics_batch_size", "--statistics-batch-size", "-M"),
    option("rate", "--learning-rate"),
    option("samples", "--samples"),
    option("device", "--device"),
    option("forward", "--forward"),
    option("loss", "--loss"),
    option("shares", "--shares", no=["--no-shares"]),
    option("first_order", "--first-order"),
    option("model", "model"),
]


@pytest.mark.parametrize(
    ("sentence", "translated"),
    [
        ("statistics_batch_size is 1; raise it", "--statistics-batch-size is 1; raise it"),
        ("give a smaller statistics_batch_size, or more", "give a smaller --statistics-batch-size, or more"),
        ("learning_rate=-1.0 must be positive", "--learning-rate -1.0 must be positive"),
        ("rate=2 is large", "--learning-rate 2 is large"),
        ("samples must be at least 1", "--samples must be at least 1"),
        ("max_samples=10 is below M", "--samples 10 is below M"),
        ("there are 10 samples, and the samples are few", "there are 10 samples, and the samples are few"),
        ("device 'x' cannot be used", "--device 'x' cannot be used"),
        ("its device 'x' is another", "its device 'x' is another"),
        ("pass forward=(model, batch) -> output", "pass --forward (model, batch) -> output"),
        ("make one with first_order=True", "make one with --first-order"),
        ("leave shares=False out", "leave --no-shares out"),
        ("it needs loss_fn=mse_loss or likelihood=", "it needs --loss mse_loss or likelihood="),
        ("parameter 'samples' must be at least 1", "parameter 'samples' must be at least 1"),
        ("cannot write /tmp/first_order/x.json", "cannot write /tmp/first_order/x.json"),
        ("model is of type int", "model is of type int"),
        ("call first_order(x) or a.first_order", "call first_order(x) or a.first_order"),
    ],
)
def test_arguments_become_options(sentence, translated):
    assert in_flags(sentence, OPTIONS) == translated


def test_a_command_without_options_changes_nothing():
    assert in_flags("samples must be at least 1", []) == "samples must be at least 1"
