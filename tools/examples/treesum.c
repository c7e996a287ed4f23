/* SPDX-License-Identifier: LGPL-3.0-or-later */
#define _GNU_SOURCE 1

/*
 * treesum: what "find PATH... -type f -exec cksum {} +" prints, in parallel, with one select for all it waits for.
 *
 *     walker --[found]--> main --[ring]--> io_uring --[ring]--> main --[full]--> workers --[parts]--> main
 *                          ^                                                        |
 *                          +------------------------[empty]------------------------+
 *
 * The walker finds and opens files, main reads them block by block through the io_uring, workers sum up the blocks, in
 * any order, and main adds up what they say. There are BLOCKS blocks and no more: they come back through a channel, so
 * reading waits for the workers, and the walker for the reading. On a terminal there is a progress bar, for which a
 * second walker counts what is to be done. SIGINT and SIGTERM end it with what is finished so far.
 *
 *     cc -O2 treesum.c $(pkg-config --cflags --libs spool liburing)
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spool.h>
#include <spool/uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "treesum.h"

enum { BLOCK = 128 * 1024, BLOCKS = 32, OPEN_FILES = 32, TICKS_PER_SECOND = 5 };

struct file {
    struct file *next; /* of those to be read on */
    char *path;
    int fd, error;
    int64_t size;    /* where the end should be; 0: only reading tells, as in /proc */
    int64_t asked;   /* up to here it was read, or is being read */
    unsigned blocks; /* on their way */
    bool listed;     /* among those to be read on */
    bool ended;      /* nothing more is to be read */
    uint32_t sum;
    uint64_t bytes;
};

struct block {
    struct file *file;
    int64_t start;
    size_t want, have;
    unsigned char bytes[BLOCK];
};

struct part {
    struct file *file;
    size_t bytes;
    uint32_t sum;
};

SPOOL_TYPED(files, struct file *);
SPOOL_TYPED(sizes, int64_t);
SPOOL_TYPED(blocks, struct block *);
SPOOL_TYPED(parts, struct part);

/* The cases of the select. The last is there only with a progress bar. */
enum { SIGNALS, CLOCK, FOUND, EMPTY, RING, PARTS, SIZES };

struct treesum {
    spool_select *select;
    spool_chan *signals, *clock, *ring;
    files found;
    sizes sizes;
    blocks empty, full;
    parts parts;

    /* What the select gets. */
    struct signalfd_siginfo signal;
    uint64_t ticks;
    struct file *file;
    struct part part;

    struct file *first, **last; /* to be read on */
    unsigned open;
    bool found_on, empty_on, walking, counting, bar, bar_drawn;
    int stopped_by; /* a signal, */
    bool in_walk;   /* before all was found */
    uint64_t n_summed, n_failed, n_left;
    uint64_t bytes, bytes_shown, bytes_counted;
    double rate; /* bytes per second, smoothed */

    struct io_uring_cqe done; /* last, for it may be followed by more in rings that are set up so */
};

static int check(int result, const char *what)
{
    if (result < 0) {
        fprintf(stderr, "treesum: %s: %s\n", what, strerror(-result));
        exit(1);
    }
    return result;
}

/* ---- Walkers -------------------------------------------------------------------------------------------------- */

static bool count_file(const char *path, const struct stat *st, int error)
{
    int64_t size = error ? 0 : st->st_size;

    (void)path;
    return sizes_put(sizes_self(), &size) == 0;
}

static void count_files(void *arg)
{
    walk_paths(arg, count_file);
}

static void free_file(struct file *file)
{
    if (file->fd >= 0)
        close(file->fd);
    free(file->path);
    free(file);
}

/* Opens it here, where that may take its time. */
static bool find_file(const char *path, const struct stat *found, int error)
{
    struct file *file = calloc(1, sizeof(*file));
    struct stat st = *found;

    check(file && (file->path = strdup(path)) ? 0 : -ENOMEM, path);
    file->fd = error ? -1 : open(path, O_RDONLY | O_NOCTTY | O_CLOEXEC);
    if (!error && (file->fd < 0 || fstat(file->fd, &st) < 0))
        error = errno;
    else if (!error && !S_ISREG(st.st_mode)) /* any more */
        error = NOT_A_FILE;
    file->size = st.st_size;
    file->error = error;
    if (files_put(files_self(), &file) == 0)
        return true;
    free_file(file); /* main has closed the channel: nobody wants more */
    return false;
}

