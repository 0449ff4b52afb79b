/* Gradients of outputs: the hook on each tensor, and what it tells. */

#ifndef GRADSCOPE_GRADIENTS_H
#define GRADSCOPE_GRADIENTS_H

/* The tensor hook of one output, and the handle that removes it. It holds nothing of the graph, nor of what holds the graph. */
typedef struct {
    PyObject_HEAD
    PyObject *slot, *taps, *hooks; /* weak references to the last two */
    long long of_pass;
} GradientTap;

static PyObject *gradient_to_python(Taps *t, PyObject *slot, long long of_pass, PyObject *gradient) {
    PyObject *pass = PyLong_FromLongLong(of_pass);
    if (pass == NULL)
        return NULL;
    PyObject *done = PyObject_CallMethodObjArgs(t->observer, n_gradient_arrived, slot, pass, gradient, NULL);
    Py_DECREF(pass);
    return done;
}

static PyObject *gradient_arrived(Taps *t, PyObject *slot, long long of_pass, PyObject *gradient) {
    enum state state = state_of(t);
    if (state == NOT_NOW)
        Py_RETURN_NONE;
    double clock;
    struct subject s;
    if (state == BROKEN)
        return NULL;
    if (state == UNKNOWN || !t->is_backward || of_pass != t->of_pass)
        return gradient_to_python(t, slot, of_pass, gradient);
    int is = is_the(t->observer, n_gradient_scale, Py_None);
    if (is == 1 && isnan(elapsed(t, &clock)))
        is = -1;
    enum outcome outcome = is == 1 ? begin_subject(t, gradient, &s) : is == 0 ? TO_PYTHON : refused();
    if (outcome == DONE)
        outcome = prepare(t, slot, &s);
    if (outcome == TO_PYTHON)
        return gradient_to_python(t, slot, of_pass, gradient);
    if (outcome == FAILED)
        return NULL;
    int failed = take(t, &s) < 0 || leave_out_since(t, clock) < 0;
    release(t, &s);
    if (failed && keep_error(t) < 0)
        return NULL;
    PyObject *reason = PyObject_CallMethodObjArgs(t->reasons, n_pop, slot, Py_None, NULL);
    PyObject *key = reason == NULL ? NULL : PyObject_GetAttr(slot, n_key);
    PyObject *name = key == NULL ? NULL : PyObject_GetAttr(key, n_name);
    PyObject *call = name == NULL ? NULL : PyObject_GetAttr(key, n_call);
    failed = call == NULL || stop_if_armed(t, given.backward, "gradient", name, call) < 0;
    Py_XDECREF(reason);
    Py_XDECREF(key);
    Py_XDECREF(name);
    Py_XDECREF(call);
    return failed ? NULL : Py_NewRef(Py_None);
}

static PyObject *gradient_tap_call(GradientTap *tap, PyObject *args, PyObject *kwargs) {
    PyObject *gradient = PyTuple_Size(args) == 1 && kwargs == NULL ? PyTuple_GetItem(args, 0) : NULL;
    if (gradient == NULL) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError, "a gradient's hook takes the gradient");
        return NULL;
    }
    PyObject *taps = PyObject_CallNoArgs(tap->taps);
    /* None: the observer is gone. */
    if (taps == NULL || taps == Py_None)
        return taps;
    Taps view = view_of((Taps *)taps);
    PyObject *done = gradient_arrived(&view, tap->slot, tap->of_pass, gradient);
    end_view(&view);
    Py_DECREF(taps);
    return done;
}

static PyObject *gradient_tap_remove(GradientTap *tap, PyObject *Py_UNUSED(none)) {
    PyObject *hooks = PyObject_CallNoArgs(tap->hooks);
    if (hooks == NULL || hooks == Py_None)
        return hooks;
    PyObject *done = PyObject_CallMethodObjArgs(hooks, n_pop, tap, Py_None, NULL);
    Py_DECREF(hooks);
    Py_XDECREF(done);
    return done == NULL ? NULL : Py_NewRef(Py_None);
}

