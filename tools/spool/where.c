/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include <limits.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tool.h"

/*
 * The place in the source comes from addr2line, of binutils, if it is there and the program has its debugging
 * information; asked once for each address.
 */
#define PLACES_MAX 1000

static struct place {
    pid_t pid;
    uintptr_t address;
    char text[160];
} places[PLACES_MAX];
static unsigned n_places;

/* The file that an address is mapped from, and the address in that file as its program headers have it. */
static bool find_module(pid_t pid, uintptr_t address, char *ret_path, size_t bytes, uintptr_t *ret_offset)
{
    char path[64], *line = NULL;
    size_t cap = 0;
    bool found = false;
    snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    FILE *maps = fopen(path, "re");
    while (maps && !found && getline(&line, &cap, maps) > 0) {
        uintptr_t from, to, offset;
        int at = 0;
        if (sscanf(line, "%lx-%lx %*s %lx %*s %*u %n", &from, &to, &offset, &at) < 3 || at == 0)
            continue;
        found = address >= from && address < to && line[at] == '/';
        if (found) {
            line[strcspn(line, "\n")] = '\0';
            snprintf(ret_path, bytes, "%s", line + at);
            *ret_offset = address - from + offset;
        }
    }
    free(line);
    if (maps)
        fclose(maps);
    return found;
}

/* addr2line wants the address that the program headers give; in an executable at a fixed place that is the address. */
static uintptr_t virtual_address(const char *path, uintptr_t offset)
{
    ElfW(Ehdr) head;
    ElfW(Phdr) part;
    uintptr_t ret = offset;
    FILE *f = fopen(path, "re");
    if (f && fread(&head, sizeof head, 1, f) == 1)
        for (unsigned i = 0; i < head.e_phnum; i++) {
            if (fseek(f, (long)(head.e_phoff + (size_t)i * head.e_phentsize), SEEK_SET) != 0 ||
                fread(&part, sizeof part, 1, f) != 1)
                break;
            if (part.p_type == PT_LOAD && offset >= part.p_offset && offset < part.p_offset + part.p_filesz)
                ret = offset - part.p_offset + part.p_vaddr;
        }
    if (f)
        fclose(f);
    return ret;
}

/* One line of addr2line's; false if it did not run or does not know. */
static bool ask(const char *module, uintptr_t address, char *ret, size_t bytes)
{
    int ends[2];
    char hex[32];
    snprintf(hex, sizeof hex, "%#lx", (unsigned long)address);
    if (pipe(ends) < 0)
        return false;
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        if (!freopen("/dev/null", "w", stderr))
            _exit(127);
        execlp("addr2line", "addr2line", "-s", "-e", module, hex, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    FILE *f = fdopen(ends[0], "r");
    bool ok = f && fgets(ret, (int)bytes, f) && ret[0] != '?';
    if (f)
        fclose(f);
    if (child > 0)
        waitpid(child, NULL, 0);
    if (ok) {
        ret[strcspn(ret, "\n")] = '\0';
        char *more = strstr(ret, " (discriminator");
        if (more)
            *more = '\0';
        ok = !strstr(ret, ":?");
    }
    return ok;
}

static void look_up(struct place *p)
{
    char path[PATH_MAX], root[PATH_MAX + 32];
    uintptr_t offset;
    if (!find_module(p->pid, p->address, path, sizeof path, &offset)) {
        snprintf(p->text, sizeof p->text, "%#lx", (unsigned long)p->address);
        return;
    }
    /* As that process sees it; its own files may be elsewhere, or gone. */
    snprintf(root, sizeof root, "/proc/%d/root%s", (int)p->pid, path);
    const char *module = access(root, R_OK) == 0 ? root : path;
    uintptr_t address = virtual_address(module, offset);
    /* The call is before the address that it returns to. */
    if (ask(module, address - 1, p->text, sizeof p->text))
        return;
    const char *name = strrchr(path, '/');
    snprintf(p->text, sizeof p->text, "%.100s+%#lx", name ? name + 1 : path, (unsigned long)address);
}

const char *where(pid_t pid, uintptr_t address)
{
    for (unsigned i = 0; i < PLACES_MAX && i < n_places; i++)
        if (places[i].pid == pid && places[i].address == address)
            return places[i].text;
    struct place *p = &places[n_places++ % PLACES_MAX];
    *p = (struct place){.pid = pid, .address = address};
    look_up(p);
    return p->text;
}
