# SPDX-License-Identifier: LGPL-3.0-or-later
# shellcheck shell=bash
#
# Completion of the command spool for bash, with the bash-completion package or without.

# Processes that have the shared library mapped, of those whose maps we may read. A program that has the library linked
# in cannot be told from others so, and is completed by nobody.
_spool_pids() {
    local maps
    # -l stops at the first match: most of a long maps is not read. Errors are of processes that are gone or not ours.
    while IFS=/ read -r _ _ maps _; do
        echo "$maps"
    done < <(command grep -ls '/libspool\.so' /proc/[0-9]*/maps 2>/dev/null)
}

_spool() {
    local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command='' i
    COMPREPLY=()

    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        --)
            # The rest is a command line of its own.
            if declare -F _command_offset >/dev/null; then
                _command_offset $((i + 1))
            elif ((COMP_CWORD == i + 1)); then
                mapfile -t COMPREPLY < <(compgen -c -- "$word")
            else
                compopt -o default 2>/dev/null
            fi
            return
            ;;
        ps | top | dump | trace) [ -n "$command" ] || command=${COMP_WORDS[i]} ;;
        esac
    done

    local options=''
    case $command in
    '') options='ps top dump trace' ;;
    ps | dump) options=--json ;;
    top) options='--json -d -n' ;;
    trace) options='--json -o -p --' ;;
    esac
    case $previous in
    -o) compopt -o default 2>/dev/null && return ;;
    -d | -n) return ;;
    -p) options=$(_spool_pids) ;;
    *)
        case $command:$word in
        :* | trace:* | *:-*) ;;
        *) options=$(_spool_pids) ;;
        esac
        ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$word")
}

complete -F _spool spool
