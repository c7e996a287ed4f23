/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include "symbol.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

extern const char __executable_start[]; /* defined by the linker: where the program was loaded */

static const char *image;
static size_t image_size;

static void image_map(void)
{
    struct stat st;
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (fstat(fd, &st) == 0) {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p != MAP_FAILED) {
            image = p;
            image_size = (size_t)st.st_size;
        }
    }
    close(fd);
}

/* Static functions are in the program's own table only, which the loader does not read. */
static bool find_static(uintptr_t at, const char **ret_name, uintptr_t *ret_offset)
{
    if (!image)
        image_map();
    if (!image)
        return false;
    const ElfW(Ehdr) *head = (const void *)image;
    const ElfW(Shdr) *sections = (const void *)(image + head->e_shoff);
    uintptr_t address = at - (head->e_type == ET_DYN ? (uintptr_t)__executable_start : 0);
    for (unsigned i = 0; head->e_shoff < image_size && i < head->e_shnum; i++) {
        if (sections[i].sh_type != SHT_SYMTAB)
            continue;
        const ElfW(Sym) *symbols = (const void *)(image + sections[i].sh_offset);
        const char *names = image + sections[sections[i].sh_link].sh_offset;
        for (size_t s = 0; s < sections[i].sh_size / sizeof *symbols; s++)
            if ((symbols[s].st_info & 15) == STT_FUNC && address - symbols[s].st_value < symbols[s].st_size) {
                *ret_name = names + symbols[s].st_name;
                *ret_offset = address - symbols[s].st_value;
                return true;
            }
    }
    return false;
}

void symbol_name(uintptr_t pc, char *ret, size_t size)
{
    const char *name;
    uintptr_t offset;
    Dl_info info;
    if (find_static(pc, &name, &offset)) {
        snprintf(ret, size, "%s+%#lx", name, (unsigned long)offset);
    } else if (dladdr((void *)pc, &info) && info.dli_fname) {
        const char *file = strrchr(info.dli_fname, '/');
        snprintf(ret, size, "%s+%#lx (%s)", info.dli_sname ? info.dli_sname : "?",
                 (unsigned long)(pc - (uintptr_t)(info.dli_sname ? info.dli_saddr : info.dli_fbase)),
                 file ? file + 1 : info.dli_fname);
    } else {
        snprintf(ret, size, "?");
    }
}
