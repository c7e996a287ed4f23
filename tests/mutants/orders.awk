# SPDX-License-Identifier: LGPL-3.0-or-later
#
# usage: awk -v dir=DIR -v killers=KILLERS -f orders.awk FILE ...
#
# For each memory order in the library's source files, and each fence, makes the mutants that are weaker by one step: a
# folder below DIR for each, with the changed file and what `run` has to know of it.

BEGIN {
    weaker["ACQUIRE"] = weaker["RELEASE"] = "RELAXED"
    weaker["ACQ_REL"] = "ACQUIRE RELEASE"
    weaker["SEQ_CST"] = "ACQ_REL"
    while ((getline line <killers) > 0)
        if (line ~ /^[^#]/) {
            by = line
            sub(/ .*/, "", by)
            key = substr(line, length(by) + 2)
            gsub(/,/, " ", by)
            killer[key] = by
        }
}

function mutant(column, length_, replacement, change,    key, text) {
    text = $0
    sub(/^ +/, "", text)
    key = file ":" in_function ":" change
    n++
    at[n] = FNR
    changed[n] = substr($0, 1, column - 1) replacement substr($0, column + length_)
    about[n] = key "\t" file "\t" FNR "\t" text "\t" ((key " | " text) in killer ? killer[key " | " text] : "-") "\torder"
}

function write_all(    i, j, folder) {
    for (i = done + 1; i <= n; i++) {
        folder = dir "/" sprintf("a%03d", i)
        system("mkdir " folder)
        print about[i] >(folder "/about")
        close(folder "/about")
        for (j = 1; j <= n_lines; j++)
            print (j == at[i] ? changed[i] : lines[j]) >(folder "/" file)
        close(folder "/" file)
    }
    done = n
}

FNR == 1 {
    write_all()
    file = FILENAME
    sub(/.*\//, "", file)
    in_function = ""
}

{ lines[n_lines = FNR] = $0 }

# The function that the following lines belong to.
/^[a-zA-Z].*[a-z_0-9]\(.*[^;]$/ {
    in_function = $0
    sub(/\(.*/, "", in_function)
    sub(/.*[ *]/, "", in_function)
}

/^ *(\/\*|\*|\/\/)/ || /^#/ || in_function ~ /^spool__fence/ { next }

match($0, /spool__fence(_after_rmw)?\(\);/) {
    mutant(RSTART, RLENGTH, ";", substr($0, RSTART, RLENGTH - 1) " dropped")
}

/spool__(load|store|add|sub|swap|cas)\(/ {
    from = 1
    while (match(substr($0, from), /, (ACQUIRE|RELEASE|ACQ_REL|SEQ_CST)\)/)) {
        column = from + RSTART + 1
        order = substr($0, column, RLENGTH - 3)
        from += RSTART + RLENGTH - 1
        n_to = split(weaker[order], to, " ")
        for (i = 1; i <= n_to; i++)
            mutant(column, length(order), to[i], order " -> " to[i])
    }
}

END { write_all() }
