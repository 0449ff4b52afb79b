/* What is asked of many tensors and modules beside the hooks: copies into memory that is there, and whether a model is as it was. */

#ifndef GRADSCOPE_BESIDE_H
#define GRADSCOPE_BESIDE_H

/* As quantities/kernel/kernel.c has it. */
struct copy {
    const char *from;
    char *to;
    int64_t bytes;
};

typedef void copy_many(struct copy *, int64_t);

typedef struct {
    PyObject_HEAD
    PyObject *held; /* the tensors that addresses are known of */
    struct copy *copies;
    Py_ssize_t count, room;
} Copies;

static PyObject *copies_type;

static int make_room_for_one(Copies *c) {
    if (c->count < c->room)
        return 0;
    Py_ssize_t room = c->room == 0 ? 64 : 2 * c->room;
    struct copy *copies = PyMem_Realloc(c->copies, (size_t)room * sizeof *copies);
    if (copies == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    c->copies = copies;
    c->room = room;
    return 0;
}

/* True: it will be copied. False: they are not both plain, or of two forms. */
static PyObject *copies_add(Copies *c, PyObject *const *args, Py_ssize_t count) {
    if (!takes(count, 2))
        return NULL;
    struct plain from, to;
    enum outcome outcome = look_at(args[0], &from);
    if (outcome == DONE) {
        outcome = look_at(args[1], &to);
        if (outcome == DONE) {
            outcome = has_shape_of(&from, &to) ? DONE : TO_PYTHON;
            let_go(&to);
        }
        let_go(&from);
    }
    if (outcome != DONE)
        return outcome == FAILED ? NULL : Py_NewRef(Py_False);
    if (make_room_for_one(c) < 0 || PyList_Append(c->held, args[0]) < 0 || PyList_Append(c->held, args[1]) < 0)
        return NULL;
    c->copies[c->count++] =
        (struct copy){(const char *)from.numbers, (char *)(intptr_t)to.numbers, from.count * (int64_t)sizeof(float)};
    return Py_NewRef(Py_True);
}

static PyObject *copies_finish(Copies *c, PyObject *address) {
    copy_many *copy_all = (copy_many *)PyLong_AsVoidPtr(address);
    PyObject *nothing = copy_all == NULL ? NULL : PyList_New(0);
    if (nothing == NULL) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "the address of a function is not 0");
        return NULL;
    }
    /* Taken out first: others run meanwhile. */
    PyObject *held = c->held;
    struct copy *copies = c->copies;
    Py_ssize_t count = c->count;
    c->held = nothing;
    c->copies = NULL;
    c->count = c->room = 0;
    if (count > 0) {
        Py_BEGIN_ALLOW_THREADS
        copy_all(copies, count);
        Py_END_ALLOW_THREADS
    }
    PyMem_Free(copies);
    Py_DECREF(held);
    Py_RETURN_NONE;
}

static PyObject *copies_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    if (PyTuple_Size(args) != 0 || kwargs != NULL) {
        PyErr_SetString(PyExc_TypeError, "Copies takes no arguments");
        return NULL;
    }
    Copies *c = PyObject_New(Copies, type);
    if (c == NULL)
        return NULL;
    c->copies = NULL;
    c->count = c->room = 0;
    c->held = PyList_New(0);
    if (c->held == NULL) {
        Py_DECREF(c);
        return NULL;
    }
    return (PyObject *)c;
}

static void copies_dealloc(Copies *c) {
    PyTypeObject *type = Py_TYPE((PyObject *)c);
    Py_XDECREF(c->held);
    PyMem_Free(c->copies);
    PyObject_Free(c);
    Py_DECREF(type);
}

static PyMethodDef copies_methods[] = {
    {"add", (PyCFunction)(void (*)(void))copies_add, METH_FASTCALL,
     "(source, target): whether both are plain and of one shape, and the one will be copied into the other."},
    {"finish", (PyCFunction)copies_finish, METH_O, "(address of the kernel's function): now."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot copies_slots[] = {
    {Py_tp_new, copies_new},
    {Py_tp_dealloc, copies_dealloc},
    {Py_tp_methods, copies_methods},
    {Py_tp_doc, "Tensors that are copied in one call, each into memory that is there."},
    {0, NULL},
};

static PyType_Spec copies_spec = {
    .name = "gradscope.engine.capture.native.Copies",
    .basicsize = sizeof(Copies),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = copies_slots,
};

/* --------------------------------------------------------------------------------------------------------- the structure */

/* Whether a dict holds these very objects under these very names, in this order. */
static int holds(PyObject *dict, PyObject *names, PyObject *ids) {
    if (!PyDict_CheckExact(dict) || PyDict_Size(dict) != PyList_Size(names))
        return 0;
    PyObject *name, *value;
    Py_ssize_t at = 0;
    for (Py_ssize_t i = 0; PyDict_Next(dict, &at, &name, &value); i++) {
        PyObject *id = PyList_GetItem(ids, i);
        if (id == NULL || PyList_GetItem(names, i) != name || PyLong_AsVoidPtr(id) != (void *)value)
            return PyErr_Occurred() ? -1 : 0;
    }
    return 1;
}

/* How many places there are before the first one where something has moved, or that is left to Python. */
static PyObject *count_unchanged(PyObject *Py_UNUSED(module), PyObject *places) {
    Py_ssize_t count = PyList_Size(places), at = 0;
    if (count < 0)
        return NULL;
    for (int is = 1; at < count && is == 1; at += is == 1) {
        PyObject *place = Py_XNewRef(PyList_GetItem(places, at)), *of[5];
        for (int i = 0; i < 5; i++)
            if (place == NULL || (of[i] = PyTuple_GetItem(place, i)) == NULL) {
                Py_XDECREF(place);
                return NULL;
            }
        PyObject *own = PyObject_GetAttr(of[0], n_own_parameters);
        PyObject *inner = own == NULL ? NULL : PyObject_GetAttr(of[0], n_own_modules);
        is = inner == NULL ? -1 : holds(own, of[1], of[2]);
        if (is == 1)
            is = holds(inner, of[3], of[4]);
        Py_XDECREF(own);
        Py_XDECREF(inner);
        Py_DECREF(place);
        /* A module that refuses tells Python why. */
        if (is < 0 && refused() == FAILED)
            return NULL;
    }
    return PyLong_FromSsize_t(at);
}

#endif
