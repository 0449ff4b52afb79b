/* What is asked of torch, by attributes alone: nothing is known of how a tensor lies in memory but its numbers. */

#ifndef GRADSCOPE_PLAIN_H
#define GRADSCOPE_PLAIN_H

#include <Python.h>
#include <stdint.h>

#include "names.h"

/* What a function comes to that may leave its work to Python. FAILED: an exception is set. */
enum outcome { FAILED = -1, TO_PYTHON = 0, DONE = 1 };

/* Given once, by set_up. */
static struct {
    PyObject *tensor, *parameter, *float32, *strided; /* types, a dtype, a layout */
    PyObject *is_functorch, *graph_task, *perf_counter, *ordered_dict;
    PyObject *no_gradient, *no_gradient_of_view; /* reasons */
    PyObject *backward;                          /* the sub-step */
    Py_ssize_t columns, nan_count, inf_count; /* of a summary's row */
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

/* A tensor whose numbers lie as C has them. */
struct plain {
    PyObject *version, *shape; /* owned */
    const float *numbers;
    int64_t count; /* at least 1 */
};

static void let_go(struct plain *p) {
    Py_CLEAR(p->version);
    Py_CLEAR(p->shape);
}

static int is_one(PyObject *function, PyObject *argument) {
    return is_wanted(PyObject_CallFunctionObjArgs(function, argument, NULL), Py_True);
}

/* What values.plain_address asks, in its order. The shape and version are there only if it is DONE. An inference tensor has no
 * version, and refuses. */
static enum outcome look_at(PyObject *tensor, struct plain *p) {
    *p = (struct plain){NULL, NULL, NULL, 0};
    PyObject *type = (PyObject *)Py_TYPE(tensor);
    if (type != given.tensor && type != given.parameter)
        return TO_PYTHON;
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
        is = is == 0 ? 1 : 0;
    if (is != 1)
        return is == 0 ? TO_PYTHON : refused();
    p->count = number_from(tensor, n_numel);
    if (p->count < 0)
        return refused();
    int64_t address = p->count > 0 ? number_from(tensor, n_data_ptr) : 0;
    if (address == -1 && PyErr_Occurred())
        return refused();
    if (address == 0)
        return TO_PYTHON;
    p->numbers = (const float *)(intptr_t)address;
    if ((p->version = PyObject_GetAttr(tensor, n_version)) == NULL ||
        (p->shape = PyObject_GetAttr(tensor, n_shape)) == NULL) {
        let_go(p);
        return refused();
    }
    return DONE;
}

#endif
