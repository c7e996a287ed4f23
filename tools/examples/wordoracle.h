/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef WORDORACLE_H
#define WORDORACLE_H

/* The files below a folder, and for each the line that the real wc prints: what the word server has to say. */

#include <ctype.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

struct file {
    char *path;
    char *line; /* NULL if wc says nothing, as for a file that may not be read */
};

static struct file *files;
static size_t n_files;

static inline int add_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    struct file *more;

    (void)ftw;
    if (type != FTW_F || !S_ISREG(st->st_mode))
        return 0;
    for (const char *p = path; *p; p++)
        if (iscntrl((unsigned char)*p)) /* no request can name it */
            return 0;
    more = n_files & (n_files - 1) ? files : realloc(files, (n_files ? 2 * n_files : 1) * sizeof(*files));
    if (!more)
        return -1;
    files = more;
    files[n_files].line = NULL;
    files[n_files].path = strdup(path);
    return files[n_files].path ? n_files++, 0 : -1;
}

static inline int by_path(const void *a, const void *b)
{
    return strcmp(((const struct file *)a)->path, ((const struct file *)b)->path);
}

/* Keeps most of them, spread evenly. */
static inline bool find_files(const char *folder, size_t most)
{
    if (nftw(folder, add_file, 64, FTW_PHYS) < 0 || n_files == 0)
        return false;
    qsort(files, n_files, sizeof(*files), by_path);
    if (most < n_files) {
        for (size_t i = 0; i < most; i++) {
            struct file kept = files[i * n_files / most];

            files[i * n_files / most] = files[i];
            files[i] = kept;
        }
        n_files = most;
    }
    return true;
}

/* Starts wc and returns what it prints; input, if any, becomes its standard input. */
static inline FILE *run_wc(const char *arg, int input, pid_t *ret_pid)
{
    extern char **environ;
    char *argv[] = {"wc", (char *)(uintptr_t)arg, NULL};
    posix_spawn_file_actions_t actions;
    int out[2], error;

    if (pipe2(out, O_CLOEXEC) < 0)
        return NULL;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    if (input >= 0)
        posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
    error = posix_spawnp(ret_pid, "wc", &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(out[1]);
    if (!error)
        return fdopen(out[0], "r");
    close(out[0]);
    return NULL;
}

static inline void end_wc(FILE *out, pid_t pid)
{
    fclose(out);
    waitpid(pid, NULL, 0);
}

/* What wc prints for one file, without the newline; to be freed. */
static inline char *wc_line(const char *path)
{
    char *line = NULL;
    size_t size = 0;
    pid_t pid;
    FILE *out = run_wc(path, -1, &pid);

    if (out && getline(&line, &size, out) > 0)
        line[strcspn(line, "\n")] = '\0';
    if (out)
        end_wc(out, pid);
    return line;
}

/* Whether this wc counts a byte that does not print as part of a word. */
static inline bool wc_takes_every_byte(void)
{
    int input = memfd_create("input", MFD_CLOEXEC), words = -1;
    FILE *out;
    pid_t pid;

    if (write(input, "\001\n", 2) != 2 || lseek(input, 0, SEEK_SET) < 0)
        exit(1);
    out = run_wc("-w", input, &pid);
    if (!out || fscanf(out, "%d", &words) != 1)
        words = -1;
    end_wc(out, pid);
    close(input);
    return words == 1;
}

/* Asks wc for all files at once and makes each line what wc would print for that file alone: its columns are as wide as
 * the size of the one file then. */
static inline bool ask_wc(void)
{
    int names = memfd_create("names", MFD_CLOEXEC), width, end;
    FILE *list = fdopen(dup(names), "w"), *out;
    uintmax_t lines, words, bytes;
    char *line = NULL;
    size_t size = 0, i;
    pid_t pid;

    for (i = 0; i < n_files; i++)
        fwrite(files[i].path, strlen(files[i].path) + 1, 1, list);
    if (fclose(list) != 0 || lseek(names, 0, SEEK_SET) < 0)
        return false;
    out = run_wc("--files0-from=-", names, &pid);
    close(names);
    if (!out)
        return false;
    for (i = 0; i < n_files && getline(&line, &size, out) > 0; i++) {
        line[strcspn(line, "\n")] = '\0';
        if (sscanf(line, "%ju %ju %ju%n", &lines, &words, &bytes, &end) != 3)
            break;
        while (i < n_files && strcmp(files[i].path, line + end + 1) != 0)
            i++; /* wc could not read it */
        width = snprintf(NULL, 0, "%ju", bytes);
        if (i < n_files &&
            asprintf(&files[i].line, "%*ju %*ju %*ju %s", width, lines, width, words, width, bytes, files[i].path) < 0)
            return false;
    }
    free(line);
    end_wc(out, pid);
    for (i = 0; i < n_files; i++)
        if (!files[i].line && access(files[i].path, R_OK) == 0)
            return false;
    return true;
}

/* Whether the lines are indeed what wc prints for one file: asks it for some, one by one. */
static inline bool ask_wc_again(size_t some)
{
    bool same = true;

    for (size_t i = 0; i < some && i < n_files && same; i++) {
        const struct file *file = &files[some < n_files ? i * n_files / some : i];
        char *line = file->line ? wc_line(file->path) : NULL;

        same = !file->line || (line && strcmp(line, file->line) == 0);
        free(line);
    }
    return same;
}

#endif
