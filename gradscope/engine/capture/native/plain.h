/* What is asked of torch, by attributes alone: nothing is known of how a tensor lies in memory but its numbers. */

#ifndef GRADSCOPE_PLAIN_H
#define GRADSCOPE_PLAIN_H

#include <Python.h>
#include <stdint.h>
#include <string.h>

#include "exchange.h"
#include "names.h"

/* What a function comes to that may leave its work to Python. FAILED: an exception is set. */
enum outcome { FAILED = -1, TO_PYTHON = 0, DONE = 1 };

/* Given once, by set_up. */
static struct {
    PyObject *tensor, *parameter, *float32, *strided; /* types, a dtype, a layout */
    PyObject *is_functorch, *graph_task, *perf_counter;
    PyObject *nothing; /* an empty tuple */
    PyObject *no_gradient, *no_gradient_of_view; /* reasons */
    PyObject *backward;                          /* the sub-step */
    Py_ssize_t columns, nan_count, inf_count; /* of a summary's row */
    exchange_one *look;                       /* NULL: torch is asked by attributes */
} given;

/* After an exception: whatever a tensor refuses to tell, Python finds out why. An interruption goes on its way. */
static enum outcome refused(void) {
    if (!PyErr_ExceptionMatches(PyExc_Exception))
        return FAILED;
    PyErr_Clear();
    return TO_PYTHON;
}

/* Whether an answer, which is let go, is this very object; -1: an exception. */
static int is_wanted(PyObject *answer, PyObject *wanted) {
    if (answer == NULL)
        return -1;
    Py_DECREF(answer);
    return answer == wanted;
}

/* The whole number that an answer is, which is let go; -1 with an exception set. */
static int64_t as_number(PyObject *answer) {
    if (answer == NULL)
        return -1;
    int64_t number = PyLong_AsLongLong(answer);
    Py_DECREF(answer);
    return number;
}

/* Of an attribute. */
static int is_the(PyObject *owner, PyObject *name, PyObject *wanted) {
    return is_wanted(PyObject_GetAttr(owner, name), wanted);
}

static int64_t whole(PyObject *owner, PyObject *name) { return as_number(PyObject_GetAttr(owner, name)); }

/* Of what a method without arguments returns. */
static int returns_the(PyObject *owner, PyObject *name, PyObject *wanted) {
    return is_wanted(PyObject_CallMethodObjArgs(owner, name, NULL), wanted);
}

static int64_t number_from(PyObject *owner, PyObject *name) {
    return as_number(PyObject_CallMethodObjArgs(owner, name, NULL));
}

static double real(PyObject *owner, PyObject *name) {
    PyObject *value = PyObject_GetAttr(owner, name);
    if (value == NULL)
        return -1;
    double number = PyFloat_AsDouble(value);
    Py_DECREF(value);
    return number;
}

static int takes(Py_ssize_t given_count, Py_ssize_t count) {
    if (given_count != count)
        PyErr_Format(PyExc_TypeError, "takes %zd arguments, not %zd", count, given_count);
    return given_count == count;
}

/* A tensor whose numbers lie as C has them. One of more dimensions is left to Python. */
#define MOST_DIMS 12

struct plain {
    PyObject *version; /* owned */
    const float *numbers;
    int64_t count; /* at least 1 */
    int64_t shape[MOST_DIMS];
    int dims;
};

static void let_go(struct plain *p) { Py_CLEAR(p->version); }

/* Whether it has this shape, which may be None, or not be there. */
static int has_shape(const struct plain *p, PyObject *shape) {
    if (shape == NULL || !PyTuple_Check(shape) || PyTuple_Size(shape) != p->dims)
        return 0;
    for (int i = 0; i < p->dims; i++) {
        int64_t length = PyLong_AsLongLong(PyTuple_GetItem(shape, i));
        if (length == -1 && PyErr_Occurred())
            return -1;
        if (length != p->shape[i])
            return 0;
    }
    return 1;
}

static int has_shape_of(const struct plain *p, const struct plain *other) {
    return p->dims == other->dims && memcmp(p->shape, other->shape, (size_t)p->dims * sizeof *p->shape) == 0;
}

static int is_one(PyObject *function, PyObject *argument) {
    return is_wanted(PyObject_CallFunctionObjArgs(function, argument, NULL), Py_True);
}

/* By one call. A sparse, nested, wrapped or meta tensor refuses: it has no strides, no address, or no such device. */
static int look_by_exchange(PyObject *tensor, struct plain *p) {
    struct exchanged e;
    if (given.look(tensor, &e) != 0)
        return -1;
    if (!lies_plainly(&e) || e.dims > MOST_DIMS)
        return 0;
    p->count = 1;
    p->dims = e.dims;
    for (int i = 0; i < e.dims; i++)
        p->count *= p->shape[i] = e.shape[i];
    p->numbers = (const float *)(const void *)((const char *)e.data + e.offset);
    if (p->count == 0 || e.data == NULL)
        return 0;
    return returns_the(tensor, n_is_neg, Py_False);
}

/* What values.plain_address asks, in its order. */
static int look_by_attributes(PyObject *tensor, struct plain *p) {
    int is = is_the(tensor, n_is_cpu, Py_True);
    if (is == 1)
        is = is_the(tensor, n_dtype, given.float32);
    if (is == 1)
        is = is_the(tensor, n_layout, given.strided);
    if (is == 1)
        is = is_the(tensor, n_is_nested, Py_False);
    if (is == 1)
        is = returns_the(tensor, n_is_contiguous, Py_True);
    if (is == 1)
        is = returns_the(tensor, n_is_neg, Py_False);
    if (is == 1 && (is = is_one(given.is_functorch, tensor)) >= 0)
        is = !is;
    if (is != 1 || (p->count = number_from(tensor, n_numel)) <= 0)
        return is != 1 ? is : p->count < 0 ? -1 : 0;
    int64_t address = number_from(tensor, n_data_ptr);
    PyObject *shape = address == -1 && PyErr_Occurred() ? NULL : PyObject_GetAttr(tensor, n_shape);
    Py_ssize_t dims = shape == NULL ? -1 : PyTuple_Size(shape);
    for (Py_ssize_t i = 0; i < dims && dims <= MOST_DIMS; i++)
        p->shape[i] = PyLong_AsLongLong(PyTuple_GetItem(shape, i));
    Py_XDECREF(shape);
    p->dims = (int)dims;
    p->numbers = (const float *)(intptr_t)address;
    return dims < 0 || PyErr_Occurred() ? -1 : address != 0 && dims <= MOST_DIMS;
}

/* The version is there only if it is DONE. An inference tensor has none, and refuses. */
static enum outcome look_at(PyObject *tensor, struct plain *p) {
    p->version = NULL;
    PyObject *type = (PyObject *)Py_TYPE(tensor);
    if (type != given.tensor && type != given.parameter)
        return TO_PYTHON;
    int is = given.look != NULL ? look_by_exchange(tensor, p) : look_by_attributes(tensor, p);
    if (is == 1 && (p->version = PyObject_GetAttr(tensor, n_version)) == NULL)
        is = -1;
    return is == 1 ? DONE : is == 0 ? TO_PYTHON : refused();
}

#endif
