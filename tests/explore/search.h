/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_EXPLORE_SEARCH_H
#define SPOOL_EXPLORE_SEARCH_H

#include "explore.h"

/* What a search found, or that it found nothing. */
struct ex_result {
    uint64_t runs;
    bool complete; /* every run up to the bound was made */
    bool failed;
    char message[512];
};

/* All runs of the scenario up to the bound, up to max_runs and in up to max_seconds. */
struct ex_result ex_search(const struct ex_scenario *scenario, enum ex_memory memory, int bound, uint64_t max_runs,
                           double max_seconds);
/*
 * Runs at random: each thread has a priority, and at depth - 1 steps the one that runs gets the lowest (S. Burckhardt,
 * P. Kothari, M. Musuvathi, S. Nagarakatte, "A randomized scheduler with probabilistic guarantees of finding bugs",
 * 2010).
 */
struct ex_result ex_random(const struct ex_scenario *scenario, enum ex_memory memory, uint64_t seed, int depth,
                           double max_seconds);
/* Makes the choices of the last run that failed the usual ones wherever it fails even so. Then makes it again, traced.
 */
void ex_shrink(const struct ex_scenario *scenario, enum ex_memory memory, struct ex_result *result);
void ex_show(const struct ex_scenario *scenario, enum ex_memory memory);
/* The choices as a word for the command line, and back; false if it is none. */
void ex_print_choices(void);
bool ex_read_choices(const char *word);
/* One run with these choices. */
struct ex_result ex_replay(const struct ex_scenario *scenario, enum ex_memory memory);

double ex_seconds(void);

#endif
