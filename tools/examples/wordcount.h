/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef WORDCOUNT_H
#define WORDCOUNT_H

/* What "LC_ALL=C wc FILE" does for one regular file: the part of the word server that knows nothing of channels. */

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct word_count {
    uint64_t lines, words, bytes;
    off_t size; /* by which wc chooses how wide its columns are */
    int error;  /* an errno, and then nothing else */
};

/* No errno says what is wrong with a FIFO or a device. */
#define NOT_A_FILE EINVAL

/* A space ends a word and a letter begins one. GNU wc before 9.5 lets bytes that do not print do neither. */
enum word_byte { NEITHER, LETTER, SPACE };
static unsigned char word_bytes[256];

static void word_count_init(bool every_byte_is_a_letter)
{
    for (int c = 0; c < 256; c++)
        word_bytes[c] = isspace(c) ? SPACE : every_byte_is_a_letter || isprint(c) ? LETTER : NEITHER;
}

static int word_count_refuse(const struct stat *st)
{
    return S_ISDIR(st->st_mode) ? EISDIR : S_ISREG(st->st_mode) ? 0 : NOT_A_FILE;
}

/* Returns a descriptor or -errno. Looks before, since opening a FIFO or a device does things, and after, to be sure. */
static int word_count_open(const char *path, off_t *ret_size)
{
    struct stat st;
    int fd, error;

    if (stat(path, &st) < 0)
        return -errno;
    if (word_count_refuse(&st))
        return -word_count_refuse(&st);
    fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    error = fstat(fd, &st) < 0 ? errno : word_count_refuse(&st);
    if (error) {
        close(fd);
        return -error;
    }
    *ret_size = st.st_size;
    return fd;
}

/* Gives up early when nobody wants to know any more. */
static void word_count_file(struct word_count *count, const char *path, const atomic_bool *unwanted)
{
    unsigned char block[1 << 16];
    bool in_word = false;
    ssize_t n;
    int fd = word_count_open(path, &count->size);

    if (fd < 0) {
        count->error = -fd;
        return;
    }
    while ((n = read(fd, block, sizeof(block))) > 0 && !atomic_load(unwanted)) {
        count->bytes += (uint64_t)n;
        for (ssize_t i = 0; i < n; i++) {
            enum word_byte byte = word_bytes[block[i]];

            count->lines += block[i] == '\n';
            count->words += byte == LETTER && !in_word;
            in_word = byte == LETTER || (in_word && byte == NEITHER);
        }
    }
    count->error = n < 0 ? errno : 0;
    close(fd);
}

/* Prints the line as snprintf does. */
static size_t word_count_print(const struct word_count *count, const char *path, char *to, size_t room)
{
    int width = 1;

    if (count->error)
        return (size_t)snprintf(to, room, "error: %s: %s\n", path,
                                count->error == NOT_A_FILE ? "Not a regular file" : strerror(count->error));
    for (off_t rest = count->size; rest >= 10; rest /= 10)
        width++;
    return (size_t)snprintf(to, room, "%*" PRIu64 " %*" PRIu64 " %*" PRIu64 " %s\n", width, count->lines, width,
                            count->words, width, count->bytes, path);
}

#endif
