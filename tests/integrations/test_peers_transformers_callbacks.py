"""The callbacks in the Trainer of transformers, with a tiny ResNet of random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from page import executed
from training import LOSS, assert_same, images, is_population, population

import bnlens
from bnlens.errors import UsageError
from peers import define_torchvision_operators, peer

define_torchvision_operators()
transformers = peer("transformers")
callbacks = peer("bnlens.integrations.transformers")

GAP = "bnlens/gap_8"
STEPS = 8  # an epoch

pytestmark = pytest.mark.filterwarnings("ignore")


def model(M: float | None = None) -> Any:
    torch.manual_seed(1)
    configuration = transformers.ResNetConfig(
        embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic", num_labels=4
    )
    return bnlens.convert(transformers.ResNetForImageClassification(configuration), statistics_batch_size=M)


def data() -> list[dict[str, torch.Tensor]]:
    return [{"pixel_values": x, "labels": y} for x, y in images()]


def batches(size: int = 64) -> list[dict[str, torch.Tensor]]:
    x, y = images().tensors
    return [{"pixel_values": part, "labels": labels} for part, labels in zip(x.split(size), y.split(size), strict=True)]


def run(
    folder: Path, *used: Any, M: float | None = None, monitor: bool = False, resume: Any = None, **options: Any
) -> Any:
    arguments = {"num_train_epochs": 2, "save_strategy": "no", "report_to": [], **options}
    trainer = transformers.Trainer(
        model=model(M),
        args=transformers.TrainingArguments(
            output_dir=str(folder),
            per_device_train_batch_size=8,
            learning_rate=0.01,
            logging_steps=4,
            disable_tqdm=True,
            use_cpu=True,
            **arguments,
        ),
        train_dataset=data(),
        eval_dataset=data(),
        callbacks=list(used),
    )
    if monitor:
        options = {"statistics_batch_size": 8, "samples": 32, "every_n_steps": 4}
        trainer.add_callback(callbacks.GapMonitor(trainer, batches(), LOSS, **options))
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def logged(trainer: Any, name: str = GAP) -> list[int]:
    return [row["step"] for row in trainer.state.log_history if name in row]


def test_the_gap_is_logged_beside_the_loss(tmp_path: Path) -> None:
    trainer = run(tmp_path, monitor=True, report_to=["tensorboard"])
    assert logged(trainer) == [0, 4, 8, 12, 16]
    assert logged(trainer, "loss") == [4, 8, 12, 16]
    first = next(row for row in trainer.state.log_history if GAP in row)
    options = {"statistics_batch_size": 8, "rounds": 1, "shares": False, "progress": False}
    report = bnlens.report(model(), batches(32)[:1], LOSS, **options)
    assert first[GAP] == pytest.approx(report.network.gaps.measured[8].value, rel=1e-3, abs=1e-6)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(next(tmp_path.rglob("events.*")).parent))
    events.Reload()
    tag = next(tag for tag in events.Tags()["scalars"] if GAP in tag and "stderr" not in tag)
    assert [event.step for event in events.Scalars(tag)] == [0, 4, 8, 12, 16]


def test_a_monitored_run_is_the_run_without(tmp_path: Path) -> None:
    assert_same(run(tmp_path, monitor=True).model.state_dict(), run(tmp_path).model.state_dict())


def test_evaluations_and_checkpoints_have_population_statistics(tmp_path: Path) -> None:
    class Seen(transformers.TrainerCallback):
        def __init__(self) -> None:
            self.evaluated: list[bool] = []
            self.trained: list[bool] = []

        def on_evaluate(self, args: Any, state: Any, control: Any, model: Any, **kwargs: Any) -> None:
            self.evaluated.append(is_population(model.state_dict(), population(model)))

        def on_step_begin(self, args: Any, state: Any, control: Any, model: Any, **kwargs: Any) -> None:
            self.trained.append(is_population(model.state_dict(), population(model)))

    seen = Seen()
    options = {"eval_strategy": "epoch", "save_strategy": "steps", "save_steps": 5}
    trainer = run(tmp_path, callbacks.Recalibrate(batches()), seen, **options)
    assert seen.evaluated == [True, True]
    assert sum(seen.trained) == 4  # after steps 5, 8, 10 and 15
    assert is_population(trainer.model.state_dict(), population(trainer.model))
    folders = sorted(tmp_path.glob("checkpoint-*"))
    assert len(folders) == 4
    for folder in folders:
        written = transformers.ResNetForImageClassification.from_pretrained(folder)
        assert is_population(written.state_dict(), population(bnlens.convert(written)))


@pytest.mark.parametrize("cut", [5, 8, 11])
def test_two_epochs_with_all_that_go_on_are_the_run_that_was_not_cut(tmp_path: Path, cut: int) -> None:
    def all_three() -> list[Any]:
        return [callbacks.SetStatisticsBatchSize({0: 32, 8: 4, 11: 20}), callbacks.Recalibrate(batches())]

    options = {"save_strategy": "steps", "save_steps": cut, "eval_strategy": "epoch", "monitor": True}
    whole = run(tmp_path, *all_three(), **options)
    resumed = run(tmp_path, *all_three(), resume=str(tmp_path / f"checkpoint-{cut}"), **options)
    assert_same(resumed.model.state_dict(), whole.model.state_dict())
    windows = [bnlens.window_state(trainer.model) for trainer in (resumed, whole)]
    assert all(torch.equal(state["window"], windows[1][path]["window"]) for path, state in windows[0].items())
    values = [[row[GAP] for row in trainer.state.log_history if GAP in row] for trainer in (resumed, whole)]
    assert values[0] == values[1]


def test_a_schedule_over_epochs(tmp_path: Path) -> None:
    class Seen(transformers.TrainerCallback):
        def __init__(self) -> None:
            self.found: list[float | None] = []

        def on_step_end(self, args: Any, state: Any, control: Any, model: Any, **kwargs: Any) -> None:
            layer = next(layer for layer in model.modules() if isinstance(layer, bnlens.nn.DialBatchNorm))
            self.found.append(layer.statistics_batch_size)

    seen = Seen()
    run(tmp_path, callbacks.SetStatisticsBatchSize({1: 4}, unit="epoch"), seen, M=8)
    assert seen.found == [8] * STEPS + [4] * STEPS


def test_a_checkpoint_without_windows_is_told(tmp_path: Path) -> None:
    run(tmp_path, M=32, save_strategy="steps", save_steps=8)
    with pytest.warns(UserWarning, match="begin anew"):
        run(tmp_path, callbacks.SetStatisticsBatchSize(32), M=32, resume=str(tmp_path / "checkpoint-8"))


def test_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [row["step"] for row in executed("transformers")["trainer"].state.log_history if "bnlens/gap_16" in row] == [
        0,
        4,
        8,
    ]


def test_wrong_arguments() -> None:
    with pytest.raises(UsageError, match=r"transformers\.Trainer"):
        callbacks.GapMonitor(batches(), LOSS, None)
    with pytest.raises(UsageError, match="unit is 'epochs'"):
        callbacks.SetStatisticsBatchSize(8, unit="epochs")
