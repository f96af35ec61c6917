# A canary: it tries to get out in ways that do no harm where they succeed, and says which did.
# Each attempt must fail; "done" says that all were made. Nothing but the shell itself is needed.
exec 2>/dev/null
attempt() {
    local name=$1
    shift
    if ("$@") >/dev/null; then echo "BROKEN $name"; fi
}
reads() { : <"$1"; }
writes() { : >>"$1"; }
# By datagrams: such a socket connects although nobody listens.
connects() { : <>"/dev/udp/127.0.0.1/$1"; }
lists() { local found=("$1"/*); [ "${found[0]}" != "$1/*" ]; }
is_root() { [ "$UID" = 0 ] || [ "$EUID" = 0 ]; }
raises() { ulimit -Hn "$(($(ulimit -Hn) + 1))"; }
has_capabilities() { [ "${status[CapEff:]}${status[CapBnd:]}" != 00000000000000000000000000000000 ]; }
may_gain() { [ "${status[NoNewPrivs:]}" != 1 ]; }
has_no_filter() { [ "${status[Seccomp:]}" != 2 ]; }

declare -A status
while read -r name value; do status[$name]=$value; done </proc/self/status
# What cannot be read proves nothing, in either direction.
[ -n "${status[CapEff:]}" ] && [ -n "${status[CapBnd:]}" ] && [ -n "${status[NoNewPrivs:]}" ] && [ -n "${status[Seccomp:]}" ] || exit 1

attempt "reads the host's passwords" reads /etc/shadow
attempt "lists the root" lists ""
attempt "lists root's home" lists /root
attempt "reads the init's environment" reads /proc/1/environ
attempt "writes among the system's programs" writes /usr/bin/jailfleet-canary
attempt "steers the kernel" writes /proc/sys/kernel/core_pattern
attempt "makes a network socket" connects 1
attempt "is root" is_root
attempt "raises its open files" raises
attempt "has capabilities" has_capabilities
attempt "may gain privileges" may_gain
attempt "has no filter" has_no_filter
echo done
