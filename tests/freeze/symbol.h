/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_TEST_SYMBOL_H
#define SPOOL_TEST_SYMBOL_H

#include <stddef.h>
#include <stdint.h>

/* The function that an instruction of this program, or of a library, belongs to, as NAME+0xOFFSET. */
void symbol_name(uintptr_t pc, char *ret, size_t size);

#endif
