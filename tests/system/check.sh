#!/bin/bash
# Runs inside the booted machine. One line of /out/results for each check: ok or FAIL, and which.
exec >/out/log 2>&1
set -x
export PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels HOME=/root

result() { printf '%s %s\n' "$1" "$2" >>/out/results; }
check() {
    local name=$1
    shift
    if "$@"; then result ok "$name"; else result FAIL "$name"; fi
}
http() { python3 -c 'import sys, urllib.request as u; print(u.urlopen("http://127.0.0.1:8080" + sys.argv[1], timeout=5).read().decode())' "$1"; }
eventually() {
    local _
    for _ in $(seq 100); do
        "$@" && return 0
        sleep 0.2
    done
    return 1
}
has_reading() { http "/api/v1/query?device=$1&metric=$2&start=-1h" | grep -q '\[\['; }
property() { systemctl show berrygate -p "$1" --value; }

install_it() { /src/install.sh service; }
is_active() { [[ $(property ActiveState) == active ]]; }
told_ready() { journalctl -u berrygate -o cat | grep -q 'Started berrygate.service'; }
own_user() { [[ $(ps -o user= -p "$(property MainPID)") == berrygate ]]; }
broker_is_child() { [[ $(ps -o comm= --ppid "$(property MainPID)") == mosquitto ]]; }
data_in_state() { [[ -f /var/lib/berrygate/history.db && -d /var/lib/berrygate/journal ]]; }
publish() { mosquitto_pub -h 127.0.0.1 -t devices/soil/telemetry -q 1 -m '{"moisture": 31}'; }
structured() { journalctl -u berrygate -o json PRIORITY=6 | grep -q '"PRIORITY":"6"'; }
status_of() { su -s /bin/sh "$1" -c 'berrygate status'; }
stranger_refused() { ! su -s /bin/sh nobody -c 'berrygate status'; }
stops_in_time() {
    local began=$SECONDS
    systemctl stop berrygate
    ((SECONDS - began <= 5)) && [[ $(property Result) == success ]] && ! pgrep mosquitto
}
survives_kill() {
    local pid
    pid=$(property MainPID)
    kill -9 "$pid"
    eventually is_active && eventually http /readyz && [[ $(property MainPID) != "$pid" ]]
}
upgrade_again() { /src/install.sh service && eventually http /readyz; }
# It exits with 0 for an unknown key too, so it must be silent.
unit_verifies() { [[ -z $(systemd-analyze verify /etc/systemd/system/berrygate.service 2>&1) ]]; }
uninstalled() {
    /src/install.sh uninstall && [[ ! -e /opt/berrygate && ! -e /usr/local/bin/berrygate ]] &&
        [[ -d /var/lib/berrygate && -d /etc/berrygate ]] && ! systemctl cat berrygate
}
purged() {
    /src/install.sh uninstall --purge && [[ ! -e /var/lib/berrygate && ! -e /etc/berrygate ]] &&
        ! getent passwd berrygate
}

ip link set lo up
check install install_it
check active eventually is_active
check ready eventually http /readyz
check told-ready told_ready
check own-user own_user
check broker-is-a-child broker_is_child
check data-in-state-directory eventually data_in_state
check own-sensors eventually has_reading pi memory.percent
check publish publish
check message-queryable eventually has_reading soil moisture
check priorities structured
check status-for-root berrygate status
check status-for-the-gateways-user status_of berrygate
check strangers-are-refused stranger_refused
check stops-in-time stops_in_time
check starts-again systemctl start berrygate
check keeps-its-data eventually has_reading soil moisture
check killed-and-back survives_kill
check still-has-its-data eventually has_reading soil moisture
check install-twice upgrade_again
check unit-verifies unit_verifies
check uninstall uninstalled
check purge purged
journalctl -b -u berrygate >/out/journal
result ok "done"
systemctl poweroff
