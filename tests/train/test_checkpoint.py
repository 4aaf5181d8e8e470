import os
import pickle
from collections import OrderedDict

import pytest
import torch
from torch import nn

import bnlens.train._optional as optional
from bnlens.errors import DataError, ModelError, StoreError
from bnlens.train import build_net, load_checkpoint, save_checkpoint


def make_net(seed=0, name="cnn", width=4):
    return build_net(name, input_shape=(1, 8, 8), num_classes=3, width=width, seed=seed)


def assert_same(first, second):
    first, second = first.state_dict(), second.state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def assert_loads(path, net):
    fresh = make_net(0)
    load_checkpoint(fresh, path)
    assert_same(fresh, net)


@pytest.fixture
def net():
    net = make_net(1)
    net(torch.randn(8, 1, 8, 8))  # running statistics of its own
    return net


@pytest.mark.parametrize("name", ["net.pt", "net.safetensors", "new/folder/net.pth"])
def test_round_trip(tmp_path, net, name):
    assert_loads(save_checkpoint(net, tmp_path / name), net)


def test_tied_weights_round_trip(tmp_path):
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    fresh = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    load_checkpoint(fresh, save_checkpoint(tied, tmp_path / "net.safetensors"))
    assert_same(fresh, tied)


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "_orig_mod.module."])
def test_reads_what_trainers_write(tmp_path, net, wrapper, prefix):
    state = OrderedDict((prefix + key, tensor) for key, tensor in net.state_dict().items())
    torch.save(state if wrapper is None else {wrapper: state, "epoch": 3, "optimizer": {}}, tmp_path / "net.pt")
    assert_loads(tmp_path / "net.pt", net)


def test_reads_the_format_before_torch_16(tmp_path, net):
    torch.save(net.state_dict(), tmp_path / "net.pt", _use_new_zipfile_serialization=False)
    assert_loads(tmp_path / "net.pt", net)


def test_old_checkpoints_lack_the_batch_count(tmp_path, net):
    state = {key: tensor for key, tensor in net.state_dict().items() if "num_batches_tracked" not in key}
    torch.save(state, tmp_path / "net.pt")
    fresh = make_net(0)
    load_checkpoint(fresh, tmp_path / "net.pt")
    assert torch.equal(fresh.blocks[0][1].running_mean, net.blocks[0][1].running_mean)
    assert fresh.blocks[0][1].num_batches_tracked == 0


def edit(state, case):
    if case == "missing":
        for key in ("fc.bias", "fc.weight", "blocks.0.0.weight", "blocks.0.1.bias"):
            del state[key]
    elif case == "unexpected":
        state["head.weight"] = torch.zeros(1)
    else:
        state["fc.bias"] = torch.zeros(7)
    return state


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("missing", r"it lacks blocks\.0\.0\.weight, blocks\.0\.1\.bias, fc\.weight and 1 more;"),
        ("unexpected", r"it has the unknown head\.weight;"),
        ("shape", r"shapes differ: fc\.bias \(7,\) instead of \(3,\);"),
    ],
)
def test_mismatch_names_the_first_keys_and_changes_nothing(tmp_path, net, case, message, suffix):
    path, state = tmp_path / f"net{suffix}", edit(dict(net.state_dict()), case)
    if suffix == ".pt":
        torch.save(state, path)
    else:
        from safetensors.torch import save_file

        save_file(state, path)
    fresh = make_net(0)
    with pytest.raises(ModelError, match=rf"{path.name} does not fit the model: {message} build the model"):
        load_checkpoint(fresh, path)
    assert_same(fresh, make_net(0))


def test_another_net(tmp_path, net):
    path = save_checkpoint(net, tmp_path / "net.pt")
    with pytest.raises(ModelError, match=r"it lacks .* and 42 more; it has the unknown .* and 21 more; shapes"):
        load_checkpoint(make_net(name="resnet"), path)


class MakesFolder:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("how", ["new", "old", "pickle"])
def test_never_runs_code(tmp_path, net, how):
    path, canary = tmp_path / "net.pt", tmp_path / "canary"
    content = {"state_dict": net.state_dict(), "callback": MakesFolder(canary)}
    if how == "pickle":
        path.write_bytes(pickle.dumps(MakesFolder(canary)))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "new")
    words = "" if how == "pickle" else " holds objects other than tensors, which could run code when read;"
    with pytest.raises(DataError, match=rf"net\.pt{words}"):
        load_checkpoint(net, path)
    assert not canary.exists()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("kept", [0, 5, 1000, -20])
def test_truncated(tmp_path, net, suffix, kept):
    path = save_checkpoint(net, tmp_path / f"net{suffix}")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError, match=rf"net{suffix} is not a readable checkpoint; download or save it again"):
        load_checkpoint(net, path)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_something_else(tmp_path, net, suffix):
    path = tmp_path / f"net{suffix}"
    path.write_text("<html>404: not found</html>")
    with pytest.raises(DataError, match="is not a readable checkpoint"):
        load_checkpoint(net, path)


@pytest.mark.parametrize("content", [torch.zeros(3), {}, {"epoch": 3}, {"state_dict": {"fc.bias": 1.0}}, [1, 2]])
def test_no_state_dict(tmp_path, net, content):
    torch.save(content, tmp_path / "net.pt")
    with pytest.raises(DataError, match=r"net\.pt holds no state_dict; save one with torch\.save"):
        load_checkpoint(net, tmp_path / "net.pt")


def test_missing_file(tmp_path, net):
    with pytest.raises(DataError, match=r"there is no checkpoint .*net\.pt; check the path"):
        load_checkpoint(net, tmp_path / "net.pt")


@pytest.mark.parametrize("act", [load_checkpoint, save_checkpoint])
def test_safetensors_not_installed(tmp_path, monkeypatch, net, act):
    path = save_checkpoint(net, tmp_path / "net.safetensors")

    def import_module(name):
        raise ImportError(name)

    monkeypatch.setattr(optional.importlib, "import_module", import_module)
    with pytest.raises(DataError, match=r"net\.safetensors needs the package safetensors; pip install safetensors"):
        act(net, path)


def test_unwritable_folder(tmp_path, net):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        save_checkpoint(net, tmp_path / "file" / "net.pt")
