"""The callbacks in Lightning itself: numbers beside a plain computation, checkpoints, averages, a resumed run, two ranks."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from page import executed
from training import LOSS, assert_population, assert_same, is_population, loader, net, population

import bnlens
from bnlens.errors import UsageError
from peers import define_torchvision_operators, peer

define_torchvision_operators()
lightning = peer("lightning")
pytorch_lightning = peer("pytorch_lightning")
callbacks = peer("bnlens.integrations.lightning")
checkpoints = peer("lightning.pytorch.callbacks")
loggers = peer("lightning.pytorch.loggers")

GAP = "bnlens/gap_8"

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning's about few workers and no logger


class Steps:
    """The module, for either package."""

    def __init__(self, M: float | None = None) -> None:
        super().__init__()
        self.net = net(M)
        self.dropout = torch.nn.Dropout(0.1)
        self.validated: list[dict[str, torch.Tensor]] = []
        self.means: list[bool] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        return LOSS(self.dropout(self.net(batch[0])), batch[1])

    def validation_step(self, batch: Any, index: int) -> None:
        if index == 0:
            self.validated.append(copy.deepcopy(self.net.state_dict()))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class Classifier(Steps, lightning.LightningModule): ...


class PlainClassifier(Steps, pytorch_lightning.LightningModule): ...


def fit(folder: Path, *used: Any, module: Any = None, M: float | None = None, **options: Any) -> tuple[Any, Any]:
    """Train with these callbacks, from the same seed always; return module and trainer."""
    torch.manual_seed(0)
    module = Classifier(M) if module is None else module
    resumed = {"ckpt_path": options.pop("ckpt_path", None)}
    options = {"max_epochs": 2, "logger": False, "enable_checkpointing": False, "num_sanity_val_steps": 0, **options}
    trainer = options.pop("trainer", lightning.Trainer)(
        accelerator="cpu",
        devices=1,
        callbacks=list(used),
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **options,
    )
    trainer.fit(module, loader(), loader(), **resumed)
    return module, trainer


def rows(folder: Path) -> list[dict[str, str]]:
    import csv

    with next(folder.rglob("metrics.csv")).open() as file:
        return list(csv.DictReader(file))


def test_the_gap_goes_to_every_logger(tmp_path: Path) -> None:
    used = [loggers.CSVLogger(tmp_path), loggers.TensorBoardLogger(tmp_path)]
    monitor = callbacks.GapMonitor(loader(), LOSS, statistics_batch_size=8, samples=64, every_n_steps=6)
    _, trainer = fit(tmp_path, monitor, logger=used)
    found = [row for row in rows(tmp_path) if row.get(GAP)]
    assert [int(row["step"]) for row in found] == [0, 6, 12]
    assert float(trainer.callback_metrics[GAP]) == pytest.approx(float(found[-1][GAP]))
    report = bnlens.report(
        Classifier().net, loader(64), LOSS, statistics_batch_size=8, rounds=1, shares=False, progress=False
    )
    assert float(found[0][GAP]) == pytest.approx(report.network.gaps.measured[8].value, rel=1e-3, abs=1e-6)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(next(tmp_path.rglob("events.*"))))
    events.Reload()
    assert [event.step for event in events.Scalars("bnlens/running_discrepancy")] == [0, 6, 12]


def test_a_monitored_run_is_the_run_without(tmp_path: Path) -> None:
    plain, _ = fit(tmp_path)
    watched, _ = fit(
        tmp_path, callbacks.GapMonitor(loader(), LOSS, statistics_batch_size=8, every_n_steps=1, samples=32)
    )
    assert_same(watched.state_dict(), plain.state_dict())


def test_accumulated_steps_are_measured_once(tmp_path: Path) -> None:
    monitor = callbacks.GapMonitor(loader(), LOSS, statistics_batch_size=8, samples=32, every_n_steps=2)
    fit(tmp_path, monitor, logger=loggers.CSVLogger(tmp_path), accumulate_grad_batches=2)
    assert [int(row["step"]) for row in rows(tmp_path) if row.get(GAP)] == [0, 2, 4, 6, 8]


def test_validation_and_checkpoints_have_population_statistics(tmp_path: Path) -> None:
    class Off(lightning.Callback):
        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            assert is_population(pl_module.state_dict(), population(pl_module))

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            pl_module.means.append(is_population(pl_module.state_dict(), population(pl_module)))

    save = checkpoints.ModelCheckpoint(tmp_path, every_n_train_steps=3, save_top_k=-1, save_weights_only=True)
    module, _ = fit(tmp_path, callbacks.Recalibrate(loader(64)), Off(), save, enable_checkpointing=True)
    assert len(module.validated) == 2
    assert not any(module.means)  # moving averages are far from the population's here
    assert_population(module.state_dict(), population(module))
    files = sorted(tmp_path.glob("*.ckpt"))
    assert len(files) == 5
    for file in files:
        state = torch.load(file, weights_only=True)["state_dict"]
        written = Classifier()
        written.load_state_dict(state)
        assert_population(state, population(written))


def test_frozen_layers_keep_their_statistics(tmp_path: Path) -> None:
    class Frozen(Classifier):
        def train(self, mode: bool = True) -> Any:
            super().train(mode)
            self.net[1].eval()
            return self

    module = Frozen().train()  # Lightning leaves modes as they are
    before = module.net[1].running_mean.clone()
    fit(tmp_path, callbacks.Recalibrate(loader(64)), module=module)
    assert torch.equal(module.net[1].running_mean, before)
    assert all(torch.equal(state["1.running_mean"], before) for state in module.validated)
    assert_population(module.state_dict(), population(module))  # of the layer that is not frozen


@pytest.mark.parametrize("buffers", [True, False])
def test_weight_averages(tmp_path: Path, buffers: bool) -> None:
    def used(folder: Path) -> list[Any]:
        return [
            checkpoints.EMAWeightAveraging(decay=0.9, use_buffers=buffers),
            callbacks.SetStatisticsBatchSize({0: None, 5: 16}),
            callbacks.Recalibrate(loader(64)),
            checkpoints.ModelCheckpoint(folder, every_n_train_steps=3, save_top_k=-1),
        ]

    module, _ = fit(tmp_path, *used(tmp_path / "a"), enable_checkpointing=True)
    assert_population(module.state_dict(), population(module))
    averaged = Classifier()
    for state in module.validated:
        averaged.net.load_state_dict(state)
        assert_population(state, population(averaged.net))
    written = torch.load(next((tmp_path / "a").glob("*step=6.ckpt")), weights_only=True)
    averaged.load_state_dict(written["state_dict"])
    assert_population(written["state_dict"], population(averaged))
    assert not torch.equal(written["state_dict"]["net.8.weight"], written["current_model_state"]["net.8.weight"])


def test_stochastic_weight_averaging(tmp_path: Path) -> None:
    swa = checkpoints.StochasticWeightAveraging(swa_lrs=0.05, swa_epoch_start=1)
    module, _ = fit(tmp_path, swa, callbacks.Recalibrate(loader(64)), max_epochs=3)
    assert_population(module.state_dict(), population(module))


def test_averaging_after_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="put it after"):
        fit(tmp_path, callbacks.Recalibrate(loader(64)), checkpoints.EMAWeightAveraging())


def all_three() -> list[Any]:
    return [
        callbacks.GapMonitor(loader(shuffle=True), LOSS, statistics_batch_size=8, samples=32, every_n_steps=4),
        callbacks.SetStatisticsBatchSize({0: 32, 8: 4, 13: 20}),
        callbacks.Recalibrate(loader(64)),
    ]


@pytest.mark.parametrize("cut", [8, 16])  # ends of epochs: within one, Lightning begins the loader anew
@pytest.mark.parametrize("averaging", [False, True])
def test_a_run_that_goes_on_is_the_run_that_was_not_cut(tmp_path: Path, cut: int, averaging: bool) -> None:
    def run(name: str, **options: Any) -> Any:
        save = checkpoints.ModelCheckpoint(tmp_path / name, every_n_train_steps=8, save_top_k=-1)
        first = [checkpoints.EMAWeightAveraging(decay=0.9)] if averaging else []
        logger = loggers.CSVLogger(tmp_path / name)
        module = Classifier(32 if averaging else None)
        module.dropout = torch.nn.Identity()  # Lightning's checkpoints hold no random state
        return fit(
            tmp_path,
            *first,
            *all_three(),
            save,
            module=module,
            logger=logger,
            enable_checkpointing=True,
            max_epochs=3,
            **options,
        )[0]

    whole = run("whole")
    file = next((tmp_path / "whole").glob(f"*step={cut}.ckpt"))
    resumed = run("resumed", ckpt_path=file)
    assert_same(resumed.state_dict(), whole.state_dict())
    # an average has windows of its own, which nothing uses
    assert averaging or torch.equal(resumed.net[4].window, whole.net[4].window)
    expected = {row["step"]: row[GAP] for row in rows(tmp_path / "whole") if row.get(GAP) and int(row["step"]) > cut}
    assert expected == {row["step"]: row[GAP] for row in rows(tmp_path / "resumed") if row.get(GAP)}


def test_pytorch_lightning(tmp_path: Path) -> None:
    module, trainer = fit(
        tmp_path, *all_three(), module=PlainClassifier(), trainer=pytorch_lightning.Trainer, num_sanity_val_steps=1
    )
    assert GAP in trainer.callback_metrics
    assert module.net[4].statistics_batch_size == 20
    assert_population(module.state_dict(), population(module))
    assert "save_checkpoint" not in vars(trainer.strategy)


def test_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert executed("Lightning")["trainer"].lightning_module.net[1].statistics_batch_size == 64
    assert "tensor(" in capsys.readouterr().out


def on_a_rank(arguments: tuple[str, int | None]) -> dict[str, Any]:
    """Train on the two ranks of the pool, resumed after a cut where a step is given."""
    from lightning.fabric.plugins.environments import ClusterEnvironment

    class Pool(ClusterEnvironment):
        creates_processes_externally = True
        main_address, main_port = "127.0.0.1", 0

        @staticmethod
        def detect() -> bool:
            return True

        def world_size(self) -> int:
            return torch.distributed.get_world_size()

        def global_rank(self) -> int:
            return torch.distributed.get_rank()

        local_rank = node_rank = global_rank

        def set_world_size(self, size: int) -> None: ...

        def set_global_rank(self, rank: int) -> None: ...

    folder, cut = arguments
    torch.manual_seed(0)
    module = Classifier()
    module.dropout = torch.nn.Identity()
    save = checkpoints.ModelCheckpoint(folder, every_n_train_steps=3, save_top_k=-1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = lightning.Trainer(
            accelerator="cpu",
            devices=2,
            strategy="ddp",
            plugins=[Pool()],
            callbacks=[*all_three(), save],
            max_epochs=4,
            enable_progress_bar=False,
            enable_model_summary=False,
            logger=False,
        )
        file = None if cut is None else next(Path(folder).glob(f"*step={cut}.ckpt"))
        trainer.fit(module, loader(), loader(), ckpt_path=file)
    return {
        "state": module.state_dict(),
        "window": module.net[4].window,
        "gap": trainer.callback_metrics[GAP],
        "population": population(module),
    }


def test_two_ranks_save_and_resume(gloo_pool: Any, tmp_path: Path) -> None:
    whole = gloo_pool.run(on_a_rank, [(str(tmp_path / "a"), None)] * 2)
    resumed = gloo_pool.run(on_a_rank, [(str(tmp_path / "a"), 12)] * 2)
    for one, two in zip(whole, resumed, strict=True):
        assert_same(two["state"], one["state"])
        assert torch.equal(two["window"], one["window"])
        assert torch.equal(two["gap"], one["gap"])
        assert_population(one["state"], one["population"])
    assert_same(whole[0]["state"], whole[1]["state"])
    assert not torch.equal(whole[0]["window"], whole[1]["window"])  # each rank's own
