# SPDX-License-Identifier: LGPL-3.0-or-later
#
# Reads what came of each mutant (what `about` has of it, and the result), compares it with the lists `equivalent` and
# `unreached`, and says whether the gate is passed.

function read_list(name,    line, key) {
    while ((getline line <(here "/" name)) > 0) {
        if (line ~ /^@ /) {
            key = substr(line, 3)
            list[key] = name
        } else if (line ~ /^- /) {
            # An order: told by the text of its line as well.
            delete list[key]
            key = key "\t" substr(line, 3)
            list[key] = name
        }
    }
    close(here "/" name)
}

BEGIN {
    FS = "\t"
    read_list("equivalent")
    read_list("unreached")
}

{
    key = ($1 in list) ? $1 : $1 "\t" $4
    place = $2 ":" $3
    result = $7
    total++
    print result " -- " $1 ", " place ": " $4 >log_file
    seen[key] = 1
    if (result ~ /^killed/ && !(key in list)) {
        killed++
    } else if (result ~ /^survived/ && key in list) {
        n[list[key]]++
    } else if (result ~ /^killed/) {
        printf "not ok mutant %s %s is in the list `%s`, but is %s\n", $1, place, list[key], result
        wrong++
    } else {
        printf "not ok mutant %s %s %s: %s\n", $1, place, result, $4
        wrong++
        survived++
    }
}

END {
    for (key in list)
        if (all == "yes" && !(key in seen)) {
            printf "not ok mutant %s: in the list `%s`, but there is none\n", key, list[key]
            wrong++
        }
    printf "figure mutants.total %d\n", total
    printf "figure mutants.killed %d\n", killed
    printf "figure mutants.equivalent %d\n", n["equivalent"]
    printf "figure mutants.unreached %d\n", n["unreached"]
    printf "figure mutants.survived %d\n", survived
    if (!wrong && total)
        print "ok mutants"
    exit wrong > 0 || !total
}
