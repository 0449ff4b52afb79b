/* Where tensors lie in memory, whatever their numbers are, and whether dicts and lists hold what they held: what is asked of
 * all that a training has, in every step.
 */

#ifndef GRADSCOPE_MEMORY_H
#define GRADSCOPE_MEMORY_H

/* Bytes one after the other. UNKNOWN bytes: it is left to Python. */
struct span {
    int64_t address, bytes;
};

#define UNKNOWN_BYTES (-1)

/* A tensor on the CPU whose numbers lie as C has them. Complex ones may stand for their conjugates: they are left to Python. */
static int span_of(PyObject *tensor, struct span *span) {
    struct exchanged e;
    PyObject *type = (PyObject *)Py_TYPE(tensor);
    *span = (struct span){0, UNKNOWN_BYTES};
    if (given.look == NULL || (type != given.tensor && type != given.parameter))
        return 0;
    int is = given.look(tensor, &e) != 0 ? -1 : e.code != CODE_COMPLEX && lies_in_order(&e);
    if (is == 1)
        is = returns_the(tensor, n_is_neg, Py_False);
    if (is < 0)
        return refused() == FAILED ? -1 : 0;
    int64_t count = is;
    for (int32_t i = 0; i < e.dims && count != 0; i++)
        count *= e.shape[i];
    if (count != 0 && e.data != NULL)
        *span = (struct span){(int64_t)(intptr_t)e.data + (int64_t)e.offset, count * e.lanes * ((e.bits + 7) / 8)};
    return 0;
}

static PyObject *spans(PyObject *Py_UNUSED(module), PyObject *tensors) {
    Py_ssize_t count = PyList_Size(tensors);
    struct span *found = count < 0 ? NULL : PyMem_Malloc((size_t)(count + 1) * sizeof *found);
    if (found == NULL)
        return count < 0 ? NULL : PyErr_NoMemory();
    PyObject *unknown = PyList_New(0), *told = NULL;
    int failed = unknown == NULL;
    for (Py_ssize_t i = 0; i < count && !failed; i++) {
        PyObject *tensor = Py_XNewRef(PyList_GetItem(tensors, i)), *place = NULL;
        failed = tensor == NULL || span_of(tensor, found + i) < 0;
        if (!failed && found[i].bytes == UNKNOWN_BYTES)
            failed = (place = PyLong_FromSsize_t(i)) == NULL || PyList_Append(unknown, place) < 0;
        Py_XDECREF(place);
        Py_XDECREF(tensor);
    }
    if (!failed)
        told = PyBytes_FromStringAndSize((char *)found, count * (Py_ssize_t)sizeof *found);
    PyObject *result = told == NULL ? NULL : PyTuple_Pack(2, told, unknown);
    Py_XDECREF(told);
    Py_XDECREF(unknown);
    PyMem_Free(found);
    return result;
}

enum { DIFFERS = 0, SAME = 1, LEFT_TO_PYTHON = 2 };

#define MOST_COMPARED (1 << 20) /* bytes: torch compares more with all its threads */

/* Whether each tensor holds the very bytes that lie at an address; 0: it is not known where they lie. */
static PyObject *same(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject *tensors, *addresses;
    if (!PyArg_ParseTuple(args, "O!O!", &PyList_Type, &tensors, &PyList_Type, &addresses))
        return NULL;
    Py_ssize_t count = PyList_Size(tensors);
    char *found = PyList_Size(addresses) < count ? NULL : PyMem_Malloc((size_t)count + 1);
    if (found == NULL)
        return PyErr_NoMemory();
    int failed = 0;
    for (Py_ssize_t i = 0; i < count && !failed; i++) {
        PyObject *tensor = Py_XNewRef(PyList_GetItem(tensors, i)), *number = PyList_GetItem(addresses, i);
        const char *at = number == NULL ? NULL : PyLong_AsVoidPtr(number);
        struct span span;
        failed = PyErr_Occurred() || tensor == NULL || span_of(tensor, &span) < 0;
        if (!failed && (at == NULL || span.bytes < 0 || span.bytes > MOST_COMPARED))
            found[i] = LEFT_TO_PYTHON;
        else if (!failed)
            found[i] = memcmp((const char *)(intptr_t)span.address, at, (size_t)span.bytes) == 0 ? SAME : DIFFERS;
        Py_XDECREF(tensor);
    }
    PyObject *result = failed ? NULL : PyBytes_FromStringAndSize(found, count);
    PyMem_Free(found);
    return result;
}

