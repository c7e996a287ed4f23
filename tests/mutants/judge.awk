# SPDX-License-Identifier: LGPL-3.0-or-later
#
# Reads what came of each mutant, compares it with the list `equivalent`, and says whether the gate is passed.

BEGIN {
    while ((getline line <list) > 0) {
        if (line ~ /^@ /) {
            key = substr(line, 3)
            n_keys++
            is_key[key] = 1
        } else if (line ~ /^- /) {
            key = key "\t" substr(line, 3)
            delete is_key[substr(key, 1, index(key, "\t") - 1)]
            is_key[key] = 1
        }
    }
}

# Orders are told by name and text, steps by name.
{
    name = $1
    place = $2 ":" $3
    total++
    key = ($1 in is_key) ? $1 : $1 "\t" $4
    if ($7 ~ /^killed/)
        killed++
    print name " (" place " " $4 ") " $7 >log_file
    if ($7 ~ /^killed/ && key in is_key) {
        print "not ok mutant " name " " place " is said to be equivalent, but is " $7
        wrong++
    } else if ($7 ~ /^survived/ && key in is_key) {
        equivalent++
        used[key] = 1
    } else if ($7 !~ /^killed/) {
        print "not ok mutant " name " " place " " $7 ": " $4
        wrong++
        survived++
    }
    seen[key] = 1
}

END {
    for (key in is_key)
        if (all == "yes" && !(key in seen)) {
            print "not ok mutant " key ": said to be equivalent, but there is no such mutant"
            wrong++
        }
    printf "figure mutants.total %d\n", total
    printf "figure mutants.killed %d\n", killed
    printf "figure mutants.equivalent %d\n", equivalent
    printf "figure mutants.survived %d\n", survived
    if (!wrong && total)
        print "ok mutants"
    exit wrong > 0 || !total
}
