"""Every finding that there is, in the words that a person reads. Data only.

`title` says it plainly, `why` what it does to a training, `do` what helps where a rule has no better line for the model at
hand. The documentation has a page for each, with a minimal example, and the source of every threshold.
"""

from __future__ import annotations

from dataclasses import dataclass

from gradscope.protocol.findings import Certainty, Severity, Source

_E, _W, _I = Severity.ERROR, Severity.WARNING, Severity.INFO
_EXACT, _WINDOW, _TRIED = Certainty.EXACT, Certainty.WINDOW, Certainty.EXPERIMENT
_M, _X, _D = Source.MONITOR, Source.EXPERIMENT, Source.DATA


@dataclass(frozen=True)
class Entry:
    id: str
    title: str
    severity: Severity
    certainty: Certainty
    source: Source
    why: str
    do: str


_ENTRIES = (
    # ------------------------------------------------------------------------------------------ numbers
    Entry(
        "nonfinite-input", "The data holds NaN or Inf", _E, _EXACT, _M,
        "One such value makes the loss, and with the first step every weight, NaN.",
        "Look at the rows that are not finite, and drop or fill them before training.",
    ),
    Entry(
        "nonfinite-forward", "The first NaN or Inf is made in the forward pass", _E, _EXACT, _M,
        "Everything behind it is not finite either, and the next step spoils every weight.",
        "Guard the operation (a clamp, an eps), or compute it in a wider type.",
    ),
    Entry(
        "nonfinite-loss", "The first NaN or Inf is made in the loss", _E, _EXACT, _M,
        "All layers are finite, and the loss is not: no gradient can be trusted.",
        "Use the fused form of the loss (with logits), which never takes log(0).",
    ),
    Entry(
        "nonfinite-backward", "The first NaN or Inf is made on the way back", _E, _EXACT, _M,
        "The loss is finite and a gradient is not: the next step makes the weights NaN.",
        "Put an eps inside the square root, the norm or the division: its derivative is infinite at 0.",
    ),
    Entry(
        "nonfinite-step", "The first NaN or Inf is made by the optimizer", _E, _EXACT, _M,
        "The gradient is finite, and what the optimizer makes of it is not.",
        "Keep the weights in float32, or give the optimizer an eps that its type can hold.",
    ),
    Entry(
        "scaler-skips", "The GradScaler leaves out every step", _E, _WINDOW, _M,
        "A gradient is infinite at any scale, so no step is made and nothing is trained.",
        "Find the operation with the infinite derivative, and guard it.",
    ),
    Entry(
        "half-underflow", "Gradients vanish in float16", _E, _WINDOW, _M,
        "Most of their elements are rounded to 0, and those weights stay as they are.",
        "Scale the loss (GradScaler), keep the weights in float32, or use bfloat16.",
    ),
    # ------------------------------------------------------------------------------------------ who is trained
    Entry(
        "unregistered", "Tensors are used that the model does not know", _E, _EXACT, _X,
        "They get gradients and are never trained; state_dict(), .to() and .train() miss them.",
        "Hold them in nn.ModuleList, nn.ModuleDict or nn.Parameter.",
    ),
    Entry(
        "not-reached", "A layer's parameters never get a gradient", _E, _WINDOW, _M,
        "Its output is used, but the graph is cut behind it: it never learns.",
        "Look for .detach(), .data, .item(), numpy or no_grad() behind it.",
    ),
    Entry(
        "not-in-optimizer", "It gets gradients, and no optimizer has it", _E, _WINDOW, _M,
        "It stays as it was made.",
        "Give it to the optimizer, or requires_grad_(False) if that is wanted.",
    ),
    Entry(
        "output-layer-frozen", "The last layer is frozen and knows nothing", _W, _TRIED, _X,
        "A random output layer that may not learn holds back everything before it.",
        "requires_grad_(True) for it.",
    ),
    Entry(
        "never-called", "A layer with parameters never runs", _I, _WINDOW, _M,
        "Its parameters are not trained by this forward.",
        "If it is to run, call it in forward().",
    ),
    Entry(
        "never-used", "The forward ignores some parameters", _I, _WINDOW, _M,
        "They get no gradient.",
        "If they are to be trained, use them in forward().",
    ),
    Entry(
        "frozen-part-holds-back", "Frozen layers limit the result", _I, _TRIED, _X,
        "With them trained along, the loss gets lower.",
        "Thaw them if that was not meant.",
    ),
    Entry(
        "gradient-cut", "An early input matters, but cannot be learnt from", _W, _EXACT, _X,
        "What lies before the cut does not learn from what comes after it.",
        "Remove .detach(), .data, .item() or no_grad() inside the loop over time.",
    ),
    Entry(
        "grad-not-zeroed", "Gradients are added up over the steps", _E, _WINDOW, _M,
        "Every step repeats all the gradients before it.",
        "Call optimizer.zero_grad() once a step.",
    ),
    # ------------------------------------------------------------------------------------------ rates
    Entry(
        "clip-too-low", "Clipping leaves nothing of the gradient", _W, _WINDOW, _M,
        "Every step is cut to a small part, and the weights hardly move.",
        "Clip at about the usual norm of the gradients.",
    ),
    Entry(
        "lr-too-low", "The learning rate is too small to get anywhere", _W, _TRIED, _X,
        "The weights stay where they started.",
        "Raise the rate.",
    ),
    Entry(
        "group-lr-too-low", "One parameter group stands still", _W, _TRIED, _X,
        "This part of the model is not trained, while the rest is.",
        "Were the rates of the groups swapped?",
    ),
    Entry(
        "lr-too-high", "Steps overshoot", _W, _TRIED, _X,
        "The loss jumps about, or grows without end.",
        "Lower the rate.",
    ),
    Entry(
        "momentum-too-high", "Steps go on for too long", _W, _TRIED, _X,
        "Each step is an average over hundreds of gradients: the training follows late, and swings far beyond its goal.",
        "Use a momentum of 0.9; for Adam, betas=(0.9, 0.999).",
    ),
    Entry(
        "lr-decays-too-early", "The schedule is over long before the training", _W, _TRIED, _X,
        "The rest of the training does nothing.",
        "Is the scheduler stepped per batch, but meant per epoch?",
    ),
    Entry(
        "steps-undone", "Something takes the optimizer's steps back", _E, _EXACT, _X,
        "Before each step the parameters are again as they were before the last one: nothing is learnt.",
        "Look for code that writes to the parameters: an average of weights, a checkpoint or a copy that is put back.",
    ),
    Entry(
        "weight-decay-too-strong", "Weight decay wins against the gradient", _W, _TRIED, _X,
        "The weights are pulled to zero faster than they can be built.",
        "Use a weight_decay from 0 to 0.1.",
    ),
    # ------------------------------------------------------------------------------------------ scales
    Entry(
        "vanishing-gradient", "The gradient dies on its way down", _W, _WINDOW, _M,
        "The first layers do not learn.",
        "Use ReLU-like activations, an initialisation for them, normalisation, or residual connections.",
    ),
    Entry(
        "exploding-gradient", "The gradient grows out of proportion", _W, _WINDOW, _M,
        "A tiny change of the weights changes the loss completely: steps lead anywhere.",
        "Bring the gain of the recurrent or residual path to 1, normalise, or set clip_norm.",
    ),
    Entry(
        "initial-loss-too-high", "It starts with a loud wrong opinion", _W, _WINDOW, _M,
        "The first steps only unlearn what the random weights say.",
        "Start the output layer with small weights, or with zeros.",
    ),
    Entry(
        "dead-units", "Most units of a layer never fire", _W, _WINDOW, _M,
        "A unit that is never positive gets no gradient, and does not come back.",
        "Look at its biases and its initialisation; LeakyReLU or GELU keep a gradient.",
    ),
    Entry(
        "saturated", "A layer sits in the flat parts of its function", _W, _WINDOW, _M,
        "Where the function is flat, no gradient passes.",
        "Smaller initial weights, scaled inputs, or a normalisation before it.",
    ),
    Entry(
        "symmetric-units", "All units of a layer are the same", _E, _EXACT, _M,
        "Units that start equal stay equal: the layer has one unit.",
        "Initialise it at random.",
    ),
    Entry(
        "no-nonlinearity", "Several layers act as one", _W, _EXACT, _X,
        "Without an activation between them, several linear layers can do no more than one.",
        "Put an activation between the layers.",
    ),
    Entry(
        "tie-broken", "Weights that were to be shared drift apart", _W, _WINDOW, _M,
        "They started equal, and each is trained for itself.",
        "Assign the parameter itself, not a copy of it.",
    ),
    Entry(
        "norm-wipes-input", "A normalisation wipes its input out", _E, _WINDOW, _M,
        "What it puts out does not depend on the sample any more: nothing before it can be learnt from.",
        "Normalise over more than one element: another dimension, more groups, or another layer.",
    ),
    # ------------------------------------------------------------------------------------------ modes
    Entry(
        "norm-in-eval", "Batch normalisation does nothing", _E, _EXACT, _M,
        "It is in eval mode with statistics that were never taken: it normalises by 0 and 1.",
        "Call model.train() before training; keep eval mode for pretrained statistics only.",
    ),
    Entry(
        "model-in-eval", "The model trains in eval mode", _E, _EXACT, _M,
        "Dropout is off, and batch normalisation takes no statistics.",
        "Call model.train() before the training loop.",
    ),
    Entry(
        "dropout-too-high", "Hardly anything passes the dropout", _W, _EXACT, _M,
        "What passes is multiplied many times, and most of it is noise.",
        "p is the probability to drop, not to keep: use 0.1 to 0.5.",
    ),
    Entry(
        "dropout-on-output", "A dropout stands behind the output", _W, _EXACT, _M,
        "Predictions are put to 0 at random, and the others are too large: the loss cannot get below this noise.",
        "Put the dropout before the last layer with weights.",
    ),
    Entry(
        "dropout-in-eval", "Dropout is active in eval mode", _E, _EXACT, _X,
        "Validation and predictions are random, and too bad.",
        "Pass training=self.training to the function.",
    ),
    # ------------------------------------------------------------------------------------------ output and loss
    Entry(
        "double-softmax", "The loss applies a softmax to probabilities", _E, _EXACT, _M,
        "cross_entropy applies log-softmax itself: the loss has a high floor, and its gradients are small.",
        "Return the logits.",
    ),
    Entry(
        "sigmoid-into-cross-entropy", "Logits are squeezed by a sigmoid", _E, _EXACT, _M,
        "With a range of 1 the logits cannot get far apart: the loss has a high floor.",
        "Remove the sigmoid before the loss.",
    ),
    Entry(
        "relu-into-cross-entropy", "Logits are cut off by a ReLU", _E, _EXACT, _M,
        "A class can never be voted down.",
        "Remove the last ReLU.",
    ),
    Entry(
        "double-sigmoid", "A sigmoid is applied twice", _E, _EXACT, _M,
        "binary_cross_entropy_with_logits applies it itself: the loss has a floor, and its gradients are small.",
        "Return the logits.",
    ),
    Entry(
        "logits-too-narrow", "Logits cannot get far enough apart", _W, _EXACT, _M,
        "They are cosines times a small number: whatever is learnt, the loss stays near that of guessing.",
        "Divide the cosines by a temperature of 0.05 to 0.2.",
    ),
    Entry(
        "nll-on-logits", "nll_loss gets no log-probabilities", _E, _EXACT, _M,
        "Without log-softmax the loss has no floor: it falls without anything being learnt.",
        "Use cross_entropy, or log_softmax before it.",
    ),
    Entry(
        "kl-on-probabilities", "kl_div gets no logarithms", _E, _EXACT, _M,
        "kl_div takes for granted that its input is log-probabilities.",
        "Pass log_softmax(...) as its input.",
    ),
    Entry(
        "soft-targets-do-not-sum-to-one", "Target rows are no probabilities", _W, _EXACT, _M,
        "cross_entropy weighs the samples by the sums of their rows.",
        "Divide each row by its sum.",
    ),
    Entry(
        "softmax-wrong-dim", "A softmax is taken over the wrong dimension", _E, _EXACT, _M,
        "The weights of one row do not sum to 1.",
        "Give the softmax the dimension that is summed over next.",
    ),
    Entry(
        "broadcast-in-loss", "Every prediction meets every target", _E, _EXACT, _M,
        "The shapes differ, and broadcasting compares each with all: the best answer is their mean.",
        "Give both the same shape: squeeze(-1) or unsqueeze(-1).",
    ),
    Entry(
        "layout-mixup", "A view stands where a transpose was meant", _E, _EXACT, _M,
        "Classes and positions are mixed up.",
        "Use transpose() or permute() in place of view() or reshape().",
    ),
    Entry(
        "output-range", "Targets lie where the output cannot get", _W, _EXACT, _M,
        "These targets can never be reached.",
        "Remove the last activation, or scale the targets.",
    ),
    Entry(
        "loss-maximised", "Training makes the model worse", _E, _WINDOW, _M,
        "The sign of the loss is wrong.",
        "Negate the loss.",
    ),
    Entry(
        "loss-over-padding", "Most of the loss is padding", _W, _EXACT, _X,
        "The model is mostly trained to say padding, and the loss looks better than it is.",
        "Give the loss ignore_index, or mask it.",
    ),
    Entry(
        "mask-hides-wrong-part", "A mask hides what should be seen", _W, _EXACT, _X,
        "The model sees padding and not the tokens.",
        "True in a key padding mask means: leave this one out. Invert it.",
    ),
    Entry(
        "ctc-too-short", "CTC gets fewer frames than labels", _W, _EXACT, _M,
        "The loss of such a sample is infinite, or 0 with zero_infinity: nothing is learnt by it.",
        "Keep more frames: a smaller stride, less pooling, or upsampling before the loss.",
    ),
    Entry(
        "term-without-gradient", "A term of the loss teaches nothing", _W, _EXACT, _M,
        "It is made of a derivative that has no graph: for the parameters it is a constant.",
        "Pass create_graph=True to torch.autograd.grad.",
    ),
    # ------------------------------------------------------------------------------------------ leaks
    Entry(
        "target-not-shifted", "A causal model is asked for its own input", _E, _EXACT, _X,
        "It learns to copy the token that it was just given.",
        "Shift: inputs s[:-1], targets s[1:].",
    ),
    Entry(
        "future-leak", "The answer is visible to the model", _E, _EXACT, _X,
        "It can look the next token up, and learns nothing that holds when it cannot.",
        "Give the attention a causal mask.",
    ),
    Entry(
        "batch-leak", "Samples of a batch see each other", _E, _EXACT, _X,
        "What the model says of a sample depends on who stands beside it.",
        "Check the dimension arguments here: softmax, view, permute, batch_first.",
    ),
    Entry(
        "order-invisible", "The model cannot see the order, and the answer is in it", _W, _EXACT, _X,
        "Its output is the same for any order of the sequence, while the targets depend on the order.",
        "Add positions to what goes into the attention or the pooling.",
    ),
    Entry(
        "size-invisible", "The model cannot see how large a sample is, and that is the answer", _W, _EXACT, _X,
        "Each sample is normalised by its own numbers, and the targets depend on just these.",
        "Normalise by numbers of the whole training data.",
    ),
    # ------------------------------------------------------------------------------------------ data
    Entry(
        "input-not-scaled", "The inputs are on very different scales", _W, _TRIED, _X,
        "One column drowns the others.",
        "Standardise the inputs.",
    ),
    Entry(
        "target-not-scaled", "The targets are far from 0, or one drowns the others", _W, _WINDOW, _D,
        "All steps are spent on the offset.",
        "Standardise the targets, and undo it for predictions.",
    ),
    Entry(
        "constant-input", "All samples have the same input", _E, _EXACT, _D,
        "The model cannot tell the samples apart.",
        "Look at the dataset's __getitem__: does it use its index?",
    ),
    Entry(
        "data-changed-by-reading", "Reading a sample changes it", _W, _WINDOW, _D,
        "The data itself is written to: from epoch to epoch the samples drift away.",
        "Copy the sample before it is changed: x = self.x[i].clone(), or x = x + noise in place of x += noise.",
    ),
    Entry(
        "constant-target", "All samples have the same target", _E, _EXACT, _D,
        "There is nothing to learn.",
        "Look at how the targets are made.",
    ),
    Entry(
        "one-token", "Nearly all tokens are the same", _E, _WINDOW, _D,
        "The text does not reach the model.",
        "Check that the tokenizer and the vocabulary fit the data.",
    ),
    Entry(
        "single-class-batches", "The data comes class by class", _W, _WINDOW, _D,
        "Each batch pulls the model to one answer.",
        "Shuffle the data.",
    ),
    Entry(
        "predicts-one-class", "Only the majority is ever said", _W, _WINDOW, _M,
        "With so few of the others, always saying the same is a cheap answer; accuracy hides it.",
        "Weigh the classes, sample evenly, or move the threshold; look at the recall of the rare class.",
    ),
    Entry(
        "labels-unrelated", "The targets do not follow from the inputs", _W, _TRIED, _X,
        "They can be learnt by heart, and nothing else.",
        "Compare inputs and targets of single samples by eye: are they shuffled, or shifted against each other?",
    ),
    Entry(
        "validation-leak", "Samples of the validation are in the training data", _W, _EXACT, _D,
        "The validation is too good.",
        "Split before anything is duplicated.",
    ),
    Entry(
        "validation-random", "The validation data changes at random", _W, _EXACT, _D,
        "Two validations of the same model differ, and neither is of the data.",
        "No augmentation for the validation data.",
    ),
)  # fmt: skip

CATALOGUE = {entry.id: entry for entry in _ENTRIES}
"""By id, in the order in which a person reads them."""
