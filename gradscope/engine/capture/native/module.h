/* The type, and what Python sees of it. */

#ifndef GRADSCOPE_MODULE_H
#define GRADSCOPE_MODULE_H

/* ------------------------------------------------------------------------------------------------------- what is told */

static PyObject *taps_layer_entered(Taps *t, PyObject *name) {
    Taps view = view_of(t);
    enum outcome outcome = enter(&view, name);
    end_view(&view);
    if (outcome == TO_PYTHON)
        return PyObject_CallMethodObjArgs(t->observer, n_layer_entered, name, NULL);
    return outcome == DONE ? Py_NewRef(Py_None) : NULL;
}

static PyObject *taps_layer_left(Taps *t, PyObject *const *args, Py_ssize_t count) {
    if (!takes(count, 3))
        return NULL;
    Taps view = view_of(t);
    enum outcome outcome = leave(&view, args[0], args[1], args[2]);
    end_view(&view);
    if (outcome == TO_PYTHON)
        return PyObject_CallMethodObjArgs(t->observer, n_layer_left, args[0], args[1], args[2], NULL);
    return outcome == DONE ? Py_NewRef(Py_None) : NULL;
}

static PyObject *taps_layer_lifted(Taps *t, PyObject *name) {
    return PyObject_CallMethodObjArgs(t->observer, n_layer_lifted, name, NULL);
}

static PyObject *taps_gradient_arrived(Taps *t, PyObject *const *args, Py_ssize_t count) {
    if (!takes(count, 3))
        return NULL;
    long long of_pass = PyLong_AsLongLong(args[1]);
    if (of_pass == -1 && PyErr_Occurred())
        return NULL;
    Taps view = view_of(t);
    PyObject *done = gradient_arrived(&view, args[0], of_pass, args[2]);
    end_view(&view);
    return done;
}

static PyObject *taps_parameter_gradient_arrived(Taps *t, PyObject *const *args, Py_ssize_t count) {
    if (!takes(count, 2))
        return NULL;
    Taps view = view_of(t);
    enum outcome outcome = parameter_arrived(&view, args[0], args[1]);
    end_view(&view);
    if (outcome == TO_PYTHON)
        return PyObject_CallMethodObjArgs(t->observer, n_parameter_gradient_arrived, args[0], args[1], NULL);
    return outcome == DONE ? Py_NewRef(Py_None) : NULL;
}

static PyObject *taps_parameter_gradient_seen_again(Taps *t, PyObject *const *args, Py_ssize_t count) {
    if (!takes(count, 2))
        return NULL;
    return PyObject_CallMethodObjArgs(t->observer, n_parameter_gradient_seen_again, args[0], args[1], NULL);
}

static PyObject *taps_take_changes(Taps *t, PyObject *const *args, Py_ssize_t count) {
    if (!takes(count, 4))
        return NULL;
    Py_ssize_t at = PyLong_AsSsize_t(args[1]);
    if (at == -1 && PyErr_Occurred())
        return NULL;
    Taps view = view_of(t);
    PyObject *taken = take_changes(&view, args[0], at, args[2], args[3]);
    end_view(&view);
    return taken;
}

/* ------------------------------------------------------------------------------------------------------------ a phase */

static int set_from(PyObject **field, PyObject *owner, PyObject *name) {
    PyObject *value = PyObject_GetAttr(owner, name);
    if (value == NULL)
        return -1;
    PyObject *before = *field;
    *field = value;
    Py_XDECREF(before);
    return 0;
}

static void forget_record(Taps *t) {
    t->summarise = NULL;
    t->summarise_all = NULL;
    end_view(t);
}

static PyObject *taps_begin(Taps *t, PyObject *args) {
    PyObject *record, *summarise, *summarise_all;
    long long of_pass;
    int is_forward, is_backward, norms;
    if (!PyArg_ParseTuple(args, "OppLOOp", &record, &is_forward, &is_backward, &of_pass, &summarise, &summarise_all,
                          &norms))
        return NULL;
    if (as_RecordFields(record) == NULL)
        return NULL;
    forget_record(t);
    if (set_from(&t->number, record, n_number) < 0 || set_from(&t->rows, record, n_rows) < 0 ||
        set_from(&t->places, record, n_places) < 0 || set_from(&t->times, record, n_times) < 0 ||
        set_from(&t->lock, record, n_lock) < 0 || set_from(&t->summaries, record, n_summaries) < 0 ||
        set_from(&t->tables, record, n_tables) < 0)
        return NULL;
    t->started = real(record, n_started);
    if (PyErr_Occurred() || !PyList_Check(t->rows) || !PyList_Check(t->places) || !PyList_Check(t->times)) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError, "a record's rows, places and times are lists");
        return NULL;
    }
    t->is_forward = is_forward;
    t->is_backward = is_backward;
    t->of_pass = of_pass;
    t->norms = norms;
    t->summarise = (summarise_one *)PyLong_AsVoidPtr(summarise);
    t->summarise_all = (summarise_many *)PyLong_AsVoidPtr(summarise_all);
    if (PyErr_Occurred())
        return NULL;
    t->record = Py_NewRef(record);
    Py_RETURN_NONE;
}

