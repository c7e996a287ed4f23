/* SPDX-License-Identifier: LGPL-3.0-or-later */

#include "bench.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Room for one more after n, doubled when n is a power of two. */
void *grow(void *array, size_t n, size_t size)
{
    if (n & (n - 1))
        return array;
    array = realloc(array, (n ? 2 * n : 1) * size);
    if (!array)
        die("memory", errno);
    return array;
}

const struct figure *figures_find(const struct figures *f, const char *name)
{
    for (size_t i = 0; i < f->n; i++)
        if (!strcmp(f->of[i].name, name))
            return f->of + i;
    return NULL;
}

void figures_add(struct figures *f, const char *name, double value)
{
    struct figure *one = (struct figure *)figures_find(f, name);
    if (!one) {
        f->of = grow(f->of, f->n, sizeof *f->of);
        one = f->of + f->n++;
        memset(one, 0, sizeof *one);
        snprintf(one->name, sizeof one->name, "%s", name);
    }
    if (one->n < ROUNDS_MAX)
        one->values[one->n++] = value;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double figure_median(const struct figure *f)
{
    double sorted[ROUNDS_MAX];
    memcpy(sorted, f->values, f->n * sizeof *sorted);
    qsort(sorted, f->n, sizeof *sorted, ascending);
    return f->n % 2 ? sorted[f->n / 2] : (sorted[f->n / 2 - 1] + sorted[f->n / 2]) / 2;
}

double figure_min(const struct figure *f)
{
    double least = f->values[0];
    for (size_t i = 1; i < f->n; i++)
        least = f->values[i] < least ? f->values[i] : least;
    return least;
}

double figure_max(const struct figure *f)
{
    double most = f->values[0];
    for (size_t i = 1; i < f->n; i++)
        most = f->values[i] > most ? f->values[i] : most;
    return most;
}
