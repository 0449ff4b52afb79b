/* Gradients of outputs: the hook on each tensor, and what it tells. */

#ifndef GRADSCOPE_GRADIENTS_H
#define GRADSCOPE_GRADIENTS_H

/* The tensor hook of one output, and the handle that removes it. It holds nothing of the graph, nor of what holds the graph. */
typedef struct {
    PyObject_HEAD
    PyObject *slot, *taps; /* a weak reference */
    PyObject *hooks;       /* borrowed: the dict that it is in says when it goes */
    long long of_pass;
} GradientTap;

/* The hooks of one output: a dict, as torch wants it, that can be referred to weakly, as its handles want it, and that tells
 * its tap when it goes. Of an OrderedDict and a weak reference to it the collector of garbage would have to know three times as
 * much. What a dict has comes first; what is added begins at `hooks_end`. */
struct hooks_end {
    PyObject *weak_list;
    PyObject *tap; /* owned */
};

static PyObject *hooks_type;
static Py_ssize_t hooks_end;

static struct hooks_end *end_of(PyObject *hooks) { return (struct hooks_end *)(void *)((char *)hooks + hooks_end); }

static void hooks_dealloc(PyObject *hooks) {
    PyTypeObject *type = Py_TYPE(hooks);
    struct hooks_end *end = end_of(hooks);
    PyObject_GC_UnTrack(hooks);
    /* Before anybody is told: what a weak reference calls may take the tap away. */
    if (end->tap != NULL)
        ((GradientTap *)end->tap)->hooks = NULL;
    if (end->weak_list != NULL)
        PyObject_ClearWeakRefs(hooks);
    Py_CLEAR(end->tap);
    ((destructor)PyType_GetSlot(&PyDict_Type, Py_tp_dealloc))(hooks);
    Py_DECREF(type);
}

static PyMemberDef hooks_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, 0, READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot hooks_slots[] = {
    {Py_tp_dealloc, hooks_dealloc},
    {Py_tp_members, hooks_members},
    {Py_tp_doc, "The hooks of one output, gradscope's among them."},
    {0, NULL},
};

static PyObject *make_hooks_type(void) {
    PyType_Spec spec = {
        .name = "gradscope.engine.capture.native.Hooks", .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
        .slots = hooks_slots};
    PyObject *of_dict = PyObject_GetAttrString((PyObject *)&PyDict_Type, "__basicsize__");
    hooks_end = of_dict == NULL ? -1 : PyLong_AsSsize_t(of_dict);
    Py_XDECREF(of_dict);
    if (hooks_end < 0)
        return NULL;
    hooks_members[0].offset = hooks_end + (Py_ssize_t)offsetof(struct hooks_end, weak_list);
    spec.basicsize = (int)(hooks_end + (Py_ssize_t)sizeof(struct hooks_end));
    return PyType_FromSpecWithBases(&spec, (PyObject *)&PyDict_Type);
}

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
    const SlotFields *fields = reason == NULL ? NULL : as_SlotFields(slot);
    PyObject *key = fields == NULL ? NULL : Py_XNewRef(held(fields->key));
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
    if (tap->hooks == NULL)
        Py_RETURN_NONE;
    PyObject *hooks = Py_NewRef(tap->hooks);
    PyObject *done = PyObject_CallMethodObjArgs(hooks, n_pop, tap, Py_None, NULL);
    Py_DECREF(hooks);
    Py_XDECREF(done);
    return done == NULL ? NULL : Py_NewRef(Py_None);
}

static void gradient_tap_dealloc(GradientTap *tap) {
    PyTypeObject *type = Py_TYPE((PyObject *)tap);
    Py_XDECREF(tap->slot);
    Py_XDECREF(tap->taps);
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

/* The hooks of one output, with a tap among them. */
static PyObject *make_hooks(Taps *t, PyObject *slot) {
    newfunc make = (newfunc)PyType_GetSlot(&PyDict_Type, Py_tp_new);
    PyObject *hooks = make((PyTypeObject *)hooks_type, given.nothing, NULL);
    GradientTap *tap = hooks == NULL ? NULL : PyObject_New(GradientTap, (PyTypeObject *)gradient_tap_type);
    if (tap == NULL) {
        Py_XDECREF(hooks);
        return NULL;
    }
    tap->slot = Py_NewRef(slot);
    tap->taps = Py_NewRef(t->weak);
    tap->hooks = hooks;
    tap->of_pass = t->of_pass;
    end_of(hooks)->tap = (PyObject *)tap;
    /* By itself as the key: torch counts its own. */
    if (PyDict_SetItem(hooks, (PyObject *)tap, (PyObject *)tap) < 0)
        Py_CLEAR(hooks);
    return hooks;
}

/* What Tensor.register_hook does there. */
static int expect(Taps *t, PyObject *slot, PyObject *tensor, struct expected *e) {
    PyObject *hooks = PyDict_SetItem(t->reasons, slot, e->reason) < 0 ? NULL : make_hooks(t, slot), *done = NULL;
    if (hooks != NULL && PyObject_SetAttr(tensor, n_backward_hooks, hooks) == 0)
        done = PyObject_CallFunctionObjArgs(e->registers, tensor, NULL);
    int failed = done == NULL ? -1 : PyList_Append(t->handles, end_of(hooks)->tap);
    Py_XDECREF(done);
    Py_XDECREF(hooks);
    return failed;
}

#endif
