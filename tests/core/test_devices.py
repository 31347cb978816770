"""Devices and precisions by name."""

from __future__ import annotations

import pytest
import torch

from napari_sam.segmentation.devices import (
    DTYPES,
    choose_device,
    choose_precision,
    warn_if_emulated,
)

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")


@pytest.fixture
def machine(monkeypatch):
    """Pretend to be a machine with so many GPUs, and Apple's or not."""

    def pretend(gpus=0, mps=False, bf16=True, cpu=()):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bf16)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        known = {name: name in cpu for name in ("avx512_f", "avx512_bf16", "amx_bf16", "amx_fp16")}
        known["architecture"] = "x86_64"
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known, raising=False)

    return pretend


@pytest.mark.parametrize(
    ("hardware", "expected"),
    [
        ({}, "cpu"),
        ({"gpus": 2}, "cuda:0"),
        ({"mps": True}, "mps"),
        ({"gpus": 1, "mps": True}, "cuda:0"),
    ],
)
def test_auto_takes_a_gpu_where_there_is_one(machine, hardware, expected):
    machine(**hardware)
    assert str(choose_device("auto")) == expected


def test_named_device_is_taken(machine):
    machine(gpus=2, mps=True)
    for name in ("cpu", "cuda", "cuda:1", "mps"):
        assert str(choose_device(name)) == name


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:7", "mps"])
def test_absent_device_is_refused_with_what_is_there(machine, name):
    machine()
    with pytest.raises(ValueError, match=r"sees 0 CUDA devices\. Choose 'cpu' or 'auto'"):
        choose_device(name)


def test_gpu_beyond_the_last_is_refused(machine):
    machine(gpus=2)
    with pytest.raises(ValueError, match=r"got 'cuda:2'.* sees 2 CUDA devices"):
        choose_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "cpu:cpu"])
def test_unknown_device_is_refused_with_the_names(name):
    with pytest.raises(ValueError, match="such as 'auto', 'cpu', 'cuda'"):
        choose_device(name)


def test_auto_precision_is_half_on_cuda(machine):
    machine(gpus=1)
    assert choose_precision("auto", CPU) == "float32"
    assert choose_precision("auto", torch.device("mps")) == "float32"
    assert choose_precision("auto", GPU) == "bfloat16"
    machine(gpus=1, bf16=False)
    assert choose_precision("auto", GPU) == "float16"


@pytest.mark.parametrize(
    ("instructions", "expected"),
    [("avx512_f", "float32"), ("avx512_bf16", "bfloat16"), ("amx_bf16", "bfloat16")],
)
def test_auto_precision_is_half_on_a_cpu_that_multiplies_it(machine, instructions, expected):
    machine(cpu=(instructions,))
    assert choose_precision("auto", CPU) == expected
    assert choose_precision("auto", CPU, faster_in_half=False) == "float32"
    assert choose_precision("auto", torch.device("mps")) == "float32"


def test_auto_precision_of_a_torch_that_reports_no_capabilities_is_full(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert choose_precision("auto", CPU) == "float32"


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("device", [CPU, GPU])
def test_named_precision_is_taken_on_any_device(precision, device):
    assert choose_precision(precision, device) == precision


def test_unknown_precision_is_refused_with_the_names():
    with pytest.raises(ValueError, match="among auto, float32, bfloat16, float16, got 'int8'"):
        choose_precision("int8", CPU)


@pytest.mark.parametrize(
    ("precision", "instructions", "warns"),
    [
        ("bfloat16", "avx512_f", True),
        ("bfloat16", "avx512_bf16", False),
        ("float16", "amx_bf16", True),
        ("float16", "amx_fp16", False),
        ("float32", "avx512_f", False),
    ],
)
def test_a_precision_without_instructions_is_warned_of(
    machine, caplog, precision, instructions, warns
):
    machine(cpu=(instructions,))
    warn_if_emulated(precision, CPU)
    assert (f"no instructions for {precision}" in caplog.text) == warns
    warn_if_emulated(precision, GPU)
    assert len(caplog.records) == warns


def test_a_processor_that_reports_no_capabilities_is_not_warned_of(monkeypatch, caplog):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"architecture": "aarch64"})
    warn_if_emulated("bfloat16", CPU)
    assert not caplog.records
