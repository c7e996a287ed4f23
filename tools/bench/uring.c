/* SPDX-License-Identifier: LGPL-3.0-or-later */

/*
 * Reads blocks of a file through liburing itself and through a channel of spool_uring, in turns, and compares how many
 * they read in a second. Both keep the queue full, begin in one call what has room, and take in one what is there; both
 * look at every block.
 *
 *     uring [-n BLOCKS] [-r ROUNDS] [-m MIB] [FILE]
 *
 * Without a file it makes one of MIB (64) in $TMPDIR, with content that it knows; of a file of yours it takes the sums
 * first. The order of the blocks is random, and the same for both.
 */

#define _GNU_SOURCE
#include <fcntl.h>
#include <getopt.h>
#include <spool.h>
#include <spool/uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 4096u
#define DEPTH_MAX 64u
#define ROUNDS_MAX 101
#define SLICE 1000u /* blocks that one reads before it is the other's turn */

static size_t n_blocks = 100000, n_rounds = 5, file_blocks;
static uint32_t *order;          /* which block is read as the i-th */
static uint64_t *sums;           /* of each block of the file */
static unsigned char *buffers;   /* one for each request under way */
static size_t request_of[DEPTH_MAX];

static void die(const char *what, int error)
{
    fprintf(stderr, "uring: %s: %s\n", what, strerror(error < 0 ? -error : error));
    exit(1);
}

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static uint64_t rnd(void)
{
    static uint64_t x = 88172645463325252u;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return x;
}

static uint64_t sum_of(const unsigned char *block)
{
    uint64_t sum = 0, word;
    for (size_t i = 0; i < BLOCK; i += sizeof word) {
        memcpy(&word, block + i, sizeof word);
        sum = (sum << 7 | sum >> 57) ^ word;
    }
    return sum;
}

/* ---- What both do with a request ------------------------------------------------------------------------------ */

static void prepare(struct io_uring_sqe *sqe, int fd, size_t slot, size_t i)
{
    request_of[slot] = i;
    io_uring_prep_read(sqe, fd, buffers + slot * BLOCK, BLOCK, (uint64_t)order[i] * BLOCK);
    sqe->user_data = slot;
}

/* Which slot is free again. */
static size_t finish(const struct io_uring_cqe *cqe)
{
    size_t slot = (size_t)cqe->user_data;
    if (cqe->res != (int)BLOCK)
        die("read", cqe->res < 0 ? cqe->res : EIO);
    if (sum_of(buffers + slot * BLOCK) != sums[order[request_of[slot]]]) {
        fprintf(stderr, "uring: block %u is not what was written\n", order[request_of[slot]]);
        exit(1);
    }
    return slot;
}

/* ---- The two ways --------------------------------------------------------------------------------------------- */

static void read_raw(struct io_uring *ring, int fd, unsigned depth, size_t first, size_t n)
{
    size_t begun = 0, done = 0, n_idle = depth;
    size_t idle[DEPTH_MAX];
    for (size_t i = 0; i < depth; i++)
        idle[i] = i;
    while (done < n) {
        struct io_uring_cqe *cqes[DEPTH_MAX];
        for (; n_idle > 0 && begun < n; begun++)
            prepare(io_uring_get_sqe(ring), fd, idle[--n_idle], first + begun);
        int r = io_uring_submit_and_wait(ring, 1);
        if (r < 0 && r != -EINTR)
            die("io_uring_submit_and_wait", r);
        unsigned got = io_uring_peek_batch_cqe(ring, cqes, depth);
        for (unsigned i = 0; i < got; i++)
            idle[n_idle++] = finish(cqes[i]);
        io_uring_cq_advance(ring, got);
        done += got;
    }
}

static void read_spool(spool_chan *chan, int fd, unsigned depth, size_t first, size_t n)
{
    size_t begun = 0, done = 0, n_idle = depth;
    size_t idle[DEPTH_MAX];
    for (size_t i = 0; i < depth; i++)
        idle[i] = i;
    while (done < n) {
        struct io_uring_sqe sqes[DEPTH_MAX];
        struct io_uring_cqe cqes[DEPTH_MAX];
        size_t batch = 0;
        for (; n_idle > 0 && begun < n; begun++)
            prepare(&sqes[batch++], fd, idle[--n_idle], first + begun);
        ssize_t r = spool_put_many(chan, sqes, batch, -1);
        if (r != (ssize_t)batch)
            die("spool_put_many", r < 0 ? (int)r : EIO);
        ssize_t got = spool_get_many(chan, cqes, depth, -1);
        if (got < 0)
            die("spool_get_many", (int)got);
        for (ssize_t i = 0; i < got; i++)
            idle[n_idle++] = finish(&cqes[i]);
        done += (size_t)got;
    }
}

/*
 * The blocks in a second of both. They take turns every few milliseconds, so that whatever else the machine does hits
 * both alike, and who goes first alternates.
 */
