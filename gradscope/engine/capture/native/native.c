/* The taps' usual way, compiled: a plain float32 tensor on the CPU, nobody who stops training or keeps values.
 *
 * Each function first asks everything that can be refused, and changes nothing; then it does the whole of its work, without
 * a line of Python in between. Whatever is unusual is left, whole, to the observer's own method of the same name. It is what
 * that method does, in the same order: `observer.py` and `record.py` say why.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <structmember.h>

#include "fields.h"
#include "kernel.h"
#include "names.h"
#include "plain.h"

#define VERSION 5
#define ALONE_BELOW (1 << 15) /* numbers: summarising fewer keeps other threads of Python waiting for some microseconds */

/* What the hooks tell, in the place of the observer. */
typedef struct {
    PyObject_HEAD
    PyObject *observer;
    PyObject *gated; /* has the gate */
    PyObject *running, *calls, *stacks, *counting;
    PyObject *call_sites, *parameter_sites;
    PyObject *awaited, *reasons, *handles;
    PyObject *births, *keeper;
    PyObject *weak; /* itself, for the hooks that a graph holds */
    /* Of the phase under way. */
    PyObject *record, *number, *rows, *places, *times, *lock, *summaries, *tables;
    double started;
    int is_forward, is_backward, norms;
    long long of_pass;
    summarise_one *summarise;
    summarise_many *summarise_all;
    PyObject *weak_list;
} Taps;

#define EACH_OF_PHASE(X) X(record) X(number) X(rows) X(places) X(times) X(lock) X(summaries) X(tables)
#define EACH(X)                                                                                                        \
    X(observer) X(gated) X(running) X(calls) X(stacks) X(counting) X(call_sites) X(parameter_sites) X(awaited)         \
    X(reasons) X(handles) X(births) X(keeper) X(weak) EACH_OF_PHASE(X)

static PyObject *taps_type, *gradient_tap_type;

/* What a call works with from its beginning to its end, as a variable of Python's would be: the phase may end meanwhile, on
 * another thread. */
static Taps view_of(const Taps *t) {
    Taps view = *t;
#define HOLD(field) Py_XINCREF(view.field);
    EACH_OF_PHASE(HOLD)
#undef HOLD
    return view;
}

static void end_view(Taps *view) {
#define LET_GO(field) Py_CLEAR(view->field);
    EACH_OF_PHASE(LET_GO)
#undef LET_GO
}

/* ------------------------------------------------------------------------------------------------------------ small parts */

/* Seconds into the phase without gradscope's own work and pauses; NAN with an exception set. `clock`: what the clock says. */
static double elapsed(Taps *t, double *clock) {
    PyObject *now = PyObject_CallFunctionObjArgs(given.perf_counter, NULL);
    if (now == NULL)
        return NAN;
    *clock = PyFloat_AsDouble(now);
    Py_DECREF(now);
    const RecordFields *record = (RecordFields *)t->record;
    return *clock - t->started - record->own_seconds - record->paused_seconds;
}

/* What was done since `clock` is no time of the training's. */
static int leave_out_since(Taps *t, double clock) {
    PyObject *now = PyObject_CallFunctionObjArgs(given.perf_counter, NULL);
    if (now == NULL)
        return -1;
    ((RecordFields *)t->record)->own_seconds += PyFloat_AsDouble(now) - clock;
    Py_DECREF(now);
    return 0;
}

/* Whether this is a moment to be noted: DONE if there is nothing to do, TO_PYTHON if it is not known here. */
enum state { NOT_NOW, UNKNOWN, NOW, BROKEN };

static enum state state_of(Taps *t) {
    PyObject *record = PyObject_GetAttr(t->observer, n_record);
    if (record == NULL)
        return BROKEN;
    Py_DECREF(record);
    if (record == Py_None)
        return NOT_NOW;
    if (record != t->record)
        return UNKNOWN;
    int is_muted = is_the(t->observer, n_is_muted, Py_True);
    return is_muted < 0 ? BROKEN : is_muted ? NOT_NOW : NOW;
}

static enum state state_of_layers(Taps *t) {
    enum state state = state_of(t);
    if (state != NOW)
        return state;
    PyObject *task = PyObject_CallFunctionObjArgs(given.graph_task, NULL);
    if (task == NULL)
        return BROKEN;
    long number = PyLong_AsLong(task);
    Py_DECREF(task);
    return number == -1 ? NOW : UNKNOWN;
}

/* Whether somebody may stop training; -1: an exception. */
static int is_armed(Taps *t) {
    PyObject *gate = PyObject_GetAttr(t->gated, n_gate);
    if (gate == NULL)
        return -1;
    int is = 0;
    if (gate != Py_None) {
        PyObject *armed = PyObject_GetAttr(gate, n_is_armed);
        is = armed == NULL ? -1 : PyObject_IsTrue(armed);
        Py_XDECREF(armed);
    }
    Py_DECREF(gate);
    return is;
}

