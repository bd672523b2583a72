"""Training and evaluation borrow the GPU and give the model back where it was, so that plain calls work on
every machine."""

import pytest
import torch
from tiny_training import striped_images, tiny_model
from torch import nn

import adapters_lib as al
from adapters_lib.exits.simulate import store_exits
from adapters_lib.methods.dyn import ALONE
from adapters_lib.training.features import cache_features
from adapters_lib.vit.modes import on_device

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
SHORT = al.Recipe(epochs=1, batch_size=8, lr=1e-2)
USES = {
    "fit": lambda model, data: al.fit(model, data, data, SHORT, progress=False),
    "evaluate": lambda model, data: al.evaluate(model, data),
    "store_exits": lambda model, data: store_exits(model, data),
}


class Traveller(nn.Linear):
    """Remembers where it was sent, and stays."""

    def __init__(self) -> None:
        super().__init__(1, 1)
        self.went: list[str] = []

    def to(self, device):
        self.went.append(str(device))
        return self


def test_a_borrowed_model_comes_back_also_after_an_error() -> None:
    model = Traveller()
    with on_device(model, torch.device("meta")):
        assert model.went == ["meta"]
    assert model.went == ["meta", "cpu"]
    with pytest.raises(KeyError), on_device(model, torch.device("meta")):
        raise KeyError
    assert model.went == ["meta", "cpu", "meta", "cpu"]


def test_a_model_without_parameters_can_be_borrowed() -> None:
    with on_device(nn.Identity(), torch.device("cpu")):
        pass


@needs_gpu
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("home", ["cpu", "cuda"])
def test_a_model_is_afterwards_where_it_was_and_takes_images_from_there(home: str, use: str) -> None:
    model, data = tiny_model(ALONE).to(home), striped_images(16)
    USES[use](model, data)
    images = torch.stack([data[i][0] for i in range(4)])
    assert {p.device.type for p in (*model.parameters(), *model.buffers())} == {home}
    assert model(images.to(home)).shape == (4, 4)


@needs_gpu
def test_cached_features_leave_the_model_where_it_was() -> None:
    model = tiny_model("linear")
    cache_features(model, striped_images(16))
    assert next(model.parameters()).device.type == "cpu"
