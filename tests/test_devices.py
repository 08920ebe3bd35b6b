"""Device names: resolved, refused, listed."""

import pytest

from rag_vqa import devices
from rag_vqa.errors import UsageError


def only_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)


def test_auto_is_cuda_then_mps_then_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    only_a_cpu(monkeypatch)
    assert devices.resolve_device("auto") == "cpu"
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    assert devices.resolve_device("auto") == "mps"
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert [devices.resolve_device(name) for name in ("auto", "cuda:1")] == ["cuda", "cuda:1"]


@pytest.mark.parametrize(
    ("name", "says"),
    [("cuda", "not on this machine"), ("meta", "not on this machine"), ("gpu", "auto, cpu, cuda")],
)
def test_what_is_not_here_is_refused(monkeypatch: pytest.MonkeyPatch, name, says) -> None:
    only_a_cpu(monkeypatch)
    with pytest.raises(UsageError, match=says):
        devices.resolve_device(name)
    with pytest.raises(UsageError, match=says):
        devices.parse_devices(f"cpu, {name}")


def test_all_is_every_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    only_a_cpu(monkeypatch)
    assert devices.parse_devices("cpu, cpu") == ["cpu", "cpu"]
    with pytest.raises(UsageError, match="no GPU"):
        devices.parse_devices("all")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert devices.parse_devices("all") == ["cuda:0", "cuda:1"]


def test_memory_and_cores_are_those_of_the_system() -> None:
    assert 0 < devices.free_memory("cpu") < 1e15
    assert devices.usable_cores() >= 1