static void find_files(void *arg)
{
    walk_paths(arg, find_file);
}

/* ---- Workers -------------------------------------------------------------------------------------------------- */

static void sum_up(void *arg)
{
    const struct treesum *t = arg;
    struct block *block;

    while (blocks_get(t->full, &block) == 0) {
        int64_t end = block->start + (int64_t)block->have;
        struct part part = {.file = block->file, .bytes = block->have};

        part.sum = crc_shift(crc_block(block->bytes, block->have), part.file->size - end);
        if (blocks_put(t->empty, &block) < 0 || parts_put(t->parts, &part) < 0)
            return;
    }
}

/* ---- What people see ------------------------------------------------------------------------------------------ */

static void erase_bar(struct treesum *t)
{
    if (t->bar_drawn)
        fputs("\r\033[K", stderr);
    t->bar_drawn = false;
}

static void draw_bar(struct treesum *t)
{
    double now = (double)(t->bytes - t->bytes_shown) * TICKS_PER_SECOND / (double)t->ticks;

    t->rate += t->rate > 0 ? (now - t->rate) / 8 : now;
    t->bytes_shown = t->bytes;
    erase_bar(t);
    print_bar(t->bytes, t->counting ? 0 : t->bytes_counted, t->rate);
    t->bar_drawn = true;
}

static void tell(struct treesum *t, const struct file *file)
{
    erase_bar(t);
    if (file->error == ECANCELED) {
        t->n_left++;
    } else if (file->error) {
        fflush(stdout);
        fprintf(stderr, "treesum: %s: %s\n", file->path,
                file->error == NOT_A_FILE ? "Not a regular file" : strerror(file->error));
        t->n_failed++;
    } else {
        uint32_t sum = crc_shift(file->sum, (int64_t)file->bytes - file->size);

        printf("%" PRIu32 " %" PRIu64 " %s\n", crc_finish(sum, file->bytes), file->bytes, file->path);
        t->n_summed++;
    }
}

/* ---- Reading -------------------------------------------------------------------------------------------------- */

static void switch_case(struct treesum *t, int index, bool *is_on, bool on)
{
    if (*is_on != on)
        check(spool_select_enable(t->select, index, on), "select");
    *is_on = on;
}

/* Decides what becomes of a file after anything has happened to it. It may be freed. */
static void settle(struct treesum *t, struct file *file)
{
    if (file->listed || file->blocks > 0)
        return;
    if (file->ended) {
        tell(t, file);
        free_file(file);
        t->open--;
        return;
    }
    file->listed = true;
    file->next = NULL;
    if (!t->first)
        t->last = &t->first;
    *t->last = file;
    t->last = &file->next;
}

static void prepare_read(struct io_uring_sqe *sqe, struct block *block)
{
    io_uring_prep_read(sqe, block->file->fd, block->bytes + block->have, (unsigned)(block->want - block->have),
                       (uint64_t)block->start + block->have);
    io_uring_sqe_set_data(sqe, block);
}

/* There are never more under way than blocks, and for so many the ring has room: this does not wait. */
static void submit(struct treesum *t, const struct io_uring_sqe *sqes, size_t n)
{
    ssize_t r = spool_put_many(t->ring, sqes, n, -1);

    check(r < 0 ? (int)r : r < (ssize_t)n ? -EPIPE : 0, "io_uring");
}

