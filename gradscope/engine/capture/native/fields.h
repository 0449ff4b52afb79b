/* What the taps read and write most, where C can reach it: bases of the capture's own classes, with some of their attributes.
 *
 * To Python they are attributes as any other. `fields.py` has the same classes for where there is no extension.
 */

#ifndef GRADSCOPE_FIELDS_H
#define GRADSCOPE_FIELDS_H

#include <Python.h>
#include <structmember.h>

#define SLOT_FIELDS(X, T)                                                                                              \
    X(T, dtype, "dtype")                                                                                               \
    X(T, key, "key") X(T, note, "note") X(T, position, "position") X(T, record, "record") X(T, row, "row")            \
    X(T, shape, "shape")
#define CALL_FIELDS(X, T)                                                                                              \
    X(T, activation, "activation")                                                                                     \
    X(T, bytes, "bytes") X(T, gradient, "gradient") X(T, place, "place") X(T, plain_shape, "plain_shape")             \
    X(T, substep, "substep")
#define PARAMETER_FIELDS(X, T)                                                                                         \
    X(T, change, "change")                                                                                             \
    X(T, gradient, "gradient") X(T, parameter, "parameter") X(T, place, "place") X(T, shape, "shape")
#define RECORD_FIELDS(X, T) X(T, last, "_last") X(T, substep, "substep")

#define DECLARE_FIELD(T, field, text) PyObject *field;

typedef struct {
    PyObject_HEAD
    SLOT_FIELDS(DECLARE_FIELD, )
} SlotFields;

typedef struct {
    PyObject_HEAD
    CALL_FIELDS(DECLARE_FIELD, )
} CallFields;

typedef struct {
    PyObject_HEAD
    PARAMETER_FIELDS(DECLARE_FIELD, )
} ParameterFields;

typedef struct {
    PyObject_HEAD
    RECORD_FIELDS(DECLARE_FIELD, )
    double own_seconds, paused_seconds;
} RecordFields;

#define VISIT_FIELD(T, field, text) Py_VISIT(((T *)self)->field);
#define CLEAR_FIELD(T, field, text) Py_CLEAR(((T *)self)->field);
#define MEMBER(T, field, text) {text, T_OBJECT_EX, offsetof(T, field), 0, NULL},

/* The type of a base; what it may have beside objects comes last. */
#define BASE_TYPE(T, FIELDS, ...)                                                                                      \
    static PyObject *type_of_##T;                                                                                      \
    static int traverse_##T(PyObject *self, visitproc visit, void *arg) {                                              \
        Py_VISIT(Py_TYPE(self));                                                                                       \
        FIELDS(VISIT_FIELD, T)                                                                                         \
        return 0;                                                                                                      \
    }                                                                                                                  \
    static int clear_##T(PyObject *self) {                                                                             \
        FIELDS(CLEAR_FIELD, T)                                                                                         \
        return 0;                                                                                                      \
    }                                                                                                                  \
    static void dealloc_##T(PyObject *self) {                                                                          \
        PyTypeObject *type = Py_TYPE(self);                                                                            \
        PyObject_GC_UnTrack(self);                                                                                     \
        clear_##T(self);                                                                                               \
        ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);                                                            \
        Py_DECREF(type);                                                                                               \
    }                                                                                                                  \
    static PyMemberDef members_of_##T[] = {FIELDS(MEMBER, T) __VA_ARGS__{NULL, 0, 0, 0, NULL}};                        \
    static PyType_Slot slots_of_##T[] = {                                                                              \
        {Py_tp_traverse, traverse_##T},                                                                                \
        {Py_tp_clear, clear_##T},                                                                                      \
        {Py_tp_dealloc, dealloc_##T},                                                                                  \
        {Py_tp_members, members_of_##T},                                                                               \
        {0, NULL},                                                                                                     \
    };                                                                                                                 \
    static PyType_Spec spec_of_##T = {                                                                                 \
        .name = "gradscope.engine.capture.native." #T,                                                                 \
        .basicsize = sizeof(T),                                                                                        \
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,                                        \
        .slots = slots_of_##T,                                                                                         \
    };                                                                                                                 \
    /* NULL with an exception where it is none. */                                                                     \
    static T *as_##T(PyObject *object) {                                                                               \
        if (PyObject_TypeCheck(object, (PyTypeObject *)type_of_##T))                                                   \
            return (T *)object;                                                                                        \
        PyErr_SetString(PyExc_TypeError, "not an object with " #T);                                                    \
        return NULL;                                                                                                   \
    }

BASE_TYPE(SlotFields, SLOT_FIELDS, )
BASE_TYPE(CallFields, CALL_FIELDS, )
BASE_TYPE(ParameterFields, PARAMETER_FIELDS, )
BASE_TYPE(RecordFields, RECORD_FIELDS,
          {"own_seconds", T_DOUBLE, offsetof(RecordFields, own_seconds), 0, NULL},
          {"paused_seconds", T_DOUBLE, offsetof(RecordFields, paused_seconds), 0, NULL}, )

/* What a field holds; borrowed, NULL with an exception where it was never set. */
static PyObject *held(PyObject *field) {
    if (field == NULL)
        PyErr_SetString(PyExc_AttributeError, "a field was never set");
    return field;
}

static void set_field(PyObject **field, PyObject *value) {
    PyObject *before = *field;
    *field = Py_NewRef(value);
    Py_XDECREF(before);
}

static int add_bases(PyObject *module) {
    struct {
        PyObject **type;
        PyType_Spec *spec;
        const char *name;
    } bases[] = {
        {&type_of_SlotFields, &spec_of_SlotFields, "SlotFields"},
        {&type_of_CallFields, &spec_of_CallFields, "CallFields"},
        {&type_of_ParameterFields, &spec_of_ParameterFields, "ParameterFields"},
        {&type_of_RecordFields, &spec_of_RecordFields, "RecordFields"},
    };
    for (size_t i = 0; i < sizeof bases / sizeof *bases; i++)
        if ((*bases[i].type = PyType_FromSpec(bases[i].spec)) == NULL ||
            PyModule_AddObjectRef(module, bases[i].name, *bases[i].type) < 0)
            return -1;
    return 0;
}

#endif
