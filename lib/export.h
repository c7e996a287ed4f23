/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_EXPORT_H
#define SPOOL_EXPORT_H

/*
 * Compiled in front of every file of the library (-include, with -fvisibility=hidden): what the public header declares
 * is exported and everything else is hidden, with no mark on either. lib/libspool.map gives the names their version.
 */
#pragma GCC visibility push(default)
#include <spool.h>
#pragma GCC visibility pop

#endif
