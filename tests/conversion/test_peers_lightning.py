"""Lightning, whose ``sync_batchnorm=True`` rebuilds BN layers as torch's."""

import pytest
import torch
from torch import nn

import bnlens
import bnlens.nn
from peers import define_torchvision_operators, peer

define_torchvision_operators()
lightning = peer("lightning")


class Module(lightning.LightningModule):
    def __init__(self, M):
        super().__init__()
        self.net = bnlens.convert(nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8)), statistics_batch_size=M)

    def training_step(self, batch, _):
        return self.net(batch[0]).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_the_plugin_warns():
    from lightning.pytorch.plugins.layer_sync import TorchSyncBatchNorm

    with pytest.warns(UserWarning, match="sync_batchnorm=False"):
        TorchSyncBatchNorm().apply(Module(16))


@pytest.mark.parametrize("M", [None, 4, 32])
@pytest.mark.filterwarnings("ignore")  # of Lightning's about few workers and no logger
def test_a_fit_keeps_the_layers(M, tmp_path):
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(32, 4)), batch_size=8)
    module = Module(M)
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=True,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, loader)
    assert module.net[1].statistics_batch_size == M
    assert int(module.net[1].num_batches_tracked) == 4