static void one_round(int fd, unsigned depth, double *ret_raw, double *ret_spool)
{
    struct io_uring ring;
    spool_chan *chan;
    double took[2] = {0, 0};
    int r = io_uring_queue_init(depth, &ring, 0);
    if (r < 0)
        die("io_uring_queue_init", r);
    r = spool_uring(&chan, depth);
    if (r < 0)
        die("spool_uring", r);
    for (size_t first = 0, turn = 0; first < n_blocks; first += SLICE, turn++) {
        size_t n = n_blocks - first < SLICE ? n_blocks - first : SLICE;
        for (size_t k = 0; k < 2; k++) {
            size_t which = (turn + k) % 2;
            double start = now();
            if (which == 0)
                read_raw(&ring, fd, depth, first, n);
            else
                read_spool(chan, fd, depth, first, n);
            took[which] += now() - start;
        }
    }
    io_uring_queue_exit(&ring);
    spool_unref(chan);
    *ret_raw = (double)n_blocks / took[0];
    *ret_spool = (double)n_blocks / took[1];
}

/* ---- Comparing ------------------------------------------------------------------------------------------------ */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, by_value);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static void compare(const char *how, int fd, unsigned depth)
{
    double raw[ROUNDS_MAX], spool[ROUNDS_MAX], ratio[ROUNDS_MAX];
    for (size_t i = 0; i < n_rounds; i++) {
        one_round(fd, depth, &raw[i], &spool[i]);
        ratio[i] = spool[i] / raw[i];
    }
    double middle = median(ratio, n_rounds);
    printf("%-10s depth %2u   raw %8.0f/s   spool %8.0f/s   ratio %.3f (%.3f to %.3f)\n", how, depth,
           median(raw, n_rounds), median(spool, n_rounds), middle, ratio[0], ratio[n_rounds - 1]);
    fflush(stdout);
}

/* ---- The file ------------------------------------------------------------------------------------------------- */

static int make_file(char *path, size_t size, size_t mib)
{
    const char *dir = getenv("TMPDIR");
    uint64_t block[BLOCK / sizeof(uint64_t)];
    snprintf(path, size, "%s/spool-bench-XXXXXX", dir && *dir ? dir : "/var/tmp");
    int fd = mkstemp(path);
    if (fd < 0)
        die(path, errno);
    for (size_t i = 0; i < mib << 20; i += BLOCK) {
        for (size_t k = 0; k < BLOCK / sizeof *block; k++)
            block[k] = rnd();
        if (write(fd, block, BLOCK) != (ssize_t)BLOCK) {
            int error = errno;
            unlink(path);
            die(path, error);
        }
    }
    if (fsync(fd) < 0)
        die(path, errno);
    return fd;
}

static void take_sums(int fd)
{
    unsigned char block[BLOCK];
    sums = calloc(file_blocks, sizeof *sums);
    order = calloc(n_blocks, sizeof *order);
    if (!sums || !order)
        die("memory", ENOMEM);
    for (size_t i = 0; i < file_blocks; i++) {
        if (pread(fd, block, BLOCK, (off_t)(i * BLOCK)) != (ssize_t)BLOCK)
            die("read", EIO);
        sums[i] = sum_of(block);
    }
    for (size_t i = 0; i < n_blocks; i++)
        order[i] = (uint32_t)(rnd() % file_blocks);
}

int main(int argc, char **argv)
{
    static const unsigned depths[] = {1, 8, 64};
    char path[4096];
    size_t mib = 64;
    int opt;
    while ((opt = getopt(argc, argv, "n:r:m:")) != -1) {
        size_t value = strtoul(optarg ? optarg : "", NULL, 10);
        if (opt == '?' || value == 0 || (opt == 'r' && value > ROUNDS_MAX)) {
            fprintf(stderr, "usage: uring [-n BLOCKS] [-r ROUNDS, up to %d] [-m MIB] [FILE]\n", ROUNDS_MAX);
            return 2;
        }
        *(opt == 'n' ? &n_blocks : opt == 'r' ? &n_rounds : &mib) = value;
    }
    bool own = optind == argc;
    if (!own)
        snprintf(path, sizeof path, "%s", argv[optind]);
    int fd = own ? make_file(path, sizeof path, mib) : open(path, O_RDONLY);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        die(path, errno);
    int direct = open(path, O_RDONLY | O_DIRECT);
    if (own)
        unlink(path);
    file_blocks = (size_t)st.st_size / BLOCK;
    if (file_blocks == 0 || file_blocks > UINT32_MAX)
        die(path, EINVAL);
    buffers = aligned_alloc(BLOCK, DEPTH_MAX * BLOCK);
    if (!buffers)
        die("memory", ENOMEM);
    take_sums(fd);
    printf("%zu random blocks of %u bytes of %zu MiB, median of %zu rounds in turns\n", n_blocks, BLOCK,
           (size_t)st.st_size >> 20, n_rounds);
    for (size_t i = 0; i < sizeof depths / sizeof *depths; i++)
        compare("page cache", fd, depths[i]);
    for (size_t i = 0; direct >= 0 && i < sizeof depths / sizeof *depths; i++)
        compare("O_DIRECT", direct, depths[i]);
    if (direct < 0)
        printf("O_DIRECT   skipped: the file system refuses it\n");
    return 0;
}