/* At the moment that has come, if anybody wants to. */
static int stop_if_armed(Taps *t, PyObject *substep, const char *event, PyObject *layer, PyObject *call) {
    int armed = is_armed(t);
    if (armed <= 0)
        return armed;
    PyObject *text = PyUnicode_FromString(event);
    PyObject *done =
        text == NULL ? NULL : PyObject_CallMethodObjArgs(t->observer, n_stop_here, substep, text, layer, call, NULL);
    Py_XDECREF(text);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* An exception of gradscope's own is kept; an interruption is raised again. */
static int keep_error(Taps *t) {
    PyObject *type, *error, *trace;
    PyErr_Fetch(&type, &error, &trace);
    PyErr_NormalizeException(&type, &error, &trace);
    if (trace != NULL)
        PyException_SetTraceback(error, trace);
    PyObject *done = PyObject_CallMethodObjArgs(t->observer, n_note_error, error, NULL);
    Py_XDECREF(type);
    Py_XDECREF(error);
    Py_XDECREF(trace);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static int append(PyObject *list, PyObject *value) { return value == NULL ? -1 : PyList_Append(list, value); }

static int append_real(PyObject *list, double value) {
    PyObject *number = PyFloat_FromDouble(value);
    int failed = append(list, number);
    Py_XDECREF(number);
    return failed;
}

/* The list of the layers that this thread is in; borrowed, NULL where there is none (or with an exception). */
static PyObject *own_stack(Taps *t) {
    PyObject *ident = PyLong_FromUnsignedLong(PyThread_get_thread_ident());
    if (ident == NULL)
        return NULL;
    PyObject *stack = PyDict_GetItemWithError(t->stacks, ident);
    if (stack == NULL && !PyErr_Occurred()) {
        PyObject *made = PyList_New(0);
        if (made != NULL && PyDict_SetItem(t->stacks, ident, made) == 0)
            stack = made;
        /* The dict holds it. */
        Py_XDECREF(made);
    }
    Py_DECREF(ident);
    return stack;
}

static int tell_running(Taps *t, PyObject *name) {
    PyObject *tell = PyObject_GetAttr(t->running, n_tell);
    if (tell == NULL)
        return -1;
    PyObject *done = tell == Py_None ? Py_NewRef(Py_None) : PyObject_CallFunctionObjArgs(tell, name, NULL);
    Py_DECREF(tell);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* ------------------------------------------------------------------------------------------------------------ one subject */

/* A subject that can be summarised here: looked at first, then taken. */
struct subject {
    PyObject *slot; /* borrowed */
    PyObject *tensor;
    struct plain plain;
    int is_locked; /* the record's lock is held */
};

static void release(Taps *t, struct subject *s) {
    let_go(&s->plain);
    if (s->is_locked) {
        PyObject *type, *error, *trace;
        PyErr_Fetch(&type, &error, &trace);
        Py_XDECREF(PyObject_CallMethodObjArgs(t->lock, n_release, NULL));
        PyErr_Restore(type, error, trace);
        s->is_locked = 0;
    }
}

/* Whether a slot has the form of what lies in it now: float32 of this shape, without a note. */
static int has_form(PyObject *slot, const struct plain *plain) {
    const SlotFields *fields = as_SlotFields(slot);
    if (fields == NULL)
        return -1;
    if (fields->dtype != given.float32 || fields->note == NULL || PyUnicode_GetLength(fields->note) != 0)
        return PyErr_Occurred() ? -1 : 0;
    return has_shape(plain, fields->shape);
}

/* Whether it is the tensor that was taken the last time, unchanged: its numbers are known. */
static int is_last(Taps *t, PyObject *tensor) {
    PyObject *last = held(((RecordFields *)t->record)->last);
    if (last == NULL)
        return -1;
    int is = 0;
    if (last != Py_None) {
        PyObject *reference = PyTuple_GetItem(last, 0);
        PyObject *known = reference == NULL ? NULL : PyObject_CallNoArgs(reference);
        is = known == NULL ? -1 : known == tensor;
        Py_XDECREF(known);
    }
    return is;
}

/* Whether its values are to be kept. */
static int is_kept(Taps *t, PyObject *slot) {
    PyObject *all = PyObject_GetAttr(t->keeper, n_keeps_all), *ranks = PyObject_GetAttr(t->keeper, n_ranks);
    int is = all == NULL || ranks == NULL ? -1 : PyObject_IsTrue(all);
    if (is == 0 && (is = PyObject_IsTrue(ranks)) == 1) {
        /* Only now: to ask for a key takes long. */
        const SlotFields *fields = as_SlotFields(slot);
        PyObject *key = fields == NULL ? NULL : held(fields->key);
        is = key == NULL ? -1 : PySequence_Contains(ranks, key);
    }
    Py_XDECREF(all);
    Py_XDECREF(ranks);
    return is;
}

/* The same, made so. */
static int give_form(Taps *t, PyObject *slot, const struct subject *s) {
    int is = has_form(slot, &s->plain);
    if (is != 0)
        return is;
    PyObject *note = PyUnicode_FromString(""), *shape = note == NULL ? NULL : PyObject_GetAttr(s->tensor, n_shape);
    PyObject *done = shape == NULL ? NULL
                                   : PyObject_CallMethodObjArgs(t->tables, n_set_form, slot, shape, given.float32, note,
                                                                NULL);
    Py_XDECREF(note);
    Py_XDECREF(shape);
    Py_XDECREF(done);
    return done == NULL ? -1 : 1;
}

/* Whether it is a tensor that can be summarised here. */
static enum outcome begin_subject(Taps *t, PyObject *tensor, struct subject *s) {
    *s = (struct subject){.tensor = tensor};
    return t->summarise == NULL ? TO_PYTHON : look_at(tensor, &s->plain);
}

/* Everything else that may be refused, after that. From here until `take` no other thread gets into the record: no Python
 * runs, and the lock is held or the interpreter's is. */
static enum outcome prepare(Taps *t, PyObject *slot, struct subject *s) {
    int no;
    s->slot = slot;
    /* Taken a second time in this phase, it replaces the first. */
    const SlotFields *fields = as_SlotFields(slot);
    no = fields == NULL ? -1 : fields->record == t->number;
    if (no == 0 && (no = is_last(t, s->tensor)) == 0 &&
        (no = is_kept(t, slot)) == 0 && (no = give_form(t, slot, s)) >= 0)
        no = !no;
    if (no == 0) {
        int64_t room = whole(t->summaries, n_room);
        no = room < 0 && PyErr_Occurred() ? -1 : PyList_Size(t->rows) >= room;
    }
    if (no == 0 && s->plain.count < ALONE_BELOW) {
        no = returns_the(t->lock, n_locked, Py_False);
        no = no < 0 ? no : !no;
    } else if (no == 0) {
        PyObject *got = PyObject_CallMethodObjArgs(t->lock, n_acquire, Py_False, NULL);
        no = got == NULL ? -1 : got != Py_True;
        s->is_locked = no == 0;
        Py_XDECREF(got);
    }
    if (no == 0)
        return DONE;
    release(t, s);
    return no < 0 ? refused() : TO_PYTHON;
}

static const struct output *output_of(Taps *t) {
    PyObject *output = PyObject_GetAttr(t->summaries, n_output);
    if (output == NULL)
        return NULL;
    const struct output *address = (const struct output *)(intptr_t)whole(output, n_address);
    Py_DECREF(output);
    return PyErr_Occurred() ? NULL : address;
}

/* The summary of a subject is there. */
static int put(Taps *t, PyObject *slot, PyObject *position) {
    SlotFields *fields = as_SlotFields(slot);
    if (fields == NULL || append(t->rows, held(fields->row)) < 0)
        return -1;
    set_field(&fields->record, t->number);
    set_field(&fields->position, position);
    return 0;
}

/* What was prepared. 1: it has NaN or Inf; 0: it has none; -1: an exception. */
static int take(Taps *t, struct subject *s) {
    const struct output *output = output_of(t);
    if (output == NULL)
        return -1;
    Py_ssize_t at = PyList_Size(t->rows);
    if (s->is_locked) {
        Py_BEGIN_ALLOW_THREADS
        t->summarise(output, s->plain.numbers, NULL, s->plain.count, at);
        Py_END_ALLOW_THREADS
    } else
        t->summarise(output, s->plain.numbers, NULL, s->plain.count, at);
    const double *row = output->rows + at * given.columns;
    int is_bad = row[given.nan_count] != 0 || row[given.inf_count] != 0;
    PyObject *position = PyLong_FromSsize_t(at);
    if (position == NULL || put(t, s->slot, position) < 0) {
        Py_XDECREF(position);
        return -1;
    }
    /* Weak: a strong one to a gradient would keep autograd from adding to it in place. */
    PyObject *reference = PyWeakref_NewRef(s->tensor, NULL);
    PyObject *last = reference == NULL ? NULL : PyTuple_Pack(3, reference, s->plain.version, position);
    if (last != NULL)
        set_field(&((RecordFields *)t->record)->last, last);
    int failed = last == NULL;
    Py_XDECREF(reference);
    Py_XDECREF(last);
    Py_DECREF(position);
    return failed ? -1 : is_bad;
}

#include "gradients.h"
#include "layers.h"
#include "parameters.h"
#include "beside.h"
#include "functions.h"
#include "memory.h"
#include "module.h"
