# SPDX-License-Identifier: LGPL-3.0-or-later
#
# Reads a source file of the library. For each memory order in it, and each fence, prints the mutants that are weaker by
# one step, with tabs between: line, column, length, replacement, function, change, text of the line.

BEGIN {
    weaker["ACQUIRE"] = weaker["RELEASE"] = "RELAXED"
    weaker["ACQ_REL"] = "ACQUIRE RELEASE"
    weaker["SEQ_CST"] = "ACQ_REL"
}

function mutant(column, length_, replacement, change,    text) {
    text = $0
    sub(/^ +/, "", text)
    printf "%d\t%d\t%d\t%s\t%s\t%s\t%s\n", NR, column, length_, replacement, func_name, change, text
}

# The function that the following lines belong to.
/^[a-z].*[a-z_0-9]\(.*[^;]$/ {
    func_name = $0
    sub(/\(.*/, "", func_name)
    sub(/.*[ *]/, "", func_name)
}

/^ *(\/\*|\*|\/\/)/ || /^#/ || func_name ~ /^spool__fence/ { next }

match($0, /spool__fence(_after_rmw)?\(\);/) {
    mutant(RSTART, RLENGTH, ";", substr($0, RSTART, RLENGTH - 1) " dropped")
}

/spool__(load|store|add|sub|swap|cas)\(/ {
    at = 1
    while (match(substr($0, at), /, (ACQUIRE|RELEASE|ACQ_REL|SEQ_CST)\)/)) {
        column = at + RSTART + 1
        order = substr($0, column, RLENGTH - 3)
        n = split(weaker[order], to, " ")
        for (i = 1; i <= n; i++)
            mutant(column, length(order), to[i], order " -> " to[i])
        at += RSTART + RLENGTH - 1
    }
}