static PyObject *taps_end(Taps *t, PyObject *Py_UNUSED(none)) {
    forget_record(t);
    Py_RETURN_NONE;
}

/* ------------------------------------------------------------------------------------------------------------ the type */

static PyObject *taps_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyObject *observer, *gated, *running, *call_sites, *parameter_sites, *awaited, *births, *keeper;
    if (kwargs != NULL && PyDict_Size(kwargs) != 0) {
        PyErr_SetString(PyExc_TypeError, "Taps takes no keyword arguments");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "OOOO!O!OOO", &observer, &gated, &running, &PyDict_Type, &call_sites, &PyDict_Type,
                          &parameter_sites, &awaited, &births, &keeper))
        return NULL;
    if (given.tensor == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "set_up has not been called");
        return NULL;
    }
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Taps *t = (Taps *)allocate(type, 0);
    if (t == NULL)
        return NULL;
    t->observer = Py_NewRef(observer);
    t->gated = Py_NewRef(gated);
    t->running = Py_NewRef(running);
    t->call_sites = Py_NewRef(call_sites);
    t->parameter_sites = Py_NewRef(parameter_sites);
    t->awaited = Py_NewRef(awaited);
    t->births = Py_NewRef(births);
    t->keeper = Py_NewRef(keeper);
    t->weak = PyWeakref_NewRef((PyObject *)t, NULL);
    if (t->weak == NULL || set_from(&t->calls, running, n_calls) < 0 || set_from(&t->stacks, running, n_stacks) < 0 ||
        set_from(&t->counting, running, n_counting) < 0 || set_from(&t->reasons, awaited, n_reasons) < 0 ||
        set_from(&t->handles, awaited, n_handles) < 0) {
        Py_DECREF(t);
        return NULL;
    }
    if (!PyDict_Check(t->calls) || !PyDict_Check(t->stacks) || !PyDict_Check(t->reasons) || !PyList_Check(t->handles)) {
        PyErr_SetString(PyExc_TypeError, "the running layers and awaited gradients are kept in dicts and a list");
        Py_DECREF(t);
        return NULL;
    }
    return (PyObject *)t;
}

static int taps_traverse(Taps *t, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE((PyObject *)t));
#define VISIT(field) Py_VISIT(t->field);
    EACH(VISIT)
#undef VISIT
    return 0;
}

static int taps_clear(Taps *t) {
#define CLEAR(field) Py_CLEAR(t->field);
    EACH(CLEAR)
#undef CLEAR
    t->summarise = NULL;
    t->summarise_all = NULL;
    return 0;
}

static void taps_dealloc(Taps *t) {
    PyTypeObject *type = Py_TYPE((PyObject *)t);
    PyObject_GC_UnTrack(t);
    if (t->weak_list != NULL)
        PyObject_ClearWeakRefs((PyObject *)t);
    taps_clear(t);
    PyObject_GC_Del(t);
    Py_DECREF(type);
}