/* ------------------------------------------------------------------------------------------------------------ containers */

/* Whether a dict holds, under these names, these very objects; what is missing is `nothing`. */
static int holds_names(PyObject *dict, PyObject *nothing, PyObject *names, PyObject *values) {
    for (Py_ssize_t i = 0, count = PyList_Size(names); i < count; i++) {
        PyObject *name = PyList_GetItem(names, i), *wanted = PyList_GetItem(values, i);
        PyObject *value = name == NULL || wanted == NULL ? NULL : PyDict_GetItemWithError(dict, name);
        if (PyErr_Occurred())
            return -1;
        if ((value == NULL ? nothing : value) != wanted)
            return 0;
    }
    return 1;
}

static int holds_items(PyObject *dict, PyObject *keys, PyObject *values) {
    Py_ssize_t count = PyList_Size(values), at = 0;
    PyObject *key, *value;
    if (PyDict_Size(dict) != count || PyList_Size(keys) != count)
        return 0;
    for (Py_ssize_t i = 0; PyDict_Next(dict, &at, &key, &value); i++)
        if (i >= count || PyList_GetItem(values, i) != value || PyList_GetItem(keys, i) != key)
            return PyErr_Occurred() ? -1 : 0;
    return 1;
}

static int holds_values(PyObject *list, PyObject *values) {
    Py_ssize_t count = PyList_Size(values);
    if (PyList_Size(list) != count)
        return 0;
    for (Py_ssize_t i = 0; i < count; i++)
        if (PyList_GetItem(list, i) != PyList_GetItem(values, i))
            return 0;
    return 1;
}

/* Of a content and what was taken of it; anything that is not of the form that is known here has moved. */
static int is_unmoved(PyObject *content, PyObject *taken) {
    if (content == Py_None || !PyTuple_Check(taken) || PyTuple_Size(taken) != 2)
        return 0;
    PyObject *keys = PyTuple_GetItem(taken, 0), *values = PyTuple_GetItem(taken, 1);
    if (!PyList_Check(keys) || !PyList_Check(values))
        return 0;
    if (PyDict_Check(content))
        return holds_items(content, keys, values);
    if (PyList_Check(content))
        return holds_values(content, values);
    if (!PyTuple_Check(content) || PyTuple_Size(content) != 2 || !PyDict_CheckExact(PyTuple_GetItem(content, 0)))
        return 0;
    return holds_names(PyTuple_GetItem(content, 0), PyTuple_GetItem(content, 1), keys, values);
}

/* Of lists that lie beside each other; one may be the longer one. A byte for each pair. */
static PyObject *unmoved(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject *contents, *taken;
    if (!PyArg_ParseTuple(args, "O!O!", &PyList_Type, &contents, &PyList_Type, &taken))
        return NULL;
    Py_ssize_t count = PyList_Size(contents), others = PyList_Size(taken);
    if (others < count)
        count = others;
    char *found = PyMem_Malloc((size_t)count + 1);
    if (found == NULL)
        return PyErr_NoMemory();
    int is = 1;
    for (Py_ssize_t i = 0; i < count && is >= 0; i++) {
        PyObject *content = Py_XNewRef(PyList_GetItem(contents, i)), *of = Py_XNewRef(PyList_GetItem(taken, i));
        is = content == NULL || of == NULL ? -1 : is_unmoved(content, of);
        found[i] = (char)is;
        Py_XDECREF(content);
        Py_XDECREF(of);
    }
    PyObject *result = is < 0 ? NULL : PyBytes_FromStringAndSize(found, count);
    PyMem_Free(found);
    return result;
}

#endif
