"""The kernel for attention in windows, interpreted on a CPU, against windows cut out."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from reference import randomise, relative_error

from napari_sam.model import attention, image_encoder
from napari_sam.model.image_encoder import Attention

pytest.importorskip("triton", reason="Triton is built for Linux on x86-64 only")


@pytest.fixture
def kernel():
    from napari_sam.model.attention_kernel import attend_in_windows

    return attend_in_windows


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


@pytest.mark.parametrize(
    ("shape", "dim", "heads", "window"),
    [
        ((2, 7, 8, 24), 8, 3, 3),
        ((1, 6, 6, 40), 20, 2, 3),
        ((1, 3, 5, 16), 16, 1, 7),
        ((1, 20, 17, 32), 16, 2, 14),
    ],
    ids=["rim of padding", "no padding, odd width of heads", "larger than the map", "SAM's"],
)
def test_equals_windows_cut_out(kernel, monkeypatch, shape, dim, heads, window):
    layer = Attention(dim * heads, heads, True, True, window)
    randomise(layer, 5)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    expected = layer(x, window)
    assert attention.attend_in_windows(layer.qkv(x), layer.qkv.bias, None, None, 1, 1) is None
    used = []

    def counted(*arguments):
        used.append(kernel(*arguments))
        return used[-1]

    monkeypatch.setattr(image_encoder, "attend_in_windows", counted)
    assert relative_error(layer(x, window), expected) < 1e-5
    assert len(used) == 1


def test_half_precision_comes_close(kernel):
    layer = Attention(32, 2, True, True, 5)
    randomise(layer, 5)
    x = torch.randn(1, 9, 12, 32, generator=torch.Generator().manual_seed(1))
    qkv = layer.qkv(x)
    tables = layer.qkv.bias, layer.rel_pos_h, layer.rel_pos_w
    expected = kernel(qkv, *tables, 5, 2)
    halved = kernel(qkv.half(), *(table.half() for table in tables), 5, 2)
    assert halved.dtype == torch.float16
    assert 0 < relative_error(halved.float(), expected) < 5e-3


def test_does_without_a_kernel_that_cannot_be_made(monkeypatch, caplog):
    tried = []

    def broken(*arguments):
        tried.append(arguments)
        raise RuntimeError("Failed to find C compiler")

    monkeypatch.setattr("napari_sam.model.attention_kernel.attend_in_windows", broken)
    monkeypatch.setattr(attention, "_REFUSED", set())
    layer = Attention(32, 2, True, True, 3)
    given = layer.qkv(torch.zeros(1, 4, 4, 32)), layer.qkv.bias, layer.rel_pos_h, layer.rel_pos_w
    for _ in range(2):
        assert attention._by_kernel(*given, 3, 2) is None
    assert len(tried) == 1
    assert "slower than it could be" in caplog.text
    assert "Failed to find C compiler" in caplog.text


def test_full_memory_is_no_reason_to_do_without_the_kernel(monkeypatch):
    def full(*arguments):
        raise torch.OutOfMemoryError

    monkeypatch.setattr("napari_sam.model.attention_kernel.attend_in_windows", full)
    with pytest.raises(torch.OutOfMemoryError):
        attention._by_kernel(torch.zeros(1), None, None, None, 3, 2)


# The interpreter takes what a GPU's compiler refuses, such as a variable that changes its shape.
_COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from napari_sam.model.attention_kernel import _kernel

tensors = dict.fromkeys(("qkv", "bias", "rel_h", "rel_w", "out"), "*bf16")
numbers = {"height": "i32", "width": "i32", "heads": "i32", "scale": "fp32"}
sizes = dict(window=14, queries=64, key_rows=2, columns=16, distances=32)
for capability, dim, channels in ((80, 64, 64), (90, 80, 128)):  # ViT-B's and ViT-H's heads
    constants = sizes | dict(dim=dim, channels=channels)
    signature = tensors | numbers | dict.fromkeys(constants, "constexpr")
    source = ASTSource(fn=_kernel, signature=signature, constexprs=constants)
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32))
    print(len(compiled.asm["cubin"]))
"""


def test_compiles_for_gpus(tmp_path):
    compiling = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", _COMPILE],
        env=compiling | {"TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert all(int(size) > 1000 for size in done.stdout.split())