static PyMethodDef taps_methods[] = {
    {"layer_entered", (PyCFunction)taps_layer_entered, METH_O, "As the observer's."},
    {"layer_left", (PyCFunction)(void (*)(void))taps_layer_left, METH_FASTCALL, "As the observer's."},
    {"layer_lifted", (PyCFunction)taps_layer_lifted, METH_O, "As the observer's."},
    {"gradient_arrived", (PyCFunction)(void (*)(void))taps_gradient_arrived, METH_FASTCALL, "As the observer's."},
    {"parameter_gradient_arrived", (PyCFunction)(void (*)(void))taps_parameter_gradient_arrived, METH_FASTCALL,
     "As the observer's."},
    {"parameter_gradient_seen_again", (PyCFunction)(void (*)(void))taps_parameter_gradient_seen_again, METH_FASTCALL,
     "As the observer's."},
    {"take_changes", (PyCFunction)(void (*)(void))taps_take_changes, METH_FASTCALL,
     "(list of (name, tensor), from where, name -> tensor before the step, name -> its copy): how many were taken."},
    {"begin", (PyCFunction)taps_begin, METH_VARARGS,
     "(record, is_forward, is_backward, number of the pass, addresses of the kernel's functions for one tensor and for many "
     "or 0, whether norms only): a phase begins."},
    {"end", (PyCFunction)taps_end, METH_NOARGS, "It is over: nothing of it is held."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef taps_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Taps, weak_list), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot taps_slots[] = {
    {Py_tp_new, taps_new},           {Py_tp_dealloc, taps_dealloc}, {Py_tp_traverse, taps_traverse},
    {Py_tp_clear, taps_clear},       {Py_tp_methods, taps_methods}, {Py_tp_members, taps_members},
    {Py_tp_doc, "What the hooks tell, in the place of an observer: its usual way is compiled."},
    {0, NULL},
};

static PyType_Spec taps_spec = {
    .name = "gradscope.engine.capture.native.Taps",
    .basicsize = sizeof(Taps),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = taps_slots,
};

/* ---------------------------------------------------------------------------------------------------------- the module */

static PyObject *set_up(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject **fields[] = {&given.tensor,       &given.parameter,    &given.float32,      &given.strided,
                           &given.is_functorch, &given.graph_task,   &given.perf_counter, &given.nothing,
                           &given.no_gradient,  &given.no_gradient_of_view, &given.backward};
    PyObject *o[11], *exchange;
    if (!PyArg_ParseTuple(args, "OOOOOOOOOOOnnnO", &o[0], &o[1], &o[2], &o[3], &o[4], &o[5], &o[6], &o[7], &o[8], &o[9],
                          &o[10], &given.columns, &given.nan_count, &given.inf_count, &exchange))
        return NULL;
    given.look = exchange_of(exchange);
    if (PyErr_Occurred())
        return NULL;
    for (int i = 0; i < 11; i++) {
        PyObject *before = *fields[i];
        *fields[i] = Py_NewRef(o[i]);
        Py_XDECREF(before);
    }
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"set_up", set_up, METH_VARARGS, "Has to be called once, before anything else; the loader knows with what."},
    {"count_unchanged", count_unchanged, METH_O,
     "(list of places, as model/structure.py has them): how many are as they were, from the first on."},
    {"spans", spans, METH_O,
     "(list of tensors): (an address and so many bytes for each, two numbers of 64 bits; places that are left to Python)."},
    {"same", same, METH_VARARGS,
     "(list of tensors, list of addresses of as many bytes): a byte for each, 1 where those are its bytes, 0 where they are "
     "not, 2 where it is left to Python."},
    {"unmoved", unmoved, METH_VARARGS,
     "(list of contents, list of what was taken of them): a byte for each, 1 where it holds the same. A content is a dict, a "
     "list, (globals, what stands for a name that is missing), or None: it has moved. What was taken: (keys, values)."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "_native", .m_doc = "See native.c.", .m_size = -1, .m_methods = functions,
};

PyMODINIT_FUNC PyInit__native(void) {
    PyObject *module = intern_names() < 0 ? NULL : PyModule_Create(&definition);
    if (module == NULL)
        return NULL;
    taps_type = PyType_FromSpec(&taps_spec);
    gradient_tap_type = PyType_FromSpec(&gradient_tap_spec);
    hooks_type = make_hooks_type();
    copies_type = PyType_FromSpec(&copies_spec);
    PyObject *looks_on_type = PyType_FromSpec(&looks_on_spec);
    if (add_bases(module) < 0)
        Py_CLEAR(module);
    /* Of a gradient tap torch need not warn that it does not save it with a tensor. */
    if (module == NULL || taps_type == NULL || gradient_tap_type == NULL || hooks_type == NULL || copies_type == NULL || looks_on_type == NULL ||
        PyObject_SetAttrString(gradient_tap_type, "__torch_unserializable__", Py_True) < 0 ||
        PyModule_AddObjectRef(module, "Copies", copies_type) < 0 ||
        PyModule_AddObjectRef(module, "LooksOn", looks_on_type) < 0 ||
        PyModule_AddObjectRef(module, "Taps", taps_type) < 0 ||
        PyModule_AddObjectRef(module, "GradientTap", gradient_tap_type) < 0 ||
        PyModule_AddIntConstant(module, "VERSION", VERSION) < 0)
        Py_CLEAR(module);
    Py_XDECREF(looks_on_type);
    return module;
}

#endif
