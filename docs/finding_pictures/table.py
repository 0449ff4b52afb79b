"""Which picture each page has: what it shows, the line below it, and that line as a condition on the numbers. Data only.

A picture is not drawn where its condition does not hold, so that no page says what cannot be seen.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

from docs.finding_pictures import measures as of
from docs.finding_pictures.values import Measure

Heights = tuple[float, ...]
Condition = Callable[[Heights, Heights], bool]
"""Of the example's numbers and the healthy one's."""


@dataclass(frozen=True)
class Picture:
    measure: Measure
    caption: str
    holds: Condition
    steps: int = 80
    loss_tells: bool = True
    """False: the loss of both ends within 15 %, and the line says so."""

    @property
    def title(self) -> str:
        """What is drawn, for who cannot see it."""
        up = self.measure.up
        return f"{up[:1].upper()}{up[1:]}: the example and the nearest healthy one"

    @property
    def line(self) -> str:
        """Below the picture."""
        return self.caption if self.loss_tells else f"{self.caption} The loss does not tell."


def end(losses: Heights) -> float:
    """The mean of the last ten."""
    return sum(losses[-10:]) / len(losses[-10:])


def ends_higher(example: Heights, healthy: Heights) -> bool:
    return end(example) > 1.5 * end(healthy) > 0


def stands_still(example: Heights, healthy: Heights) -> bool:
    """The example moves by less than a tenth, and the healthy one ends lower by a fifth."""
    return abs(end(example) - sum(example[:10]) / 10) < 0.1 * example[0] and end(healthy) < 0.8 * end(example)


def ends_near(low: float, high: float) -> Condition:
    """The example ends between these, and above the healthy one."""
    return lambda example, healthy: low < end(example) < high and ends_higher(example, healthy)


def is_finite(heights: Heights) -> bool:
    return all(map(math.isfinite, heights))


def breaks(example: Heights, healthy: Heights) -> bool:
    return is_finite(healthy) and not is_finite(example)


def is_nothing_somewhere(example: Heights, healthy: Heights) -> bool:
    """At a place where the healthy one has something."""
    return any(e <= 1e-6 * max(healthy) and h > 0.05 * max(healthy) for e, h in zip(example, healthy, strict=True))


PICTURES = {
    # ------------------------------------------------------------------------------------------ numbers
    "nonfinite-input": Picture(
        of.LOSS,
        "From the batch with the NaN on, every loss is NaN: the step has spoilt all weights.",
        lambda example, healthy: is_finite(example[:3] + healthy) and all(map(math.isnan, example[3:])),
    ),
    "nonfinite-forward": Picture(
        of.SPOILT_OUTPUTS,
        "The first layer's output is finite; behind the logarithm everything is NaN or Inf.",
        lambda example, healthy: example == (0, 100) and max(healthy) == 0,
        steps=1,
    ),
    "nonfinite-loss": Picture(of.LOSS, "The loss of some batches is Inf or NaN; the healthy one's never is.", breaks),
    "nonfinite-backward": Picture(
        of.SPOILT_GRADIENTS,
        "The first batch with two equal points: the gradients before the root are NaN, those behind it are not.",
        lambda example, healthy: example == (100, 0) and max(healthy) == 0,
        steps=4,
    ),
    "nonfinite-step": Picture(
        of.SPOILT_UPDATES,
        "The step makes the rows of tokens that do not occur NaN, and only those.",
        lambda example, healthy: example[0] > 50 and example[1] == 0 == max(healthy),
        loss_tells=False,
    ),
    "scaler-skips": Picture(of.LOSS, "No step is made, and the loss stays where it was.", stands_still),
    "half-underflow": Picture(
        of.ZEROS_OF_GRADIENTS,
        "In float16 all gradients are rounded to 0; in float32 hardly any is.",
        lambda example, healthy: min(example) > 99.9 and max(healthy) < 1,
    ),
    # ------------------------------------------------------------------------------------------ who is trained
    "unregistered": Picture(
        of.LOSS, "With the layers in a plain list only the head is trained, and the loss stays high.", ends_higher
    ),
    "not-reached": Picture(
        of.GRADIENTS, "No gradient comes to the body: the cut lies between it and the loss.", is_nothing_somewhere
    ),
    "not-in-optimizer": Picture(
        of.UPDATES,
        "The last layer never moves. In the healthy one the first does not, which may be meant: the last one learns on it.",
        lambda example, healthy: example[1] == 0 < example[0] and healthy[0] == 0 < healthy[1],
    ),
    "output-layer-frozen": Picture(
        of.LOSS, "Behind a frozen output layer of zeros no layer can learn: the loss stays where it was.", stands_still
    ),
    "never-called": Picture(
        of.UPDATES, "The spare layer never moves: it has no gradient, for no forward calls it.", is_nothing_somewhere
    ),
    "never-used": Picture(
        of.UPDATES_OF_WEIGHTS,
        "The shift, which the forward leaves out, is never moved.",
        is_nothing_somewhere,
        loss_tells=False,
    ),
    "frozen-part-holds-back": Picture(
        of.LOSS,
        "With its first layer frozen the loss comes to rest early; with that trained it goes on falling.",
        ends_higher,
    ),
    "gradient-cut": Picture(
        of.gradients_by_call("cell", is_log=False),
        "Only the last step of the sequence gets a gradient; the detached state lets none pass to those before.",
        lambda example, healthy: max(example[:-1]) == 0 < min(example[-1], *healthy),
    ),
    "grad-not-zeroed": Picture(
        of.GRADIENT_NORM,
        "The gradients of all steps add up: their norm grows while the healthy one's stays what one batch makes.",
        lambda example, healthy: max(example) > 3 * max(healthy),
    ),
    # ------------------------------------------------------------------------------------------ rates
    "clip-too-low": Picture(of.LOSS, "Clipped to almost nothing, the steps leave the loss where it was.", stands_still),
    "lr-too-low": Picture(
        of.LOSS, "At 1e-8 nothing moves; at 1e-3, a small rate too, the loss falls.", stands_still, steps=120
    ),
    "group-lr-too-low": Picture(
        of.UPDATES,
        "The last layer does not move, while the first one does.",
        lambda example, healthy: example[1] < 1e-5 * example[0] and healthy[1] > 1e-2 * healthy[0],
    ),
    "lr-too-high": Picture(
        of.LOSS,
        "The loss jumps about, far above where it started; at a hundredth of the rate it falls.",
        lambda example, healthy: end(example) > 10 * example[0] and end(healthy) < 0.2 * healthy[0],
    ),
    "momentum-too-high": Picture(
        of.LOSS,
        "The loss follows late, and swings back up; with betas of (0.9, 0.999) it goes down and stays.",
        ends_higher,
    ),
    "lr-decays-too-early": Picture(
        of.LOSS, "After some ten steps the rate is all but 0, and the loss stays where it is then.", ends_higher
    ),
    "steps-undone": Picture(of.LOSS, "Every step is taken back: the loss stays where it was.", stands_still),
    "weight-decay-too-strong": Picture(
        of.LOSS,
        "The decay pulls the weights to 0 faster than they are built: the loss stays at that of guessing, ln 3 = 1.10.",
        ends_near(1.05, 1.15),
    ),
    # ------------------------------------------------------------------------------------------ scales
    "vanishing-gradient": Picture(
        of.GRADIENTS_LOG,
        "The gradient loses a large part of its size in each layer on its way down; in the healthy one it keeps it.",
        lambda example, healthy: example[0] < 1e-6 * example[-1] and healthy[0] > 1e-2 * healthy[-1],
    ),
    "exploding-gradient": Picture(
        of.gradients_by_call("hh", is_log=True),
        "On its way back, from right to left, the gradient grows more than 100,000-fold; in the healthy one it shrinks.",
        lambda example, healthy: example[0] > 1e5 * example[-1] and healthy[0] < healthy[-1],
        steps=1,
    ),
    "initial-loss-too-high": Picture(
        of.LOSS,
        "It starts far above the loss of guessing, and the first steps only take that back.",
        lambda example, healthy: example[0] > 5 * healthy[0] and end(example) < 0.1 * example[0],
    ),
    "dead-units": Picture(
        of.FIRING,
        "Six of 32 units ever fire; in the healthy one three quarters do.",
        lambda example, healthy: sum(e > 0 for e in example) == 6 and sum(h > 0 for h in healthy) == 24,
    ),
    "saturated": Picture(
        of.HISTOGRAM_OF_TANH,
        "Nearly all values lie at -1 and 1, where the tanh is flat; in the healthy one they spread between.",
        lambda example, healthy: example[0] + example[-1] > 75 and healthy[0] + healthy[-1] < 50,
    ),
    "symmetric-units": Picture(
        of.UNITS,
        "All 32 units put out the same, after any number of steps; in the healthy one each its own.",
        lambda example, healthy: max(example) - min(example) < 1e-5 and max(healthy) - min(healthy) > 0.5,
    ),
    "no-nonlinearity": Picture(
        of.ALONG_A_LINE,
        "However many layers, the output is a straight line in its input; with activations it can bend.",
        lambda example, healthy: is_straight(example) and not is_straight(healthy),
    ),
    "tie-broken": Picture(
        of.WEIGHTS_APART,
        "Embedding and head start equal and part from each other; shared, they stay one.",
        lambda example, healthy: example[-1] > 10 > max(healthy) == 0,
        loss_tells=False,
    ),
    "norm-wipes-input": Picture(
        of.SPREAD_OVER_SAMPLES,
        "Behind the normalisation (layer 1) all samples look the same.",
        lambda example, healthy: example[0] > 0.1 > 1e-4 > max(example[1:]) and min(healthy) > 0.1,
    ),
    # ------------------------------------------------------------------------------------------ modes
    "norm-in-eval": Picture(
        of.SCALES_OF_OUTPUTS,
        "The normalisation puts out what it gets; the healthy one brings it to a standard deviation of 1.",
        lambda example, healthy: (
            abs(example[1] / example[0] - 1) < 0.05 and abs(healthy[1] - 1) < 0.05 < abs(healthy[0] - 1)
        ),
        steps=1,
    ),
    "model-in-eval": Picture(
        of.ZEROS_OF_OUTPUTS,
        "The dropout (layer 2) drops nothing: behind it are as many zeros as before it.",
        lambda example, healthy: example[1] == example[2] and healthy[2] > healthy[1] + 10,
    ),
    "dropout-too-high": Picture(
        of.LOSS_SMOOTH, "With 95 % dropped most of what passes is noise, and the loss hardly falls.", ends_higher
    ),
    "dropout-on-output": Picture(
        of.LOSS_SMOOTH,
        "With three tenths of the predictions put to 0, the loss cannot fall below that noise.",
        ends_higher,
    ),
    "dropout-in-eval": Picture(
        of.TWO_EVALUATIONS,
        "The same model says something else of the same sample each time, in eval mode; the healthy one the same.",
        lambda example, healthy: min(example) > 0.01 and max(healthy) == 0,
        loss_tells=False,
    ),
    # ------------------------------------------------------------------------------------------ output and loss
    "double-softmax": Picture(
        of.LOSS, "The loss nears its floor of 0.55, and cannot get below it.", ends_near(0.55, 0.75)
    ),
    "sigmoid-into-cross-entropy": Picture(
        of.LOSS, "The loss nears its floor of 0.55, and cannot get below it.", ends_near(0.55, 0.75)
    ),
    "relu-into-cross-entropy": Picture(
        of.LOSS, "With no logit below 0 the loss falls slowly, and stays higher.", ends_higher
    ),
    "double-sigmoid": Picture(
        of.LOSS,
        "The loss stays high above the healthy one's: with logits of 0 to 1 a sample without the class costs 0.69 at least.",
        ends_higher,
    ),
    "logits-too-narrow": Picture(
        of.LOSS, "With logits from -0.1 to 0.1 the loss stays near the 2.30 of guessing.", ends_near(2.1, 2.3)
    ),
    "nll-on-logits": Picture(
        of.LOSS,
        "The loss falls below 0 and on without end, which no likelihood of classes can.",
        lambda example, healthy: end(example) < -10 < 0 <= min(healthy),
    ),
    "kl-on-probabilities": Picture(
        of.LOSS,
        "The loss is below 0 from the start, which no divergence can be.",
        lambda example, healthy: max(example) < 0 <= end(healthy),
    ),
    "soft-targets-do-not-sum-to-one": Picture(
        of.ROW_SUMS,
        "The rows of the targets sum to 1.2 and up to 2.2; those of probabilities to 1.",
        lambda example, healthy: min(example) > 1.19 and max(abs(h - 1) for h in healthy) < 1e-5,
        steps=1,
    ),
    "softmax-wrong-dim": Picture(
        of.ATTENTION_SUMS,
        "The weights with which a position looks at the others do not sum to 1.",
        lambda example, healthy: max(abs(e - 1) for e in example) > 0.1 and max(abs(h - 1) for h in healthy) < 1e-5,
        loss_tells=False,
    ),
    "broadcast-in-loss": Picture(
        of.LOSS_SMOOTH,
        "The best answer to all targets at once is their mean: the loss stays near their variance, 1.",
        ends_near(0.6, 1.5),
    ),
    "layout-mixup": Picture(
        of.LOSS,
        "Classes and positions are mixed up: the loss stays near that of guessing, ln 5 = 1.61.",
        ends_near(1.55, 1.67),
    ),
    "output-range": Picture(
        of.LOSS_SMOOTH,
        "Half of the targets lie below 0, where a ReLU cannot get: the loss rests at what they cost, 2.",
        ends_near(1.5, 2.5),
    ),
    "loss-maximised": Picture(
        of.RIGHT_ANSWERS,
        "While its loss falls, the right answers become fewer than by guessing, which is a third.",
        lambda example, healthy: example[-1] < 25 and healthy[-1] > 90,
    ),
    "loss-over-padding": Picture(
        of.COUNTED_PADDING,
        "Towards the end of the sequence the loss counts nothing but padding; with ignore_index none of it is.",
        lambda example, healthy: example[-1] == 100 and max(healthy) == 0,
        steps=1,
    ),
    "mask-hides-wrong-part": Picture(
        of.HEARD_TOKENS,
        "No token but the first, whose own place is read, changes what the model says; in the healthy one every token does.",
        lambda example, healthy: example[0] == 100 and max(example[1:]) == 0 and min(healthy) > 90,
    ),
    "ctc-too-short": Picture(
        of.LOSS,
        "The loss is 0 from the start, for no sample has frames enough; with enough of them there is something to learn.",
        lambda example, healthy: max(example) == 0 and end(healthy) < 0.5 * healthy[0],
    ),
    "term-without-gradient": Picture(
        of.LOSS, "The term without a graph counts in the loss, and is never made less.", ends_higher
    ),
    # ------------------------------------------------------------------------------------------ leaks
    "target-not-shifted": Picture(
        of.LOSS,
        "Too good: a copy of the token takes the loss to 0. The next one is left to a coin, which costs ln 2 = 0.69.",
        lambda example, healthy: end(example) < 0.02 and 0.66 < end(healthy) < 0.74,
    ),
    "future-leak": Picture(
        of.MOVED_BY_POSITION,
        "Another token at position 6 changes the output at position 5, which is to foretell it.",
        lambda example, healthy: example[4] > 0.1 and max(healthy[:5]) == 0,
    ),
    "batch-leak": Picture(
        of.MOVED_BY_SAMPLE,
        "Another sample 8 changes what the model says of those after it; in the healthy one only of itself.",
        lambda example, healthy: min(example[7:10]) > 1e-3 and [h > 0 for h in healthy] == [k == 7 for k in range(24)],
        steps=1,
    ),
    "order-invisible": Picture(
        of.LOSS, "The answer is in the order, which the model cannot see: the loss stays high.", ends_higher
    ),
    "size-invisible": Picture(
        of.LOSS, "How large a sample is, is asked, and the model cannot see it: the loss stays high.", ends_higher
    ),
    # ------------------------------------------------------------------------------------------ data
    "input-not-scaled": Picture(
        of.LOSS_LOG,
        "The one large column makes losses of more than 100,000, and every step goes into that.",
        lambda example, healthy: max(example) > 1e5 and ends_higher(example, healthy),
    ),
    "target-not-scaled": Picture(
        of.LOSS_LOG, "The loss is that of the offset, and hardly falls; the healthy one is learnt.", stands_still
    ),
    "constant-input": Picture(
        of.SPREAD_OVER_SAMPLES,
        "No layer's output differs from sample to sample.",
        lambda example, healthy: max(example) < 1e-6 and min(healthy) > 0.1,
    ),
    "data-changed-by-reading": Picture(
        of.DATA_DRIFT,
        "The stored data moves away at each reading; in the healthy one it stays.",
        lambda example, healthy: example[-1] > 0.15 and max(healthy) == 0,
    ),
    "constant-target": Picture(
        of.LOSS,
        "Too good: always saying the one class takes the loss to 0, and nothing is learnt.",
        lambda example, healthy: end(example) < 0.02 < end(healthy),
    ),
    "one-token": Picture(
        of.TOKENS,
        "Nearly all tokens are one and the same.",
        lambda example, healthy: example[0] > 95 and healthy[0] < 35,
        steps=1,
    ),
    "single-class-batches": Picture(
        of.LOSS,
        "The loss falls while one class comes, and jumps when the next one begins.",
        lambda example, healthy: largest_rise(example) > 0.5 > 0.3 > largest_rise(healthy),
    ),
    "predicts-one-class": Picture(
        of.RECALLS,
        "Of the rare class none is told; weighed up, most of it is.",
        lambda example, healthy: example[1] == 0 and healthy[1] > 50,
    ),
    "labels-unrelated": Picture(
        of.LOSS_SMOOTH,
        "What does not follow from the inputs cannot be learnt: the loss stays at that of guessing, ln 3 = 1.10.",
        ends_near(1.05, 1.15),
    ),
    "validation-leak": Picture(
        of.NEAREST_IN_TRAINING,
        "Each sample of the validation lies in the training data too, at a distance of 0.",
        lambda example, healthy: max(example) == 0 < 0.3 < min(healthy),
        steps=1,
    ),
    "validation-random": Picture(
        of.VALIDATIONS,
        "The loss of one and the same model is another one at each validation; without augmentation it is the same.",
        lambda example, healthy: max(example) > 1.05 * min(example) and max(healthy) == min(healthy),
    ),
}


def is_straight(heights: Heights) -> bool:
    """Equally spaced points on a line, but for rounding."""
    bends = [abs(a - 2 * b + c) for a, b, c in zip(heights, heights[1:], heights[2:], strict=False)]
    return max(bends) < 1e-5 * (max(heights) - min(heights))


def largest_rise(heights: Heights) -> float:
    """From one place to the next."""
    return max(after - before for before, after in itertools.pairwise(heights))
