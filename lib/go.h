/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_GO_H
#define SPOOL_GO_H

#include <pthread.h>
#include <signal.h>

#include "chan.h"

enum {
    SPOOL__NO_JOB, /* idle, in the list, and looks for one */
    SPOOL__SLEEPS, /* the same, and has to be woken */
    SPOOL__JOB,    /* the fields below hold a job */
};

/* A thread of spool_go. */
struct spool__worker {
    struct spool__worker *next_idle;
    pthread_t thread;
    uint32_t state; /* futex */
    uint32_t entry; /* in the registry */
    void (*fn)(void *arg);
    void *arg;
    sigset_t mask;
    spool_chan *self;
};

/* Futex of spool_go_wait: how often the number of functions that run has become 0. */
extern uint32_t spool__go_rest;

#endif
