"""Encoding leaves the model, the random states and the user's warnings alone; errors help."""

from __future__ import annotations

import contextlib
import copy
import random
import re
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch._dynamo  # PyTorch loads it late, and SymPy with it adds a filter of warnings
from torch import nn

from rfa_toolbox import create_graph_from_pytorch_model
from rfa_toolbox.encodings.pytorch.ingest_architecture import record_model
from rfa_toolbox.errors import CaptureError, RFAError
from tests.pytorch.measure import Function, captures, encode, signature

SHAPE = (1, 3, 32, 32)


def network(**options: Any) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, **options),
        nn.BatchNorm2d(8, **options),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Conv2d(8, 8, 3, **options),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4, **options),
    )


class Fails(nn.Module):
    """Draws random numbers, changes buffers, and then fails."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        random.random()
        np.random.random()  # noqa: NPY002 - what a model may do
        torch.rand(3)
        self.inner(x)
        raise ValueError("halfway")


def states() -> tuple[Any, ...]:
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002 - the state that models draw from
    return torch.get_rng_state().tolist(), random.getstate(), kind, list(keys), rest


def everything(model: nn.Module) -> dict[str, Any]:
    """Return all that a user can see of a model."""
    tensors = [*model.parameters(), *model.buffers()]
    return {
        "values": [one.detach().clone().tolist() for one in tensors],
        "tensors": [id(one) for one in tensors],
        "versions": [one._version for one in model.parameters()],
        "gradients": [None if one.grad is None else one.grad.tolist() for one in tensors],
        "trainable": [one.requires_grad for one in tensors],
        "modes": [module.training for module in model.modules()],
        "hooks": [
            [
                len(getattr(module, name))
                for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
            ]
            for module in model.modules()
        ],
        "global hooks": [
            len(getattr(torch.nn.modules.module, name))
            for name in ("_global_forward_hooks", "_global_forward_pre_hooks")
        ],
        "attributes": [sorted(vars(module)) for module in model.modules()],
        "gradients on": torch.is_grad_enabled(),
        "fast path": torch.backends.mha.get_fastpath_enabled(),
        "default type": torch.get_default_dtype(),
        "warnings": list(warnings.filters),
    }


def mixed(model: nn.Module) -> nn.Module:
    """Put some modules into train mode and some into eval mode."""
    for place, module in enumerate(model.modules()):
        module.training = place % 2 == 0
    return model


@captures
@pytest.mark.parametrize("training", [True, False, None])
@pytest.mark.parametrize("batch", [1, 2])
def test_a_model_is_as_before(capture: str, training: bool | None, batch: int) -> None:
    model = mixed(network()) if training is None else network().train(training)
    model(torch.rand(4, 3, 32, 32)).sum().backward()
    before, random_before = everything(model), states()
    encode(model, (batch, *SHAPE[1:]), capture)
    assert states() == random_before
    assert everything(model) == before


@captures
def test_a_model_is_as_before_when_it_fails_halfway(capture: str) -> None:
    model = mixed(Fails())
    before, random_before = everything(model), states()
    with pytest.raises(RFAError, match="halfway"):
        encode(model, SHAPE, capture)
    assert states() == random_before
    assert everything(model) == before


@captures
def test_hooks_of_the_user_still_run_afterwards(capture: str) -> None:
    model = network().eval()
    seen: list[str] = []
    model[0].register_forward_hook(lambda *_: seen.append("hook"))  # type: ignore[operator, index]
    encode(model, SHAPE, capture)
    seen.clear()
    model(torch.rand(SHAPE))
    assert seen == ["hook"]


@captures
def test_an_example_tensor_is_as_before(capture: str) -> None:
    model = Function(lambda s, x: s.c(x.mul_(2)), c=nn.Conv2d(3, 4, 3))
    image = torch.rand(SHAPE)
    values = image.clone()
    encode(model, image, capture)
    assert torch.equal(image, values)


@captures
def test_train_mode_with_one_sample_is_encoded_in_eval_mode_and_said(capture: str) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(4)).train()
    with pytest.warns(UserWarning, match="encoded in eval mode"):
        graph = encode(model, SHAPE, capture)
    assert graph.name == "2"
    assert all(module.training for module in model.modules())


@captures
def test_what_runs_in_neither_mode_is_told_by_the_error_of_eval_mode(capture: str) -> None:
    def forward(s: nn.Module, x: torch.Tensor) -> torch.Tensor:
        if s.training:
            raise ValueError("targets are missing")
        raise ValueError("images are missing")

    model = Function(forward).train()
    with pytest.raises(CaptureError, match="images are missing"):
        encode(model, SHAPE, capture)
    assert model.training


def test_numbers_do_not_depend_on_weights() -> None:
    model = network().eval()
    expected = signature(encode(model, SHAPE))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(torch.nan)
    assert signature(encode(model, SHAPE)) == expected


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@captures
def test_any_type(dtype: torch.dtype, capture: str) -> None:
    expected = signature(encode(network().eval(), SHAPE, capture))
    assert signature(encode(network(dtype=dtype).eval(), SHAPE, capture)) == expected


def test_a_model_on_the_meta_device() -> None:
    expected = signature(encode(network().eval(), SHAPE))
    assert signature(encode(network(device="meta").eval(), SHAPE)) == expected


@captures
def test_one_channel(capture: str) -> None:
    graph = encode(nn.Conv2d(1, 4, 3), (1, 1, 28, 28), capture)
    assert graph.receptive_field_max == (3, 3)


def test_one_channel_without_a_shape() -> None:
    with pytest.warns(UserWarning, match="encoded with"):
        graph = create_graph_from_pytorch_model(nn.Conv2d(1, 4, 3))
    assert graph.receptive_field_max == (3, 3)


# --- wrappers --------------------------------------------------------------------------------


@captures
@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(nn.DataParallel, id="DataParallel"),
        pytest.param(torch.compile, id="torch.compile"),
        pytest.param(lambda model: torch.compile(nn.DataParallel(model)), id="both"),
    ],
)
def test_wrappers_are_taken_off(wrap: Callable[[nn.Module], nn.Module], capture: str) -> None:
    model = network().eval()
    expected = signature(encode(model, SHAPE, capture))
    assert signature(encode(wrap(model), SHAPE, capture)) == expected


@captures
def test_a_module_that_compiles_itself(capture: str) -> None:
    model = network().eval()
    expected = signature(encode(model, SHAPE, capture))
    model.compile()
    compiled = model._compiled_call_impl
    assert signature(encode(model, SHAPE, capture)) == expected
    assert model._compiled_call_impl is compiled


# --- errors ----------------------------------------------------------------------------------


@pytest.mark.parametrize("capture", ["auto", "meta", "jit"])
def test_wrong_channels_name_the_layer(capture: str) -> None:
    with pytest.raises(RFAError) as caught:
        encode(network(), (1, 5, 32, 32), capture)
    text = str(caught.value)
    assert re.search(r"'0' \(Conv2d\)", text)
    assert "(1, 5, 32, 32)" in text
    assert "3 channels" in text


def test_a_wrong_size_names_the_dense_layer() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 30 * 30, 2))
    with pytest.raises(RFAError, match=r"'2' \(Linear\).*3600 features"):
        encode(model, (1, 3, 33, 33))


class Decides(nn.Module):
    """Takes another path for bright images."""

    def __init__(self) -> None:
        super().__init__()
        self.bright, self.dark = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.mean() > 0:
            return self.bright(x)  # type: ignore[no-any-return]
        return self.dark(x)  # type: ignore[no-any-return]


@pytest.mark.parametrize("capture", ["auto", "meta"])
def test_data_dependent_control_flow_names_the_line(capture: str) -> None:
    with pytest.raises(RFAError, match=r"test_unchanged\.py:\d+") as caught:
        encode(Decides(), SHAPE, capture)
    assert "capture='jit'" in str(caught.value)


def test_data_dependent_control_flow_can_be_followed_for_one_example() -> None:
    assert encode(Decides(), SHAPE, "jit").receptive_field_max == (3, 3)
    dark = torch.full(SHAPE, -1.0)
    assert encode(Decides(), dark, "jit").receptive_field_max == (5, 5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Conv2d, "Call the class"),
        (lambda: "resnet18", "expected is a torch.nn.Module"),
        (lambda: None, "expected is a torch.nn.Module"),
        (lambda: lambda x: x, "expected is a torch.nn.Module"),
        (lambda: torch.jit.trace(nn.Conv2d(3, 4, 3), torch.rand(SHAPE)), "make_graph"),
        (lambda: torch.jit.script(nn.ReLU()), "pass the module that it was made from"),
        (lambda: nn.Sequential(nn.LazyConv2d(4, 3)), "is lazy"),
    ],
)
def test_what_is_no_ready_module_is_refused(make: Callable[[], Any], message: str) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Lazy modules", category=UserWarning)
        model = make()
    with pytest.raises(RFAError, match=message):
        encode(model, SHAPE)


@pytest.mark.parametrize("shape", [0, "32", (), (1, 3, 0, 4), (1, 3, 4.5, 4), [[1, "a"]], {}])
def test_wrong_inputs_are_quoted(shape: Any) -> None:
    with pytest.raises(RFAError, match=re.escape(repr(shape))):
        encode(nn.Conv2d(3, 4, 3), shape)


def test_wrong_choices_are_quoted() -> None:
    for options in ({"capture": "onnx"}, {"global_ops": "all"}, {"custom_layers": "Conv2d"}):
        with pytest.raises(RFAError, match=r"'(onnx|all|Conv2d)'"):
            create_graph_from_pytorch_model(nn.Conv2d(3, 4, 3), **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'infinite'"):
        create_graph_from_pytorch_model(nn.Conv2d(3, 4, 3), filter_rf="infinite")  # type: ignore[arg-type]


def test_a_model_without_a_tensor_output_is_refused() -> None:
    with pytest.raises(RFAError, match="No output"):
        encode(Function(lambda s, x: x.shape), SHAPE)


# --- unusual models --------------------------------------------------------------------------


@captures
def test_the_value_of_a_parameter_may_be_read(capture: str) -> None:
    model = Function(
        lambda s, x: s.c(x) * s.scale.item(),
        c=nn.Conv2d(3, 4, 3),
        scale=nn.Parameter(torch.tensor(2.0)),
    )
    assert encode(model, SHAPE, capture).receptive_field_max == (3, 3)


def test_a_large_constant_that_decides_falls_back_to_real_tensors() -> None:
    model = Function(
        lambda s, x: s.c(x) if float(s.table.sum()) > 0 else x,
        c=nn.Conv2d(3, 4, 3),
        table=nn.Parameter(torch.ones(100)),
    )
    with pytest.warns(UserWarning, match="real ones"):
        graph = encode(model, SHAPE)
    assert graph.receptive_field_max == (3, 3)


@pytest.mark.parametrize(
    "thing",
    [
        pytest.param(threading.Lock, id="lock"),
        pytest.param(lambda: (one for one in "abc"), id="generator"),
        pytest.param(lambda: open(__file__), id="file"),  # noqa: PTH123, SIM115
    ],
)
def test_a_model_that_cannot_be_copied(thing: Callable[[], Any]) -> None:
    with contextlib.ExitStack() as stack:
        model = network().eval()
        held = thing()
        if hasattr(held, "close"):
            stack.callback(held.close)
        model.held = held
        with pytest.raises(TypeError):
            copy.deepcopy(model)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            graph = encode(model, SHAPE)
        assert all("real ones" in str(one.message) for one in caught)
        assert signature(graph) == signature(encode(network().eval(), SHAPE))


@captures
def test_buffers_that_forward_changes(capture: str) -> None:
    class Counts(nn.Module):
        count: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.register_buffer("count", torch.zeros(1))
            self.register_buffer("mean", torch.zeros(4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.conv(x)
            self.count += 1
            self.mean = y.mean((0, 2, 3)).detach()
            return y

    model = Counts()
    before = everything(model)
    encode(model, SHAPE, capture)
    assert everything(model) == before


@captures
def test_attributes_that_forward_sets(capture: str) -> None:
    class Remembers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.last: Any = None

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.last = self.conv(x)
            return self.last  # type: ignore[no-any-return]

    model = Remembers()
    graph = encode(model, SHAPE, capture)
    assert graph.receptive_field_max == (3, 3)
    assert capture == "jit" or model.last is None


@captures
def test_shared_parameters_and_modules(capture: str) -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU(), nn.Conv2d(3, 3, 3))
    model[2].weight = model[0].weight  # type: ignore[union-attr]
    assert encode(model, SHAPE, capture).receptive_field_max == (5, 5)
    assert model[2].weight is model[0].weight  # type: ignore[union-attr]


@captures
def test_no_warning_of_the_libraries_reaches_the_user(capture: str) -> None:
    def body(s: Any, x: torch.Tensor) -> torch.Tensor:
        half = x.shape[2] // 2  # tracers warn of sizes that become constants
        y = s.c(x[:, :, : int(half)])
        if y.shape[-1] > 3:
            y = y + torch.tensor(1.0)
        return s.even(y)  # type: ignore[no-any-return]

    even = nn.Conv2d(4, 4, 4, padding="same")  # warns of a padded copy
    model = Function(body, c=nn.Conv2d(3, 4, 3), even=even)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encode(model, SHAPE, capture)


def test_a_model_can_be_encoded_with_gradients_and_inference_mode() -> None:
    expected = signature(encode(network().eval(), SHAPE))
    with torch.inference_mode():
        assert signature(encode(network().eval(), SHAPE)) == expected
    with torch.enable_grad():
        assert signature(encode(network().eval(), SHAPE)) == expected


def test_autocast_of_the_user() -> None:
    expected = signature(encode(network().eval(), SHAPE))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert signature(encode(network().eval(), SHAPE)) == expected


def test_autocast_inside_the_model() -> None:
    class Casts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.autocast(x.device.type, enabled=False):
                return self.conv(x)  # type: ignore[no-any-return]

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*real ones")
        assert encode(Casts(), SHAPE).receptive_field_max == (3, 3)


def test_encoding_runs_in_several_threads() -> None:
    model = network().eval()
    expected = signature(encode(model, SHAPE))
    before = everything(model)
    found: list[Any] = []
    lock = threading.Lock()

    def work() -> None:
        mine = signature(encode(network().eval(), SHAPE))
        with lock:
            found.append(mine)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4
    assert everything(model) == before


def test_the_record_holds_no_tensor_and_no_module() -> None:
    record = record_model(network().eval(), SHAPE)

    def plain(value: Any) -> bool:
        if isinstance(value, dict):
            return all(map(plain, value.values()))
        if isinstance(value, tuple | list):
            return all(map(plain, value))
        return value is Ellipsis or isinstance(value, int | float | str | slice | None)

    assert all(plain(dict(one.arguments)) for one in record.operations)
