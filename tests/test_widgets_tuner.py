"""The tuner: costs at once, small runs that can be stopped, and a latency that is predicted from a few
measured models."""

import asyncio
import threading

import pytest

import adapters_lib as al
from adapters_lib.costs.latency_model import LatencyModel, Measured, fit_latency
from adapters_lib.figures import tuner
from adapters_lib.figures.tuner import KINDS, Choice, Point, price
from adapters_lib.widgets import tuner as widgets_tuner
from adapters_lib.widgets.tuner import BottleneckTuner

KNOWN = LatencyModel(
    1.0, 10.0, dict.fromkeys(("padapter", "lora", "adaptformer", "adpt", "ila"), 0.1), 0.05, ()
)


@pytest.fixture
def panel() -> BottleneckTuner:
    return BottleneckTuner(KNOWN, epochs=2, n_per_class=1)


def quick(panel: BottleneckTuner, kind: str = "LoRA") -> None:
    panel.controls["kind"].value = kind
    panel.controls["image_size"].value = 32


# ---- latency -------------------------------------------------------------------------------------


def test_known_prices_are_found_again_and_the_left_out_points_are_predicted() -> None:
    def point(method: str, gmacs: float, modules: int) -> Measured:
        return Measured(
            method, gmacs * 1e9, modules, 3 + 20 * gmacs + {"": 0, "lora": 0.1, "ila": 0.5}[method] * modules
        )

    bare = [point("", gmacs, 0) for gmacs in (0.1, 0.4, 0.8)]
    fitted = fit_latency([*bare, point("lora", 0.4, 12), point("lora", 0.8, 36), point("ila", 0.3, 2)])
    assert (fitted.fixed_ms, fitted.ms_per_gmac) == (pytest.approx(3), pytest.approx(20))
    assert fitted.module_ms == {"lora": pytest.approx(0.1), "ila": pytest.approx(0.5)}
    assert fitted.error == pytest.approx(0, abs=1e-6)
    assert fitted.predict("lora", 1e9, 24) == pytest.approx(3 + 20 + 2.4)


def test_one_bare_backbone_is_not_enough_and_an_unmeasured_method_is_refused() -> None:
    with pytest.raises(al.AdapterError, match="two image sizes"):
        fit_latency([Measured("", 1e9, 0, 5.0), Measured("lora", 1e9, 12, 6.0)])
    with pytest.raises(al.AdapterError, match="no 'vqt', only padapter"):
        KNOWN.predict("vqt", 1e9, 3)


def test_the_calibration_measures_every_kind_of_method_twice() -> None:
    fitted = tuner.default_calibration(repeats=2, sizes=(32, 48))
    assert set(fitted.module_ms) == {"padapter", "lora", "adaptformer", "adpt", "ila"}
    assert len(fitted.points) == 2 + 2 * len(KINDS)
    assert fitted.fixed_ms >= 0
    assert fitted.ms_per_gmac > 0


# ---- costs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_counted_costs_are_those_of_the_real_model(kind: str) -> None:
    choice = Choice(kind, 4, list(KINDS[kind].places)[-1], 48)
    model = al.adapt(al.create_backbone(image_size=48), choice.text, num_classes=20)
    counted, real = price(choice), al.cost(model)
    assert (counted.adapter, counted.head, counted.backbone, counted.macs) == (
        *real.trainable.values(),
        real.macs,
    )
    assert counted.modules == len(list(model.adapters()))


def test_unknown_knobs_are_named() -> None:
    with pytest.raises(al.AdapterError, match="did you mean 'LoRA'"):
        _ = Choice("LoRa").text
    with pytest.raises(al.AdapterError, match="beside the MLP"):
        _ = Choice("AdaptFormer", place="beside the ML").text
    with pytest.raises(al.AdapterError, match="cost axis"):
        tuner.tuner_figure((), "joules")


@pytest.mark.parametrize("loss", [0.4, 3.6, 40.0])
def test_the_live_curve_shows_a_loss_however_high(loss: float) -> None:
    curve = tuner.tuner_figure((), rows=[{"epoch": 1, "train_loss": loss, "val_top1": 5.0}]).axes[1]
    assert curve.get_ylim()[0] <= loss < curve.get_ylim()[1]