/* Asks for as much as there are empty blocks for, with one system call. */
static void read_on(struct treesum *t)
{
    struct io_uring_sqe sqes[BLOCKS];
    struct block *block;
    struct file *file;
    size_t n = 0;

    while ((file = t->first)) {
        if (t->stopped_by && !file->ended) {
            file->error = ECANCELED;
            file->ended = true;
        }
        if (!file->ended) {
            if (n == BLOCKS || blocks_try_get(t->empty, &block) < 0)
                break;
            block->file = file;
            block->start = file->asked;
            block->have = 0;
            block->want = file->size && file->size - file->asked < BLOCK ? (size_t)(file->size - file->asked) : BLOCK;
            prepare_read(&sqes[n++], block);
            file->blocks++;
            file->asked += (int64_t)block->want;
            file->ended = file->asked == file->size;
        }
        if (file->ended || !file->size) { /* where the end is unknown, one block after the other */
            t->first = file->next;
            file->listed = false;
            settle(t, file);
        }
    }
    if (n > 0)
        submit(t, sqes, n);
    switch_case(t, EMPTY, &t->empty_on, t->first);
    if (t->walking)
        switch_case(t, FOUND, &t->found_on, t->stopped_by || t->open < OPEN_FILES);
}

static void take_file(struct treesum *t, struct file *file)
{
    if (t->stopped_by && !file->error)
        file->error = ECANCELED;
    file->ended = file->error;
    t->open++;
    settle(t, file);
}

/* A read has ended: by the end of the block, by that of the file, before either, or badly. */
static void take_block(struct treesum *t, const struct io_uring_cqe *done)
{
    struct block *block = io_uring_cqe_get_data(done);
    struct file *file = block->file;
    bool again = done->res > 0 || done->res == -EINTR || done->res == -EAGAIN;

    if (done->res > 0)
        block->have += (size_t)done->res;
    if (again && block->have < block->want && !t->stopped_by) {
        struct io_uring_sqe sqe;

        prepare_read(&sqe, block);
        submit(t, &sqe, 1);
        return;
    }
    if (done->res != 0 && block->have < block->want)
        file->error = t->stopped_by ? ECANCELED : -done->res;
    file->ended |= done->res <= 0;
    if (block->have > 0 && !file->error) {
        check(blocks_put(t->full, &block), "full");
        return;
    }
    check(blocks_put(t->empty, &block), "empty");
    file->blocks--;
    settle(t, file);
}

static void take_part(struct treesum *t, const struct part *part)
{
    struct file *file = part->file;

    file->sum ^= part->sum;
    file->bytes += part->bytes;
    t->bytes += part->bytes;
    file->blocks--;
    settle(t, file);
}

static void take_sizes(struct treesum *t)
{
    int64_t batch[256];
    ssize_t n = sizes_get_many(t->sizes, batch, sizeof(batch) / sizeof(*batch), 0);

    for (ssize_t i = 0; i < n; i++)
        t->bytes_counted += (uint64_t)batch[i];
}

/* What is being read is cancelled, what is being summed up is finished. */
static void stop(struct treesum *t)
{
    if (t->stopped_by)
        exit(128 + t->stopped_by);
    t->stopped_by = (int)t->signal.ssi_signo;
    t->in_walk = t->walking;
    files_close(t->found);
    spool_close(t->ring);
}

/* ---- The whole ------------------------------------------------------------------------------------------------ */

static void start(struct treesum *t, long workers, char **paths)
{
    sigset_t mask;

    crc_init();
    sigemptyset(&mask);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGTERM);
    check(-pthread_sigmask(SIG_BLOCK, &mask, NULL), "signals"); /* before there are threads: they inherit it */
    check(spool_signal(&t->signals, &mask), "signals");
    check(t->bar ? spool_tick(&t->clock, INT64_C(1000000000) / TICKS_PER_SECOND) : spool_never(&t->clock), "clock");
    check(spool_uring(&t->ring, BLOCKS), "cannot set up an io_uring");

    check(blocks_new(&t->empty, BLOCKS), "empty");
    check(blocks_new(&t->full, BLOCKS), "full");
    check(parts_new(&t->parts, BLOCKS), "parts");
    for (int i = 0; i < BLOCKS; i++) {
        struct block *block = malloc(sizeof(*block));

        check(block ? blocks_put(t->empty, &block) : -ENOMEM, "blocks");
    }
    for (long i = 0; i < workers; i++) {
        spool_chan *worker;

        check(spool_go(&worker, sum_up, t, 0, 1), "worker");
        spool_set_name(worker, "worker");
        spool_unref(worker);
    }
    check(files_go(&t->found, find_files, paths, 8), "walker");
    spool_set_name(t->found.chan, "walker");
    t->walking = t->found_on = true;

    check(spool_select_new(&t->select), "select");
    check(spool_select_get(t->select, t->signals, &t->signal), "signals");
    check(spool_select_get(t->select, t->clock, &t->ticks), "clock");
    check(files_select_get(t->select, t->found, &t->file), "found");
    check(blocks_select_get(t->select, t->empty, NULL), "empty"); /* only to know that there is one */
    check(spool_select_get(t->select, t->ring, &t->done), "ring");
    check(parts_select_get(t->select, t->parts, &t->part), "parts");
    check(spool_select_enable(t->select, EMPTY, false), "empty");
    if (t->bar) {
        check(sizes_go(&t->sizes, count_files, paths, 1024), "counter");
        spool_set_name(t->sizes.chan, "counter");
        check(sizes_select_get(t->select, t->sizes, NULL), "sizes");
        t->counting = true;
    }
}

