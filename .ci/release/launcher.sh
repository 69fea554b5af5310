#!/bin/sh
# Edge Appliance @VERSION@ for Linux on @MACHINE@: this script, and behind it the program with Python and all packages,
# packed. The first start unpacks it into a folder that stays; later ones find it there.
#
# Not into /tmp at every start, as such files often do: /tmp may be mounted noexec, may be memory, and is cleaned of files
# that a program still needs after ten days; and a process that is killed would leave them behind each time.
set -eu
name=@VERSION@-@KEY@
# Nobody else writes what we run; the program gets back what was there.
mask=$(umask)
umask 077
refused=

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

refuse() {
    refused="$refused
  $1: $2"
    return 1
}

# Whether programs start from the folder $1: not where it is mounted noexec, and then no library is loaded either.
runs_programs() {
    printf '#!/bin/sh\n' >"$1/.try-$$" && chmod 700 "$1/.try-$$" || return 1
    runs=0
    "$1/.try-$$" 2>/dev/null || runs=1
    rm -f "$1/.try-$$"
    return "$runs"
}

# Unpacks into the folder $1, one start after another, and under another name first: one that is killed leaves nothing
# half there.
unpack() {
    exec 8<"$1"
    flock 8 || :
    [ ! -e "$1/$name/appliance" ] || return 0
    part=$1/.part-$$
    trap 'rm -rf "$part"' EXIT
    trap 'exit 130' HUP INT TERM
    mkdir -m 700 "$part" || return 1
    # What tail leaves out, gzip misses: the right side of the pipe tells of the left one.
    unpacked=0
    tail -c +@SKIP@ "$0" | tar -xz --no-same-owner -C "$part" 2>/dev/null 8<&- && sync -f "$part" || unpacked=1
    [ "$unpacked" != 0 ] || mv -T "$part" "$1/$name" || unpacked=1
    rm -rf "$part"
    trap - EXIT HUP INT TERM
    [ "$unpacked" = 0 ] || return 1
    # Other versions go, and what killed starts have left, unless a program still runs from there: it holds a lock.
    for other in "$1"/*-* "$1"/.part-*; do
        [ "$other" = "$1/$name" ] || [ ! -d "$other" ] || flock -n "$other" rm -rf "$other" || :
    done
}

# Starts the program from below the folder $1 with the arguments behind it, or notes why not.
start_in() {
    place=$1
    shift
    if [ ! -d "$place" ]; then
        # The parents with the usual rights, the folder itself for us alone.
        { mkdir -p "$(dirname "$place")" && mkdir -m 700 "$place"; } 2>/dev/null || [ -d "$place" ] ||
            refuse "$place" "cannot be made" || return 0
    fi
    { [ ! -L "$place" ] && [ -O "$place" ]; } || refuse "$place" "belongs to another user" || return 0
    if [ ! -e "$place/$name/appliance" ]; then
        [ -w "$place" ] || refuse "$place" "cannot be written" || return 0
        runs_programs "$place" || refuse "$place" "no program starts from there (mounted noexec?)" || return 0
        free=$(df -Pk "$place" | awk 'END { print $4 }')
        [ "$free" -ge @KIB@ ] || refuse "$place" "@KIB@ KiB are needed, $free are free" || return 0
        unpack "$place" || refuse "$place" "the program could not be unpacked: is $0 whole?" || return 0
    fi
    [ -x "$place/$name/appliance" ] || refuse "$place" "no program starts from there (mounted noexec?)" || return 0
    # Held by the program for as long as it runs: against the cleaning above, and that of temporary folders.
    exec 8<"$place/$name"
    flock -sn 8 || :
    unset APPLIANCE_UNPACK_DIR
    umask "$mask"
    exec "$place/$name/appliance" "$@"
}

[ "$(uname -s) $(uname -m)" = "Linux @MACHINE@" ] || fail "this file is for Linux on @MACHINE@, not $(uname -s) on $(uname -m)"

if [ -n "${APPLIANCE_UNPACK_DIR:-}" ]; then
    start_in "$APPLIANCE_UNPACK_DIR" "$@"
else
    user=$(id -u)
    # The first is what systemd gives to a unit with CacheDirectory=.
    [ -z "${CACHE_DIRECTORY:-}" ] || start_in "${CACHE_DIRECTORY%%:*}" "$@"
    if [ "$user" = 0 ]; then
        start_in /var/cache/edge-appliance "$@"
    elif [ -n "${XDG_CACHE_HOME:-${HOME:-}}" ]; then
        start_in "${XDG_CACHE_HOME:-$HOME/.cache}/edge-appliance" "$@"
    fi
    start_in "${TMPDIR:-/tmp}/edge-appliance-$user" "$@"
    start_in "/var/tmp/edge-appliance-$user" "$@"
fi
fail "the program can be unpacked nowhere:$refused
Set APPLIANCE_UNPACK_DIR to a folder on a disk, not mounted noexec, with @KIB@ KiB free."
