/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_FAULTS_PLAN_H
#define SPOOL_FAULTS_PLAN_H

/* What can be planned, and what has come of it. */

#include "kernel.h"

#include <stdatomic.h>
#include <sys/types.h>

struct fault_rule {
    enum fault_call call;
    int error; /* 0: spurious success */
    enum fault_effect effect;
    unsigned class;   /* which calls it can happen to */
    int seen;         /* what the library may then say; 0: nothing */
    const char *func; /* only there; NULL: everywhere */
};

extern const struct fault_rule fault_rules[];
extern const int fault_n_rules;

enum { SITES_MAX = 256 };

/* One of each id. */
extern const struct fault_site *fault_sites[SITES_MAX];
extern int fault_n_sites;

/* Shared by the driver and the process that runs a scene. */
struct fault_shared {
    atomic_uint calls[SITES_MAX][CLASSES];
    atomic_bool armed;
    atomic_int fired[2]; /* one for each plan */
    _Atomic pid_t fired_in;
    atomic_int step;          /* the line of the scene's last call */
    const char *_Atomic said; /* the text of that call */
    char wrong[1024];
    atomic_bool is_wrong;
};

extern struct fault_shared *fault_shared;

struct fault_plan {
    const struct fault_rule *rule; /* NULL: nothing fails */
    int site;
    unsigned kth; /* from 1 */
};

/* The second is for what is called only once the first has failed: giving back what was made so far, say. */
extern struct fault_plan fault_plans[2];

const char *fault_call_name(int call);
bool fault_applies(const struct fault_rule *rule, const struct fault_site *site);
void fault_find_sites(void);
/* A kernel without the ioctl that makes a timer fire. */
extern bool fault_no_timer_ioctl;

/* This thread's call has met a planned failure since it was last asked. */
bool fault_fired_here(void);

/* Blocks, those of them that are the threads', and mappings that the library has. */
extern atomic_long fault_blocks, fault_workers, fault_maps;

#endif
