/* Parameters: the gradient that has arrived, and what a step has added to them. */

#ifndef GRADSCOPE_PARAMETERS_H
#define GRADSCOPE_PARAMETERS_H

/* What is prepared of a parameter's gradient. */
struct arrived {
    PyObject *gradient, *site, *slot, *place; /* owned */
    struct subject subject;
    double clock, now;
};

static void forget_arrived(Taps *t, struct arrived *a) {
    release(t, &a->subject);
    Py_CLEAR(a->gradient);
    Py_CLEAR(a->site);
    Py_CLEAR(a->slot);
    Py_CLEAR(a->place);
}

static enum outcome prepare_arrived(Taps *t, PyObject *name, PyObject *tensor, struct arrived *a) {
    *a = (struct arrived){0};
    int is = is_the(t->observer, n_gradient_scale, Py_None);
    if (is != 1)
        return is < 0 ? refused() : TO_PYTHON;
    a->now = elapsed(t, &a->clock);
    if (isnan(a->now))
        return FAILED;
    a->gradient = PyObject_GetAttr(tensor, n_grad);
    a->site = Py_XNewRef(PyDict_GetItemWithError(t->parameter_sites, name));
    if (a->gradient == NULL || a->gradient == Py_None || a->site == NULL)
        return PyErr_Occurred() ? refused() : TO_PYTHON;
    const ParameterFields *site = as_ParameterFields(a->site);
    if (site == NULL)
        return refused();
    a->slot = Py_XNewRef(held(site->gradient));
    a->place = Py_XNewRef(held(site->place));
    enum outcome outcome =
        a->slot == NULL || a->place == NULL ? refused() : begin_subject(t, a->gradient, &a->subject);
    if (outcome == DONE) {
        /* Of the gradient: a parameter of another shape has no gradient of this one. */
        is = has_shape(&a->subject.plain, site->shape);
        outcome = is == 1 ? prepare(t, a->slot, &a->subject) : is == 0 ? TO_PYTHON : refused();
    }
    return outcome;
}

static int note_arrived(Taps *t, PyObject *name, struct arrived *a) {
    if (take(t, &a->subject) < 0)
        return -1;
    PyObject *seen = PyObject_GetAttr(t->observer, n_seen_gradients);
    PyObject *reference = PyWeakref_NewRef(a->gradient, NULL);
    PyObject *pair = reference == NULL ? NULL : PyTuple_Pack(2, reference, a->subject.plain.version);
    int failed = seen == NULL || pair == NULL || PyDict_SetItem(seen, name, pair) < 0;
    Py_XDECREF(seen);
    Py_XDECREF(reference);
    Py_XDECREF(pair);
    if (failed || leave_out_since(t, a->clock) < 0)
        return -1;
    failed = append(t->places, a->place) < 0 || append_real(t->times, a->now) < 0 || append_real(t->times, NAN) < 0 ||
             append_real(t->times, NAN) < 0;
    return failed ? -1 : 0;
}

static enum outcome parameter_arrived(Taps *t, PyObject *name, PyObject *tensor) {
    enum state state = state_of(t);
    if (state != NOW)
        return state == NOT_NOW ? DONE : state == UNKNOWN ? TO_PYTHON : FAILED;
    if (!t->is_backward)
        return TO_PYTHON;
    struct arrived a;
    enum outcome outcome = prepare_arrived(t, name, tensor, &a);
    if (outcome == DONE) {
        int failed = note_arrived(t, name, &a);
        release(t, &a.subject);
        if (failed && keep_error(t) < 0)
            outcome = FAILED;
        else {
            PyObject *call = PyLong_FromLong(0);
            if (call == NULL || stop_if_armed(t, given.backward, "gradient", name, call) < 0)
                outcome = FAILED;
            Py_XDECREF(call);
        }
    }
    forget_arrived(t, &a);
    return outcome;
}

/* ------------------------------------------------------------------------------------------------------ after the optimizer */

/* A run of parameters that are summarised in one call, each with its change. */
struct run {
    struct job *jobs;
    PyObject **slots; /* owned: of the value and of the change, of each */
    Py_ssize_t count;
};

static void end_run(struct run *run) {
    for (Py_ssize_t i = 0; i < 2 * run->count; i++)
        Py_DECREF(run->slots[i]);
    PyMem_Free(run->jobs);
    PyMem_Free(run->slots);
}

