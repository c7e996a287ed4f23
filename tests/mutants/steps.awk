# SPDX-License-Identifier: LGPL-3.0-or-later
#
# usage: awk -v dir=DIR -v lib=LIB -f steps.awk LIST
#
# Reads a list of named mutants (see steps) and makes a folder below DIR for each, with the changed source file and what
# `run` has to know of it. A change that does not fit exactly once is an error.

function slurp(path,    text, line, got) {
    if (path in whole)
        return whole[path]
    while ((got = (getline line <path)) > 0)
        text = text line "\n"
    close(path)
    if (got < 0 || text == "")
        bad("cannot read " path)
    return whole[path] = text
}

function bad(why) {
    printf "not ok mutant %s: %s\n", name, why
    failed = 1
}

function flush_mutant(    text, at, line, folder) {
    if (name == "")
        return
    text = slurp(lib "/" file)
    # At the beginning of a line.
    at = index("\n" text, "\n" old)
    if (old == "" || old == new)
        bad("changes nothing")
    else if (!at)
        bad(file " has no such text")
    else if (index(substr(text, at), "\n" old))
        bad(file " has that text twice")
    else {
        before = substr(text, 1, at - 1)
        line = split(before, parts, "\n") + lead + (before == "")
        folder = dir "/" sprintf("%03d", ++n)
        system("mkdir -p " folder)
        printf "%s%s%s", before, new, substr(text, at + length(old)) >(folder "/" file)
        close(folder "/" file)
        printf "%s\t%s\t%s\t%s\t%s\t%s\n", name, file, line, what, (by == "" ? "-" : by), "step" >(folder "/about")
        close(folder "/about")
    }
    name = ""
}

/^#/ { next }
/^@/ {
    flush_mutant()
    name = $2
    file = $3
    by = ""
    for (i = 4; i <= NF; i++)
        by = by (i > 4 ? " " : "") $i
    what = old = new = ""
    changed = lead = 0
    next
}
/^= / { what = what (what == "" ? "" : " ") substr($0, 3); next }
/^-/ { old = old substr($0, 2) "\n"; changed = 1 }
/^\+/ { new = new substr($0, 2) "\n"; changed = 1 }
/^ / { old = old substr($0, 2) "\n"; new = new substr($0, 2) "\n"; lead += !changed }
END {
    flush_mutant()
    exit failed
}