static void run(struct treesum *t)
{
    while (t->walking || t->open > 0) {
        int i = check(spool_select_wait(t->select, -1), "select");
        bool closed = spool_select_result(t->select, i) == -EPIPE;

        if (i == SIGNALS)
            stop(t);
        else if (i == CLOCK)
            draw_bar(t);
        else if (i == FOUND && closed)
            t->walking = false;
        else if (i == FOUND)
            take_file(t, t->file);
        else if (i == SIZES && closed)
            t->counting = false;
        else if (i == SIZES)
            take_sizes(t);
        else if (i == RING && !closed)
            do
                take_block(t, &t->done);
            while (spool_try_get(t->ring, &t->done) == 0);
        else if (i == PARTS)
            do
                take_part(t, &t->part);
            while (parts_try_get(t->parts, &t->part) == 0);
        read_on(t); /* which is all that has to be done once there are empty blocks */
    }
}

static int finish(struct treesum *t)
{
    struct block *block;

    erase_bar(t);
    blocks_close(t->full); /* the workers see it and return, and so does the counter */
    sizes_close(t->sizes);
    check(spool_go_wait(-1), "threads");
    while (blocks_try_get(t->empty, &block) == 0)
        free(block);
    spool_select_free(t->select);
    files_unref(t->found);
    sizes_unref(t->sizes);
    blocks_unref(t->empty);
    blocks_unref(t->full);
    parts_unref(t->parts);
    spool_unref(t->ring);
    spool_unref(t->clock);
    spool_unref(t->signals);
    check(fflush(stdout) != 0 || ferror(stdout) ? -EIO : 0, "standard output");
    if (!t->stopped_by)
        return t->n_failed > 0;
    fprintf(stderr, "treesum: interrupted: %" PRIu64 " files done, %" PRIu64 " left%s\n", t->n_summed, t->n_left,
            t->in_walk ? ", and those not found yet" : "");
    return 128 + t->stopped_by;
}

static const char usage[] =
    "usage: treesum [-j WORKERS] [-q] PATH...\n"
    "Prints what cksum prints for every regular file below the paths, in any order.\n"
    "  -j WORKERS  threads that sum up (one for each CPU)\n"
    "  -q          no progress bar, even if standard error is a terminal\n"
    "SIGINT and SIGTERM end it with what is finished.\n";

int main(int argc, char **argv)
{
    static struct treesum t;
    long workers = sysconf(_SC_NPROCESSORS_ONLN);
    bool wrong = false;

    t.bar = isatty(STDERR_FILENO);
    for (int opt; (opt = getopt(argc, argv, "j:qh")) != -1;) {
        if (opt == 'j')
            workers = strtol(optarg, NULL, 10);
        else if (opt == 'q')
            t.bar = false;
        else if (opt == 'h')
            return fputs(usage, stdout) < 0;
        else
            wrong = true;
    }
    if (wrong || optind == argc || workers < 1 || workers > 1024) {
        fputs(usage, stderr);
        return 2;
    }
    start(&t, workers, argv + optind);
    run(&t);
    return finish(&t);
}
