/* The attributes that the taps read and write, interned once. */

#ifndef GRADSCOPE_NAMES_H
#define GRADSCOPE_NAMES_H

#include <Python.h>

/* X(variable, text) */
#define NAMES(X)                                                                                                       \
    /* of a tensor and its graph */                                                                                    \
    X(is_cpu, "is_cpu")                                                                                                \
    X(dtype, "dtype")                                                                                                  \
    X(layout, "layout")                                                                                                \
    X(is_nested, "is_nested")                                                                                          \
    X(is_contiguous, "is_contiguous")                                                                                  \
    X(is_neg, "is_neg")                                                                                                \
    X(numel, "numel")                                                                                                  \
    X(data_ptr, "data_ptr")                                                                                            \
    X(version, "_version")                                                                                             \
    X(shape, "shape")                                                                                                  \
    X(grad, "grad")                                                                                                    \
    X(requires_grad, "requires_grad")                                                                                  \
    X(is_view, "_is_view")                                                                                             \
    X(grad_fn, "grad_fn")                                                                                              \
    X(backward_hooks, "_backward_hooks")                                                                               \
    X(register_hook_dict, "_register_hook_dict")                                                                       \
    /* of a module */                                                                                                  \
    X(own_parameters, "_parameters")                                                                                   \
    X(own_modules, "_modules")                                                                                         \
    /* of the observer and what it holds */                                                                            \
    X(record, "record")                                                                                                \
    X(is_muted, "_is_muted")                                                                                           \
    X(gradient_scale, "gradient_scale")                                                                                \
    X(listener, "listener")                                                                                            \
    X(seen_gradients, "_seen_gradients")                                                                               \
    X(gate, "gate")                                                                                                    \
    X(is_armed, "is_armed")                                                                                            \
    X(calls, "calls")                                                                                                  \
    X(stacks, "_stacks")                                                                                               \
    X(counting, "_counting")                                                                                           \
    X(tell, "tell")                                                                                                    \
    X(reasons, "_reasons")                                                                                             \
    X(handles, "_handles")                                                                                             \
    X(pending, "_pending")                                                                                             \
    X(keeps_all, "keeps_all")                                                                                          \
    X(ranks, "_ranks")                                                                                                 \
    /* of a record, a site and a slot */                                                                               \
    X(rows, "_rows")                                                                                                   \
    X(places, "_places")                                                                                               \
    X(times, "_times")                                                                                                 \
    X(lock, "_lock")                                                                                                   \
    X(summaries, "_summaries")                                                                                         \
    X(tables, "_tables")                                                                                               \
    X(number, "_number")                                                                                               \
    X(started, "_started")                                                                                             \
    X(output, "_output")                                                                                               \
    X(room, "_room")                                                                                                   \
    X(address, "address")                                                                                              \
    X(call, "call")                                                                                                    \
    X(name, "name")                                                                                                    \
    X(locked, "locked")                                                                                                \
    X(acquire, "acquire")                                                                                              \
    X(release, "release")                                                                                              \
    /* what does it in Python where something is unusual */                                                            \
    X(layer_entered, "layer_entered")                                                                                  \
    X(layer_left, "layer_left")                                                                                        \
    X(layer_lifted, "layer_lifted")                                                                                    \
    X(gradient_arrived, "gradient_arrived")                                                                            \
    X(parameter_gradient_arrived, "parameter_gradient_arrived")                                                        \
    X(parameter_gradient_seen_again, "parameter_gradient_seen_again")                                                  \
    X(after_output, "_after_output")                                                                                   \
    X(note_error, "_note_error")                                                                                       \
    X(make_room, "_make_room")                                                                                         \
    X(set_form, "set_form")                                                                                            \
    X(follow, "follow")                                                                                                \
    X(stop_here, "_stop_here")                                                                                         \
    X(pop, "pop")                                                                                                      \
    X(after, "after")

#define DECLARE(variable, text) static PyObject *n_##variable;
NAMES(DECLARE)
#undef DECLARE

static int intern_names(void) {
#define INTERN(variable, text)                                                                                         \
    if (n_##variable == NULL && (n_##variable = PyUnicode_InternFromString(text)) == NULL)                             \
        return -1;
    NAMES(INTERN)
#undef INTERN
    return 0;
}

#endif
