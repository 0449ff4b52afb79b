/* A function mode of torch's that looks on: `self.after(func, args, kwargs, result)` follows each call.
 *
 * There is no line of Python between the user's and the function: a warning of torch's names the innermost of them.
 */

#ifndef GRADSCOPE_FUNCTIONS_H
#define GRADSCOPE_FUNCTIONS_H

static PyObject *look_on(PyObject *self, PyObject *given_args, PyObject *given_kwargs) {
    static char *names[] = {"func", "types", "args", "kwargs", NULL};
    PyObject *func, *types, *args = NULL, *kwargs = Py_None;
    if (!PyArg_ParseTupleAndKeywords(given_args, given_kwargs, "OO|OO", names, &func, &types, &args, &kwargs))
        return NULL;
    if (kwargs != Py_None && !PyDict_Check(kwargs)) {
        PyErr_SetString(PyExc_TypeError, "kwargs is a dict, or None");
        return NULL;
    }
    args = args == NULL ? PyTuple_New(0) : PySequence_Tuple(args);
    kwargs = kwargs == Py_None ? PyDict_New() : Py_NewRef(kwargs);
    PyObject *result = args == NULL || kwargs == NULL ? NULL : PyObject_Call(func, args, kwargs);
    if (result != NULL) {
        PyObject *done = PyObject_CallMethodObjArgs(self, n_after, func, args, kwargs, result, NULL);
        if (done == NULL)
            Py_CLEAR(result);
        Py_XDECREF(done);
    }
    Py_XDECREF(args);
    Py_XDECREF(kwargs);
    return result;
}

static PyMethodDef looks_on_methods[] = {
    {"__torch_function__", (PyCFunction)(void (*)(void))look_on, METH_VARARGS | METH_KEYWORDS,
     "(func, types, args=(), kwargs=None): what the function returns."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot looks_on_slots[] = {
    {Py_tp_methods, looks_on_methods},
    {Py_tp_doc, "The compiled part of a LookingOn."},
    {0, NULL},
};

static PyType_Spec looks_on_spec = {
    .name = "gradscope.engine.capture.native.LooksOn",
    .basicsize = sizeof(PyObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = looks_on_slots,
};

#endif
