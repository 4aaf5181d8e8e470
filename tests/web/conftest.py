"""A folder with a saved report, and readers of the application."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from bnlens.measure import Report
from web.readers import URL


@pytest.fixture(scope="session")
def report() -> Report:
    """A report of a small net on drawn inputs."""
    import torch
    from torch import nn

    import bnlens

    torch.manual_seed(0)
    inputs = torch.randn(128, 6)
    targets = (inputs[:, 0] > 0).long()
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs, targets), batch_size=64)
    asked = {"statistics_batch_size": (8, 16), "rounds": 2, "alone": True, "fisher": True}
    return bnlens.report(model, loader, nn.CrossEntropyLoss(), **asked, progress=False)


@pytest.fixture(scope="session")
def folder(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with that report in a folder of its own, a file that is none, and a secret beside it all."""
    base = tmp_path_factory.mktemp("web")
    report.to_json(base / "out" / "nets" / "small.json")
    (base / "out" / "other.json").write_text('{"kind": "something else"}')
    (base / "secret.json").write_text(report.to_json())
    (base / "out" / "link.json").symlink_to(base / "secret.json")
    return base / "out"


@pytest.fixture(scope="session")
def app(folder: Path) -> FastAPI:
    from bnlens.web import create_app

    return create_app(folder)


@pytest.fixture(scope="session")
def client(app: FastAPI) -> Iterator[TestClient]:
    """A reader on the same machine; redirects are followed, cookies kept."""
    with TestClient(app, base_url=URL) as client:
        yield client
