/* How a tensor lies in memory, asked in one call: torch's side of DLPack's C exchange, from torch 2.10 on.
 *
 * The layout of these structures is DLPack's (dlpack.h of version 1.2; data-apis/array-api's "C exchange API"): what comes
 * before the function is named only as far as it takes room.
 */

#ifndef GRADSCOPE_EXCHANGE_H
#define GRADSCOPE_EXCHANGE_H

#include <Python.h>
#include <stdint.h>

#define EXCHANGE_MAJOR 1
#define DEVICE_CPU 1
#define CODE_FLOAT 2
#define CODE_COMPLEX 5

struct exchanged {
    void *data;
    int32_t device_type, device_number;
    int32_t dims;
    uint8_t code, bits;
    uint16_t lanes;
    int64_t *shape, *strides; /* the tensor's own, as long as it is there and as it is; strides in elements */
    uint64_t offset;          /* bytes */
};

/* 0, or -1 with an exception set. Nothing is held, and nothing waited for. */
typedef int exchange_one(void *tensor, struct exchanged *out);

struct exchange {
    uint32_t major, minor;
    void *before, *allocates, *exports, *imports;
    exchange_one *look;
    void *stream;
};

/* What a capsule of torch's offers; NULL where it is None, or of another version. */
static exchange_one *exchange_of(PyObject *capsule) {
    if (capsule == Py_None || !PyCapsule_CheckExact(capsule))
        return NULL;
    const struct exchange *offered = PyCapsule_GetPointer(capsule, PyCapsule_GetName(capsule));
    return offered == NULL || offered->major != EXCHANGE_MAJOR ? NULL : offered->look;
}

/* On the CPU, one number beside the other as C has them. */
static int lies_in_order(const struct exchanged *e) {
    if (e->device_type != DEVICE_CPU)
        return 0;
    int64_t stride = 1;
    for (int32_t i = e->dims - 1; i >= 0; i--)
        if (e->shape[i] != 1) {
            if (e->strides != NULL && e->strides[i] != stride)
                return 0;
            stride *= e->shape[i];
        }
    return 1;
}

/* The same, of float32. */
static int lies_plainly(const struct exchanged *e) {
    return e->code == CODE_FLOAT && e->bits == 32 && e->lanes == 1 && lies_in_order(e);
}

#endif