def test_every_point_has_its_name_and_loss_and_accuracy_a_panel_each() -> None:
    points = [
        Point(Choice("PAdapter", 8, None, 48), {"trained": 2e4}, 21.0, 6, 6),
        Point(Choice("LoRA", 4, None, 48), {"trained": 2e4}, 21.2, 2, 6),
    ]
    rows = [
        {"epoch": 1, "train_loss": 3.0, "val_top1": 5.0},
        {"epoch": 2, "train_loss": 2.0, "val_top1": 9.0},
    ]
    left, loss, accuracy = tuner.tuner_figure(points, rows=rows).axes
    beside = {t.get_text(): t.get_position() for t in left.texts if "px" in t.get_text()}
    assert set(beside) == {"PAdapter 8, 48 px", "LoRA 4, 48 px, 2 of 6 epochs"}
    heights = [y for _, y in beside.values()]
    assert abs(heights[0] - heights[1]) > 0.03  # of the panel's height: they do not touch
    assert list(loss.lines[0].get_ydata()) == [3, 2]
    assert list(accuracy.lines[0].get_ydata()) == [5, 9]
    assert loss.get_xlim() == accuracy.get_xlim()


# ---- the widget ----------------------------------------------------------------------------------


def test_every_knob_changes_the_numbers_at_once(panel: BottleneckTuner) -> None:
    seen = {panel.numbers.value}
    for name, value in (
        ("size", 32),
        ("place", "beside the block (p+b)"),
        ("image_size", 48),
        ("kind", "LoRA"),
    ):
        panel.controls[name].value = value
        seen.add(panel.numbers.value)
        assert panel.message.value == ""
    assert len(seen) == 5
    assert panel.controls["size"].description == "rank"
    assert "rank=32" in panel.numbers.value
    costs = panel.costs(panel.choice)
    assert f"{costs['latency_ms']:.1f} ms" in panel.numbers.value
    assert costs["latency_ms"] == pytest.approx(1 + 10 * costs["macs"] / 1e9 + 12 * 0.1)


def test_another_cost_axis_draws_another_figure(panel: BottleneckTuner) -> None:
    before = panel.picture.value
    panel.controls["axis"].value = "latency_ms"
    assert panel.picture.value != before


def test_a_run_is_drawn_epoch_by_epoch_and_leaves_a_point_and_no_file(
    panel: BottleneckTuner, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    quick(panel)
    before = panel.picture.value
    panel.start()
    assert panel.train.disabled
    panel.start()  # a second press changes nothing
    panel.join()
    assert [row["epoch"] for row in panel.rows] == [1, 2]
    assert panel.bar.value == 2
    (point,) = panel.points
    assert (point.choice, point.epochs, point.planned) == (panel.choice, 2, 2)
    assert point.val_top1 == panel.rows[-1]["val_top1"]
    assert panel.picture.value != before
    assert not panel.train.disabled
    assert panel.halt.disabled
    assert not list(tmp_path.iterdir())
    panel.forget()
    assert panel.points == []


def test_a_stopped_run_ends_after_its_epoch_and_its_point_says_so() -> None:
    panel = BottleneckTuner(KNOWN, epochs=500, n_per_class=1)
    quick(panel)
    panel.start()
    panel.stop()
    panel.join(60)
    assert not panel.running
    assert panel.points[0].epochs < 500
    assert "of 500 epochs" in panel.status.value


def test_what_cannot_be_built_is_explained_in_the_widget_and_starts_no_run(panel: BottleneckTuner) -> None:
    quick(panel, "ILA")
    assert "a grid of 2×2 patches cannot shrink by 2" in panel.message.value
    assert panel.numbers.value == ""
    panel.start()
    assert not panel.running
    assert panel.points == []
    assert not panel.train.disabled
    panel.controls["image_size"].value = 48
    assert panel.message.value == ""


def test_a_run_that_fails_says_why_and_the_button_comes_back(panel: BottleneckTuner, monkeypatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise al.TrainingDiverged("the loss is nan", 1, 3, al.Recipe(lr=9.0), "nothing was kept")

    monkeypatch.setattr(widgets_tuner, "small_run", fail)
    panel.start()
    panel.join()
    assert "the loss is nan" in panel.message.value
    assert not panel.train.disabled


def test_under_a_kernel_the_run_reports_to_the_kernels_own_thread(monkeypatch) -> None:
    drawn_by = []
    draw = widgets_tuner.tuner_figure
    monkeypatch.setattr(
        widgets_tuner,
        "tuner_figure",
        lambda *a, **k: drawn_by.append(threading.current_thread()) or draw(*a, **k),
    )

    async def kernel() -> BottleneckTuner:
        panel = BottleneckTuner(KNOWN, epochs=1, n_per_class=1)
        quick(panel)
        panel.start()
        while not panel.points:
            await asyncio.sleep(0.01)
        return panel

    panel = asyncio.run(kernel())
    assert len(panel.points) == 1
    assert set(drawn_by) == {threading.main_thread()}


@pytest.mark.parametrize("name", ["kind", "size", "place", "image_size", "axis"])
def test_every_knob_is_labelled_and_reachable_by_keyboard(panel: BottleneckTuner, name: str) -> None:
    assert panel.controls[name].description
    assert panel.controls[name].tabbable is not False