/* One more, if both the value and the one before it are plain, and the slots have their form. */
static enum outcome add_to_run(struct run *run, PyObject *site, PyObject *tensor, PyObject *before) {
    struct plain now, then;
    const ParameterFields *fields = as_ParameterFields(site);
    PyObject *own = fields == NULL ? NULL : Py_XNewRef(held(fields->parameter));
    PyObject *changed = own == NULL ? NULL : Py_XNewRef(held(fields->change));
    enum outcome outcome = own == NULL || changed == NULL ? refused() : look_at(tensor, &now);
    if (outcome == DONE) {
        outcome = look_at(before, &then);
        if (outcome == DONE) {
            int is = has_shape_of(&now, &then);
            if (is == 1 && (is = has_form(own, &now)) == 1)
                is = has_form(changed, &now);
            outcome = is == 1 ? DONE : is == 0 ? TO_PYTHON : refused();
            let_go(&then);
        }
        let_go(&now);
    }
    if (outcome != DONE) {
        Py_XDECREF(own);
        Py_XDECREF(changed);
        return outcome;
    }
    run->jobs[run->count] = (struct job){now.numbers, then.numbers, now.count};
    run->slots[2 * run->count] = own;
    run->slots[2 * run->count + 1] = changed;
    run->count++;
    return DONE;
}

/* The next parameters of the list, from `at` on, until there is one that is left to Python. */
static enum outcome collect(Taps *t, PyObject *named, Py_ssize_t at, PyObject *of, PyObject *copies, struct run *run) {
    Py_ssize_t end = PyList_Size(named);
    run->jobs = PyMem_Calloc((size_t)(end - at) + 1, sizeof *run->jobs);
    run->slots = PyMem_Calloc(2 * (size_t)(end - at) + 1, sizeof *run->slots);
    if (run->jobs == NULL || run->slots == NULL) {
        PyErr_NoMemory();
        return FAILED;
    }
    for (enum outcome outcome = DONE; at < end && outcome == DONE; at++) {
        PyObject *pair = PyList_GetItem(named, at);
        PyObject *name = PyTuple_GetItem(pair, 0), *tensor = name == NULL ? NULL : PyTuple_GetItem(pair, 1);
        if (tensor == NULL)
            return FAILED;
        PyObject *known = PyDict_GetItemWithError(of, name), *before = PyDict_GetItemWithError(copies, name);
        PyObject *site = PyDict_GetItemWithError(t->parameter_sites, name);
        if (PyErr_Occurred())
            return FAILED;
        outcome = known == tensor && before != NULL && site != NULL ? add_to_run(run, site, tensor, before) : TO_PYTHON;
        if (outcome == FAILED)
            return FAILED;
    }
    return DONE;
}

/* The summaries of a run, under the record's lock, which Python holds. */
static int summarise_run(Taps *t, struct run *run) {
    Py_ssize_t position = PyList_Size(t->rows);
    PyObject *last = PyLong_FromSsize_t(position + 2 * run->count);
    PyObject *room = last == NULL ? NULL : PyObject_CallMethodObjArgs(t->summaries, n_make_room, last, NULL);
    Py_XDECREF(last);
    Py_XDECREF(room);
    const struct output *output = room == NULL ? NULL : output_of(t);
    if (output == NULL)
        return -1;
    Py_BEGIN_ALLOW_THREADS
    t->summarise_all(output, run->jobs, run->count, position, t->norms);
    Py_END_ALLOW_THREADS
    for (Py_ssize_t i = 0; i < 2 * run->count; i++) {
        PyObject *number = PyLong_FromSsize_t(position + i);
        int failed = number == NULL || put(t, run->slots[i], number) < 0;
        Py_XDECREF(number);
        if (failed)
            return -1;
    }
    return 0;
}

/* How many parameters were taken. */
static PyObject *take_changes(Taps *t, PyObject *named, Py_ssize_t at, PyObject *of, PyObject *copies) {
    struct run run = {NULL, NULL, 0};
    int failed = t->summarise_all == NULL ? 0 : collect(t, named, at, of, copies, &run) == FAILED;
    if (!failed && run.count > 0)
        failed = summarise_run(t, &run) < 0;
    Py_ssize_t count = run.count;
    end_run(&run);
    return failed ? NULL : PyLong_FromSsize_t(count);
}

#endif
