/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "freeze.h"

#include "select.h"

/* The operations that a victim is stopped in. */

static const struct {
    const char *name;
    bool puts, gets;
    unsigned moves;
} ops[N_OPS] = {
    [OP_PUT] = {"put", true, false, 1},
    [OP_GET] = {"get", false, true, 1},
    [OP_TRY_PUT] = {"try_put", true, false, 1},
    [OP_TRY_GET] = {"try_get", false, true, 1},
    [OP_PUT_FOR] = {"put_for", true, false, 1},
    [OP_GET_FOR] = {"get_for", false, true, 1},
    [OP_PUT_LATE] = {"put_late", true, false, 1},
    [OP_GET_LATE] = {"get_late", false, true, 1},
    [OP_PUT_MANY] = {"put_many", true, false, 3},
    [OP_GET_MANY] = {"get_many", false, true, 3},
    [OP_CLOSE] = {"close", false, false, 0},
    [OP_LEN] = {"len", false, false, 0},
    [OP_SELECT_PUT] = {"select_put", true, false, 1},
    [OP_SELECT_GET] = {"select_get", false, true, 1},
    [OP_SELECT_TRY_PUT] = {"select_try_put", true, false, 1},
    [OP_SELECT_TRY_GET] = {"select_try_get", false, true, 1},
};

const char *op_name(enum op op)
{
    return ops[op].name;
}

bool op_puts(enum op op)
{
    return ops[op].puts;
}

bool op_gets(enum op op)
{
    return ops[op].gets;
}

unsigned op_moves(enum op op)
{
    return ops[op].moves;
}

uintptr_t op_entry(enum op op)
{
    switch (op) {
    case OP_PUT:
        return (uintptr_t)spool_put;
    case OP_GET:
        return (uintptr_t)spool_get;
    case OP_TRY_PUT:
        return (uintptr_t)spool_try_put;
    case OP_TRY_GET:
        return (uintptr_t)spool_try_get;
    case OP_PUT_FOR:
    case OP_PUT_LATE:
        return (uintptr_t)spool_put_for;
    case OP_GET_FOR:
    case OP_GET_LATE:
        return (uintptr_t)spool_get_for;
    case OP_PUT_MANY:
        return (uintptr_t)spool_put_many;
    case OP_GET_MANY:
        return (uintptr_t)spool_get_many;
    case OP_CLOSE:
        return (uintptr_t)spool_close;
    case OP_LEN:
        return (uintptr_t)spool_len;
    default:
        return (uintptr_t)spool_select_wait;
    }
}

uintptr_t op_sleeps_at(enum op op)
{
    return op == OP_SELECT_PUT || op == OP_SELECT_GET ? (uintptr_t)spool__select_arm : (uintptr_t)spool__gate_announce;
}
