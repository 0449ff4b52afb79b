/* A layer is entered, and left. */

#ifndef GRADSCOPE_LAYERS_H
#define GRADSCOPE_LAYERS_H

/* The number of the call that begins now, counted; NULL with an exception. */
static PyObject *count(Taps *t, PyObject *name) {
    PyObject *known = PyDict_GetItemWithError(t->calls, name);
    if (known == NULL && PyErr_Occurred())
        return NULL;
    PyObject *call = known == NULL ? PyLong_FromLong(0) : Py_NewRef(known);
    PyObject *next = call == NULL ? NULL : PyLong_FromLongLong(PyLong_AsLongLong(call) + 1);
    if (next == NULL || PyDict_SetItem(t->calls, name, next) < 0)
        Py_CLEAR(call);
    Py_XDECREF(next);
    return call;
}

static enum outcome enter(Taps *t, PyObject *name) {
    enum state state = state_of_layers(t);
    if (state != NOW)
        return state == NOT_NOW ? DONE : state == UNKNOWN ? TO_PYTHON : FAILED;
    int no = is_armed(t);
    if (no == 0)
        no = returns_the(t->counting, n_locked, Py_True);
    if (no != 0)
        return no < 0 ? refused() : TO_PYTHON;
    PyObject *call = count(t, name);
    if (call == NULL)
        return FAILED;
    double clock, at = elapsed(t, &clock);
    PyObject *entered = isnan(at) || tell_running(t, name) < 0 ? NULL : Py_BuildValue("(OOd)", name, call, at);
    /* Only now: telling is Python, and another phase may have begun meanwhile, on another thread. */
    PyObject *stack = entered == NULL ? NULL : own_stack(t);
    int failed = stack == NULL ? -1 : append(stack, entered);
    Py_XDECREF(entered);
    Py_DECREF(call);
    return failed ? FAILED : DONE;
}

/* The site of a call; borrowed. NULL: it is not known yet, or an exception. */
static PyObject *site_of(Taps *t, PyObject *name, PyObject *call) {
    PyObject *key = PyTuple_Pack(2, name, call);
    if (key == NULL)
        return NULL;
    PyObject *site = PyDict_GetItemWithError(t->call_sites, key);
    Py_DECREF(key);
    return site;
}

/* A call that is left: all that is known of it before anything is noted. */
struct left {
    PyObject *entered, *site, *activation, *gradient; /* owned */
    struct subject subject;
    struct expected expected;
    double clock, now, at;
};

static void forget(Taps *t, struct left *l) {
    release(t, &l->subject);
    Py_CLEAR(l->entered);
    Py_CLEAR(l->site);
    Py_CLEAR(l->activation);
    Py_CLEAR(l->gradient);
    Py_CLEAR(l->expected.registers);
}

/* Whether a site is of one plain tensor, and right for this output in this part of the phase; it is made so. */
static int follow(Taps *t, PyObject *site, PyObject *output, const struct plain *plain) {
    const CallFields *fields = as_CallFields(site);
    PyObject *substep = held(((RecordFields *)t->record)->substep);
    if (fields == NULL || substep == NULL)
        return -1;
    int is = fields->substep == substep ? has_shape(plain, fields->plain_shape) : 0;
    if (is == 0 && fields->plain_shape != Py_None) {
        PyObject *leaves = Py_BuildValue("((sO))", "", output);
        PyObject *done = leaves == NULL ? NULL : PyObject_CallMethodObjArgs(site, n_follow, substep, leaves, NULL);
        Py_XDECREF(leaves);
        Py_XDECREF(done);
        is = done == NULL ? -1 : 1;
    }
    return is;
}

