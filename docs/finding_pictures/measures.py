"""What can be shown, by name, with the words of its axes. Data only."""

from __future__ import annotations

from dataclasses import replace

from docs.finding_pictures import by_layer, by_place, over_steps
from docs.finding_pictures.values import Form, Measure
from gradscope.protocol.subjects import SubjectKind

_CURVES, _BARS = Form.CURVES, Form.BARS

LOSS = Measure(form=_CURVES, up="loss", along="step", of=over_steps.losses)
LOSS_SMOOTH = Measure(form=_CURVES, up="loss, mean of the last 8 steps", along="step", of=over_steps.smooth_losses)
LOSS_LOG = Measure(form=_CURVES, up="loss", along="step", of=over_steps.losses, is_log=True)
GRADIENT_NORM = Measure(form=_CURVES, up="norm of the gradient", along="step", of=over_steps.gradient_norms)
RIGHT_ANSWERS = Measure(
    form=_CURVES, up="right answers, %", along="step", of=over_steps.watched, watch=over_steps.right_answers
)
WEIGHTS_APART = Measure(
    form=_CURVES, up="distance of the two weights, %", along="step", of=over_steps.watched, watch=over_steps.apart
)
DATA_DRIFT = Measure(
    form=_CURVES, up="distance of the data from its start", along="step", of=over_steps.watched, watch=over_steps.drift
)
VALIDATIONS = Measure(
    form=_CURVES, up="loss over the validation data", along="validation of the same model", of=over_steps.validations
)
ALONG_A_LINE = Measure(
    form=_CURVES, up="first output, after training", along="second input, the others at 0", of=over_steps.along_a_line
)

GRADIENTS = Measure(
    form=_BARS,
    up="norm of the gradient, mean over the steps",
    along="layer",
    of=by_layer.by_layer(SubjectKind.GRAD, False),
)
GRADIENTS_LOG = replace(GRADIENTS, is_log=True)
UPDATES = Measure(
    form=_BARS, up="size of a step, per weight", along="layer", of=by_layer.by_layer(SubjectKind.UPDATE, True)
)
UPDATES_OF_WEIGHTS = Measure(
    form=_BARS, up="size of a step, per weight", along="parameter", of=by_layer.updates_of_weights
)
SPOILT_OUTPUTS = Measure(
    form=_BARS, up="NaN and Inf, %", along="output of layer", of=by_layer.spoilt(0, SubjectKind.ACTIVATION)
)
SPOILT_GRADIENTS = Measure(
    form=_BARS, up="NaN and Inf, %", along="gradient of parameter", of=by_layer.spoilt(1, SubjectKind.GRAD)
)
SPOILT_UPDATES = Measure(
    form=_BARS, up="NaN and Inf, %", along="update of parameter", of=by_layer.spoilt(2, SubjectKind.UPDATE)
)
ZEROS_OF_GRADIENTS = Measure(
    form=_BARS, up="gradients that are exactly 0, %", along="parameter", of=by_layer.zeros_of_gradients
)
ZEROS_OF_OUTPUTS = Measure(
    form=_BARS,
    up="zeros in the output, %",
    along="layer",
    of=by_layer.of_outputs(lambda output: 100 * (output == 0).double().mean().item()),
)
SCALES_OF_OUTPUTS = Measure(
    form=_BARS,
    up="standard deviation of the output",
    along="layer",
    of=by_layer.of_outputs(lambda output: output.std().item()),
)
SPREAD_OVER_SAMPLES = Measure(
    form=_BARS, up="spread of the output over samples", along="layer", of=by_layer.of_outputs(by_layer.spread)
)


def gradients_by_call(layer: str, *, is_log: bool) -> Measure:
    return Measure(
        form=_BARS,
        up="norm of the gradient in step 0",
        along="step of the sequence",
        of=by_layer.by_call(layer),
        is_log=is_log,
    )


FIRING = Measure(
    form=_BARS, up="samples for which it fires, %", along="unit of the ReLU, the busiest first", of=by_place.firing
)
UNITS = Measure(form=_BARS, up="output for one sample", along="unit of the tanh", of=by_place.units_of_one_sample)
HISTOGRAM_OF_TANH = Measure(
    form=_BARS, up="share of the values, %", along="output of the tanh", of=by_place.histogram_of_tanh
)
TWO_EVALUATIONS = Measure(
    form=_BARS, up="distance of two outputs in eval mode", along="sample", of=by_place.between_two_evaluations
)
ROW_SUMS = Measure(form=_BARS, up="sum of the target's row", along="sample", of=by_place.row_sums)
ATTENTION_SUMS = Measure(
    form=_BARS, up="sum of its attention weights", along="position of one sample", of=by_place.attention_sums
)
MOVED_BY_SAMPLE = Measure(
    form=_BARS, up="change when sample 8 is another one", along="output of sample", of=by_place.moved_by_sample
)
MOVED_BY_POSITION = Measure(
    form=_BARS, up="change when token 6 is another one", along="output at position", of=by_place.moved_by_position
)
HEARD_TOKENS = Measure(
    form=_BARS, up="outputs that change with the token, %", along="position of the token", of=by_place.heard_tokens
)
COUNTED_PADDING = Measure(
    form=_BARS, up="samples whose padding counts, %", along="position in the sequence", of=by_place.counted_padding
)
TOKENS = Measure(form=_BARS, up="share of all tokens, %", along="token, the most frequent first", of=by_place.tokens)
RECALLS = Measure(form=_BARS, up="told right, %", along="class", of=by_place.recalls)
NEAREST_IN_TRAINING = Measure(
    form=_BARS,
    up="distance to the nearest training sample",
    along="sample of the validation",
    of=by_place.nearest_in_training,
)