static void gradient_tap_dealloc(GradientTap *tap) {
    PyTypeObject *type = Py_TYPE((PyObject *)tap);
    Py_XDECREF(tap->slot);
    Py_XDECREF(tap->taps);
    Py_XDECREF(tap->hooks);
    PyObject_Free(tap);
    Py_DECREF(type);
}

static PyMethodDef gradient_tap_methods[] = {
    {"remove", (PyCFunction)gradient_tap_remove, METH_NOARGS, "Take it off its tensor, as a RemovableHandle does."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot gradient_tap_slots[] = {
    {Py_tp_call, gradient_tap_call},
    {Py_tp_dealloc, gradient_tap_dealloc},
    {Py_tp_methods, gradient_tap_methods},
    {Py_tp_doc, "The hook on one output's gradient. Weak: a graph that holds it keeps nobody alive."},
    {0, NULL},
};

static PyType_Spec gradient_tap_spec = {
    .name = "gradscope.engine.capture.native.GradientTap",
    .basicsize = sizeof(GradientTap),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = gradient_tap_slots,
};

/* ------------------------------------------------------------------------------------------------------- putting it there */

/* How a hook comes to a tensor that has a graph, and no hook yet. */
struct expected {
    PyObject *registers; /* owned: the bound method of the graph's node */
    PyObject *reason;    /* borrowed: should its gradient never arrive */
};

/* TO_PYTHON: a leaf, without a graph, or with hooks of somebody's. */
static enum outcome look_at_graph(PyObject *tensor, struct expected *e) {
    *e = (struct expected){NULL, NULL};
    int is = is_the(tensor, n_requires_grad, Py_True);
    if (is == 1)
        is = is_the(tensor, n_backward_hooks, Py_None);
    if (is != 1)
        return is == 0 ? TO_PYTHON : refused();
    PyObject *node = PyObject_GetAttr(tensor, n_grad_fn);
    if (node == NULL)
        return refused();
    is = node == Py_None ? 0 : returns_the(tensor, n_is_view, Py_True);
    if (node != Py_None && is >= 0) {
        e->reason = is ? given.no_gradient_of_view : given.no_gradient;
        e->registers = PyObject_GetAttr(node, n_register_hook_dict);
    }
    Py_DECREF(node);
    return e->registers != NULL ? DONE : PyErr_Occurred() ? refused() : TO_PYTHON;
}

/* What Tensor.register_hook does there. */
static int expect(Taps *t, PyObject *slot, PyObject *tensor, struct expected *e) {
    if (PyDict_SetItem(t->reasons, slot, e->reason) < 0)
        return -1;
    PyObject *hooks = PyObject_CallFunctionObjArgs(given.ordered_dict, NULL);
    if (hooks == NULL)
        return -1;
    int failed = -1;
    GradientTap *tap = PyObject_New(GradientTap, (PyTypeObject *)gradient_tap_type);
    if (tap != NULL) {
        tap->slot = Py_NewRef(slot);
        tap->taps = Py_NewRef(t->weak);
        tap->hooks = PyWeakref_NewRef(hooks, NULL);
        tap->of_pass = t->of_pass;
        PyObject *done = NULL;
        /* By itself as the key: torch counts its own. */
        if (tap->hooks != NULL && PyObject_SetItem(hooks, (PyObject *)tap, (PyObject *)tap) == 0 &&
            PyObject_SetAttr(tensor, n_backward_hooks, hooks) == 0)
            done = PyObject_CallFunctionObjArgs(e->registers, tensor, NULL);
        failed = done == NULL ? -1 : PyList_Append(t->handles, (PyObject *)tap);
        Py_XDECREF(done);
        Py_DECREF(tap);
    }
    Py_DECREF(hooks);
    return failed;
}

#endif
