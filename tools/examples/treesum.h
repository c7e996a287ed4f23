/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef TREESUM_H
#define TREESUM_H

/*
 * The parts of treesum that know nothing of channels: a walk, and the checksum of cksum(1) for blocks that are summed
 * up by anyone, in any order.
 */

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- Walking -------------------------------------------------------------------------------------------------- */

/* No errno says what is wrong with a FIFO or a device. */
#define NOT_A_FILE (-1)

/* Called with each regular file, and with what cannot be looked at and why, until it returns false. */
typedef bool visit_file(const char *path, const struct stat *st, int error);

static inline bool walk_path(const char *path, bool below, visit_file *visit);

static inline bool walk_folder(const char *path, const struct stat *st, visit_file *visit)
{
    DIR *folder = opendir(path);
    struct dirent *entry = NULL;
    bool go_on = true;

    while (folder && go_on && (errno = 0, entry = readdir(folder))) {
        char *name;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (asprintf(&name, "%s%s%s", path, path[strlen(path) - 1] == '/' ? "" : "/", entry->d_name) < 0) {
            go_on = visit(path, st, ENOMEM);
            continue;
        }
        go_on = walk_path(name, true, visit);
        free(name);
    }
    if (!entry && errno)
        go_on = visit(path, st, errno);
    if (folder)
        closedir(folder);
    return go_on;
}

/* Symbolic links are followed if they are named as an argument, and ignored below. */
static inline bool walk_path(const char *path, bool below, visit_file *visit)
{
    struct stat st = {0};

    if ((below ? lstat(path, &st) : stat(path, &st)) < 0)
        return visit(path, &st, errno);
    if (S_ISDIR(st.st_mode))
        return walk_folder(path, &st, visit);
    if (S_ISREG(st.st_mode))
        return visit(path, &st, 0);
    return below || visit(path, &st, NOT_A_FILE);
}

static inline void walk_paths(char *const *paths, visit_file *visit)
{
    while (*paths && walk_path(*paths, false, visit))
        paths++;
}

/* ---- Summing up ------------------------------------------------------------------------------------------------ */

/*
 * A block's sum is the block, as a polynomial over bits, times x^32, modulo CRC_POLYNOMIAL; nothing is inverted at its
 * start. So the sum of a file is the exclusive or of its blocks' sums, each shifted by what comes after it.
 */

#define CRC_POLYNOMIAL UINT32_C(0x04c11db7)

static uint32_t crc_tables[8][256]; /* [n][byte]: the sum of a byte that n zero bytes follow */
static uint32_t crc_powers[32];     /* [n]: x to the power of 2^n */

static inline uint32_t crc_times_x(uint32_t a)
{
    return a << 1 ^ (a >> 31 ? CRC_POLYNOMIAL : 0);
}

static inline uint32_t crc_times(uint32_t a, uint32_t b)
{
    uint32_t product = 0;

    for (; b; b >>= 1, a = crc_times_x(a))
        product ^= b & 1 ? a : 0;
    return product;
}

static inline void crc_init(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t sum = byte << 24;

        for (int bit = 0; bit < 8; bit++)
            sum = crc_times_x(sum);
        crc_tables[0][byte] = sum;
    }
    for (int n = 1; n < 8; n++)
        for (int byte = 0; byte < 256; byte++) {
            uint32_t before = crc_tables[n - 1][byte];

            crc_tables[n][byte] = before << 8 ^ crc_tables[0][before >> 24];
        }
    crc_powers[0] = 2;
    for (int n = 1; n < 32; n++)
        crc_powers[n] = crc_times(crc_powers[n - 1], crc_powers[n - 1]);
}

static inline uint32_t crc_block(const unsigned char *bytes, size_t n)
{
    uint32_t sum = 0;

    for (; n >= 8; n -= 8, bytes += 8)
        sum = crc_tables[7][sum >> 24 ^ bytes[0]] ^ crc_tables[6][(sum >> 16 & 0xff) ^ bytes[1]] ^
              crc_tables[5][(sum >> 8 & 0xff) ^ bytes[2]] ^ crc_tables[4][(sum & 0xff) ^ bytes[3]] ^
              crc_tables[3][bytes[4]] ^ crc_tables[2][bytes[5]] ^ crc_tables[1][bytes[6]] ^ crc_tables[0][bytes[7]];
    for (; n > 0; n--, bytes++)
        sum = sum << 8 ^ crc_tables[0][sum >> 24 ^ *bytes];
    return sum;
}

/* The sum once n more zero bytes follow; n < 0 takes them away, since the powers of x repeat after 2^32 - 1. */
static inline uint32_t crc_shift(uint32_t sum, int64_t n)
{
    const int64_t period = UINT32_MAX;
    uint64_t bits = (uint64_t)(n % period + (n < 0 ? period : 0)) * 8 % UINT32_MAX;

    for (int i = 0; bits; i++, bits >>= 1)
        if (bits & 1)
            sum = crc_times(sum, crc_powers[i]);
    return sum;
}

/* What cksum prints for a file of so many bytes: as if its length followed, the lowest byte first. */
static inline uint32_t crc_finish(uint32_t sum, uint64_t bytes)
{
    for (; bytes; bytes >>= 8)
        sum = sum << 8 ^ crc_tables[0][sum >> 24 ^ (bytes & 0xff)];
    return ~sum;
}

/* ---- What people see ------------------------------------------------------------------------------------------ */

/* On a line of standard error; all is 0 while it is not known. */
static inline void print_bar(uint64_t bytes, uint64_t all, double bytes_per_second)
{
    static const char full[] = "##############################";
    double part = bytes < all ? (double)bytes / (double)all : 1;
    int width = sizeof(full) - 1, filled = (int)(part * width);
    int left = bytes < all && bytes_per_second > 0 ? (int)((double)(all - bytes) / bytes_per_second + 0.5) : 0;

    if (all == 0)
        fprintf(stderr, "%.1f MB  %.1f MB/s", (double)bytes / 1e6, bytes_per_second / 1e6);
    else
        fprintf(stderr, "[%.*s%*s] %3d%%  %.1f of %.1f MB  %.1f MB/s  ETA %d:%02d", filled, full, width - filled, "",
                (int)(part * 100), (double)bytes / 1e6, (double)all / 1e6, bytes_per_second / 1e6, left / 60,
                left % 60);
}

#endif