static enum outcome prepare_left(Taps *t, PyObject *name, PyObject *output, struct left *l) {
    *l = (struct left){0};
    if ((PyObject *)Py_TYPE(output) != given.tensor)
        return TO_PYTHON;
    PyObject *stack = own_stack(t);
    Py_ssize_t depth = stack == NULL ? -1 : PyList_Size(stack);
    if (depth <= 0)
        return depth < 0 ? refused() : TO_PYTHON;
    PyObject *entered = l->entered = Py_XNewRef(PyList_GetItem(stack, depth - 1));
    if (entered == NULL || PyTuple_Size(entered) != 3)
        return refused();
    int is = PyObject_RichCompareBool(PyTuple_GetItem(entered, 0), name, Py_EQ);
    if (is != 1)
        return is < 0 ? refused() : TO_PYTHON;
    l->at = PyFloat_AsDouble(PyTuple_GetItem(entered, 2));
    l->site = Py_XNewRef(site_of(t, name, PyTuple_GetItem(entered, 1)));
    if (l->site == NULL)
        return PyErr_Occurred() ? refused() : TO_PYTHON;
    const CallFields *site = as_CallFields(l->site);
    if (site == NULL)
        return refused();
    l->activation = Py_XNewRef(held(site->activation));
    l->gradient = Py_XNewRef(held(site->gradient));
    if (l->activation == NULL || l->gradient == NULL)
        return refused();
    if (l->activation == Py_None)
        return TO_PYTHON;
    enum outcome outcome = look_at_graph(output, &l->expected);
    if (outcome != DONE)
        return outcome;
    l->now = elapsed(t, &l->clock);
    if (isnan(l->now))
        return FAILED;
    outcome = begin_subject(t, output, &l->subject);
    if (outcome != DONE)
        return outcome;
    is = follow(t, l->site, output, &l->subject.plain);
    return is == 1 ? prepare(t, l->activation, &l->subject) : is == 0 ? TO_PYTHON : refused();
}

/* The place that was passed, and what came out. 1: it is not finite. */
static int note(Taps *t, struct left *l) {
    const CallFields *site = as_CallFields(l->site);
    int failed = site == NULL || append(t->places, held(site->place)) < 0 || append_real(t->times, l->at) < 0 ||
                 append_real(t->times, l->now - l->at) < 0 || append(t->times, held(site->bytes)) < 0;
    return failed ? -1 : take(t, &l->subject);
}

/* Whether more is to be said of an output than its summary; -1: an exception. */
static int goes_on(Taps *t, int is_bad) {
    if (is_bad)
        return 1;
    PyObject *pending = PyObject_GetAttr(t->births, n_pending);
    int is = pending == NULL ? -1 : PyObject_IsTrue(pending);
    Py_XDECREF(pending);
    if (is == 0 && t->is_forward && (is = is_the(t->observer, n_listener, Py_None)) >= 0)
        is = !is;
    return is;
}

static enum outcome leave(Taps *t, PyObject *name, PyObject *output, PyObject *inputs) {
    enum state state = state_of_layers(t);
    if (state != NOW)
        return state == NOT_NOW ? DONE : state == UNKNOWN ? TO_PYTHON : FAILED;
    struct left l;
    enum outcome outcome = prepare_left(t, name, output, &l);
    if (outcome != DONE) {
        forget(t, &l);
        return outcome;
    }
    PyObject *stack = Py_XNewRef(own_stack(t)), *call = Py_XNewRef(PyTuple_GetItem(l.entered, 1));
    Py_ssize_t depth = stack == NULL ? 0 : PyList_Size(stack) - 1;
    /* It may be gone from there: what was asked in between may have been Python, as above. */
    int is_there = stack != NULL && depth >= 0 && PyList_GetItem(stack, depth) == l.entered;
    int is_off = stack != NULL && (!is_there || PyList_SetSlice(stack, depth, depth + 1, NULL) == 0);
    int is_bad = is_off ? note(t, &l) : -1;
    int failed = is_bad < 0 || expect(t, l.gradient, output, &l.expected) < 0 || leave_out_since(t, l.clock) < 0;
    release(t, &l.subject);
    int more = failed ? 0 : goes_on(t, is_bad);
    if (more == 1) {
        PyObject *bad = is_bad ? PyTuple_Pack(2, l.activation, output) : Py_NewRef(Py_None);
        PyObject *done = bad == NULL ? NULL
                                     : PyObject_CallMethodObjArgs(t->observer, n_after_output, name, call, bad, output,
                                                                  inputs, NULL);
        Py_XDECREF(bad);
        Py_XDECREF(done);
        failed = done == NULL;
    }
    if ((failed || more < 0) && keep_error(t) < 0)
        outcome = FAILED;
    if (outcome == DONE) {
        depth = stack == NULL ? 0 : PyList_Size(stack);
        PyObject *around = depth > 0 ? PyTuple_GetItem(PyList_GetItem(stack, depth - 1), 0) : Py_None;
        PyObject *substep = Py_XNewRef(held(((RecordFields *)t->record)->substep));
        if (around == NULL || tell_running(t, around) < 0 || substep == NULL ||
            stop_if_armed(t, substep, "leave", name, call) < 0)
            outcome = FAILED;
        Py_XDECREF(substep);
    }
    Py_XDECREF(call);
    Py_XDECREF(stack);
    forget(t, &l);
    return outcome;
}

#endif
