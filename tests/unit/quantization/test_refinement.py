"""golf.quantization.refinement: codes stay, the divergence falls, and the first step follows the slope in float64."""

import math

import pytest
import torch

from golf.compression import quantized_tensor
from golf.compression.quantized_tensor import QuantizedTensor
from golf.errors import DivergenceError
from golf.quantization import hessians, refinement
from tests.helpers.quantization_inputs import MODEL_CONFIG, make_model

WEIGHTS = make_model().state_dict()
INPUTS = hessians.map_quantized_inputs(WEIGHTS, 0)
SMALL = {name: tensor for name, tensor in WEIGHTS.items() if name not in INPUTS}
WINDOWS = torch.randint(0, 300, (6, 17), generator=torch.Generator().manual_seed(5)).to(torch.uint16)


def round_weights(step: float) -> dict[str, QuantizedTensor]:
    """Rounded toward 0, so that a larger factor helps."""
    quantized = {}
    for name in INPUTS:
        scales_O = (step * WEIGHTS[name].std(dim=1) + 1e-3).half()
        codes = (WEIGHTS[name] / scales_O.float()[:, None]).trunc().to(torch.int8)
        quantized[name] = QuantizedTensor(codes, scales_O, torch.ones(codes.shape[1]).half())
    return quantized


def divergence(quantized, small, windows=WINDOWS) -> float:
    """KL(full precision ‖ quantized) in float64, nats per token."""
    log_probs = []
    dequantized = {name: quantized_tensor.dequantize(qtensor) for name, qtensor in quantized.items()}
    for weights in (WEIGHTS, dequantized | {name: tensor.half() for name, tensor in small.items()}):
        model = make_model().double()
        model.load_state_dict(weights)
        tokens_BT = windows[:, :-1].long()
        with torch.no_grad():
            hidden = model(tokens_BT, recurrent=True)
            z = torch.nn.functional.linear(hidden, model.tok_emb.weight)
            softcap = MODEL_CONFIG.softcap
            log_probs.append((softcap * torch.tanh(z / softcap)).log_softmax(-1))
    expected, actual = log_probs
    return float((expected.exp() * (expected - actual)).sum(-1).mean())


def refine(quantized, small=SMALL, **options):
    return refinement.refine_scalars(WEIGHTS, quantized, small, MODEL_CONFIG, WINDOWS, **{"steps": 6} | options)


def test_codes_stay_and_the_divergence_of_what_is_stored_falls():
    quantized = round_weights(0.7)
    refined = refine(quantized)
    assert refined.steps == 6
    assert list(refined.quantized) == list(quantized)
    for name, qtensor in refined.quantized.items():
        assert qtensor.codes is quantized[name].codes
        assert qtensor.row_scales.dtype == torch.float16
        assert torch.equal(qtensor.col_scales, quantized[name].col_scales)
        ratio_O = qtensor.row_scales.double() / quantized[name].row_scales.double()
        assert float(ratio_O.max() / ratio_O.min()) < 1 + 2**-9  # one factor, rounded to fp16
    before, after = divergence(quantized, SMALL), divergence(refined.quantized, refined.small_tensors)
    assert (refined.kl_before, refined.kl_after) == pytest.approx((before, after), rel=1e-3)
    assert after < 0.98 * before


def test_the_first_step_goes_down_the_slope_of_every_scalar():
    quantized = round_weights(0.7)
    refined = refine(quantized, steps=1)
    moved = 0
    for name, qtensor in quantized.items():
        sides = []
        for sign in (-1, 1):
            scales_O = qtensor.row_scales.double() * math.exp(sign * 0.02)
            sides.append(divergence(quantized | {name: QuantizedTensor(qtensor.codes, scales_O, None)}, SMALL))
        slope = (sides[1] - sides[0]) / 0.04
        if abs(slope) > 1e-4:
            shift = (refined.quantized[name].row_scales.double() / qtensor.row_scales.double()).log().mean()
            assert float(shift) == pytest.approx(-math.copysign(refinement.LEARNING_RATE, slope), rel=0.1)
            moved += 1
    assert moved >= len(quantized) / 2
    for name in ("blocks.0.attn.q_gain", "blocks.1.mlp_scale"):
        step = 1e-2
        up, down = SMALL[name].clone(), SMALL[name].clone()
        up.view(-1)[0] += step
        down.view(-1)[0] -= step
        slope = divergence(quantized, SMALL | {name: up}) - divergence(quantized, SMALL | {name: down})
        shift = float(refined.small_tensors[name].view(-1)[0] - SMALL[name].view(-1)[0])
        assert shift == pytest.approx(-math.copysign(refinement.LEARNING_RATE, slope), abs=2**-9 * float(up.max()))


@pytest.mark.parametrize(("time_left_s", "steps"), [(None, 6), (1e6, 6), (1e-9, 1)])
def test_steps_end_with_the_time(time_left_s, steps):
    assert refine(round_weights(0.7), time_left_s=time_left_s).steps == steps


def test_a_model_that_steps_do_not_improve_stays_as_it_was(capfd):
    exact = {
        name: QuantizedTensor(WEIGHTS[name].sign().to(torch.int8), torch.ones(len(WEIGHTS[name])).half())
        for name in INPUTS
    }
    weights = {name: quantized_tensor.dequantize(qtensor) for name, qtensor in exact.items()}
    weights |= {name: tensor.half().float() for name, tensor in SMALL.items()}
    refined = refinement.refine_scalars(weights, exact, SMALL, MODEL_CONFIG, WINDOWS, steps=2)
    assert (refined.quantized, refined.small_tensors) == (exact, SMALL)
    assert "so the model stays as it was" in capfd.readouterr().err


def test_predictions_that_are_not_finite_are_refused():
    small = SMALL | {"skip_weights": torch.full_like(SMALL["skip_weights"], math.nan)}
    with pytest.raises(DivergenceError, match="predictions are not finite"):
        refine(round_weights(0.7), small=small)


def test_a_row_scale_beyond_fp16_stays_as_it_is():
    quantized = round_weights(0.7)
    name = "blocks.0.mlp.fc.weight"
    scales_O = quantized[name].row_scales.clone()
    scales_O[0], scales_O[1] = 65504.0, 6.104e-05
    codes = quantized[name].codes.clone()
    codes[:2] = 0
    refined = refine(quantized | {name: QuantizedTensor(codes, scales_O)}, steps=6).quantized[name].row_scales
    assert refined.isfinite().all()
    assert (refined >= torch.finfo(torch.float16).smallest_normal).all()
