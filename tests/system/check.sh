#!/bin/bash
# Runs inside the booted machine. One line of /out/results for each check: ok or FAIL, and which.
# shellcheck disable=SC2317 # everything is called by its name, through check
exec >/out/log 2>&1
set -x
export PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels HOME=/root
readonly etc=/etc/berrygate opt=/opt/berrygate

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
release() { readlink "$opt/current"; }

# --- setting up
user_is_told() {
    ! su -s /bin/sh nobody -c '/src/install.sh run' 2>/tmp/told &&
        grep -qx '  fix: sudo apt-get install -y --no-install-recommends python3-venv mosquitto openssl' /tmp/told
}
# Root's umask is not the service's: what is installed must be readable all the same.
install_it() { (umask 077 && /src/install.sh service); }
policy_is_gone() { [[ ! -e /usr/sbin/policy-rc.d ]]; }
debians_broker_is_off() { ! systemctl is-active mosquitto && ! systemctl is-enabled mosquitto; }

# --- the service
is_active() { [[ $(property ActiveState) == active ]]; }
told_ready() { [[ $(property Type) == notify ]] && journalctl -u berrygate -o cat | grep -q 'Started berrygate.service'; }
own_user() { [[ $(ps -o user= -p "$(property MainPID)") == berrygate ]]; }
in_groups() {
    local group
    for group in gpio dialout video; do
        grep '^Groups:' "/proc/$(property MainPID)/status" |
            grep -qw "$(getent group "$group" | cut -d: -f3)" || return 1
    done
}
is_tight() { systemd-analyze security --threshold=20 berrygate.service; }
# Character devices whatever they are called, so also those whose driver is loaded later.
devices_are_open() { [[ $(property DevicePolicy) == closed && $(property DeviceAllow) == *'char-* rw'* ]]; }
# under_the_unit PROGRAM ARGS: run it as the unit's ExecStart, with everything the unit forbids.
under_the_unit() {
    local probe=/run/systemd/system/probe.service
    sed -E -e '/^(ExecStopPost|ExecReload|Restart|WatchdogSec|NotifyAccess|RuntimeDirectory)/d' \
        -e "s|^Type=.*|Type=oneshot|; s|^ExecStart=.*|ExecStart=$*|" \
        /etc/systemd/system/berrygate.service >"$probe"
    mkdir -p "$probe.d" && cp /etc/systemd/system/berrygate.service.d/groups.conf "$probe.d"
    systemctl daemon-reload
    systemctl start probe.service
    local found=$?
    journalctl -u probe.service -o cat | tail -n 20
    return "$found"
}
uses_devices() {
    python3 /pty.py /run/pty & # what owns the other end of the line
    eventually [ -s /run/pty ] && under_the_unit /usr/bin/python3 /devices.py "$(</run/pty)"
    local found=$?
    kill %%
    return "$found"
}
shares_our_memory() {
    local main broker
    main=$(property MainPID) broker=$(pgrep -x mosquitto)
    [[ $(<"/proc/$main/cgroup") == "$(<"/proc/$broker/cgroup")" ]] &&
        [[ $(property MemoryMax) != infinity && $(property MemoryHigh) != infinity ]] &&
        (($(property MemoryMax) < $(awk '/^MemTotal/ {printf "%.0f", $2 * 1024}' /proc/meminfo)))
}
room_for_clients() { (($(awk '/^Max open files/ {print $4}' "/proc/$(pgrep -x mosquitto)/limits") > 10000)); }
config_is_private() { [[ $(stat -c '%a %U %G' "$etc"/berrygate.yaml "$etc"/berrygate.env | sort -u) == '640 root berrygate' ]]; }
broker_is_child() { [[ $(ps -o comm= --ppid "$(property MainPID)") == mosquitto ]]; }
data_in_state() { [[ -f /var/lib/berrygate/history.db && -d /var/lib/berrygate/journal ]]; }
publish() { mosquitto_pub -h 127.0.0.1 -t devices/soil/telemetry -q 1 -m '{"moisture": 31}'; }
status_of() { su -s /bin/sh "$1" -c 'berrygate status'; }
stranger_refused() { ! su -s /bin/sh nobody -c 'berrygate status'; }
broker_comes_back() {
    pkill -9 mosquitto
    eventually broker_is_child && eventually publish
}
logged() { journalctl -u berrygate -o json "PRIORITY=$1" | grep -q '"_SYSTEMD_UNIT":"berrygate.service"'; }
stops_in_time() {
    local began=$SECONDS
    systemctl stop berrygate
    ((SECONDS - began <= 5)) && [[ $(property Result) == success ]] &&
        [[ $(property ExecMainStatus) == 0 ]] && ! pgrep mosquitto
}
survives_kill() {
    local pid
    pid=$(property MainPID)
    ((pid > 1)) || return 1 # 0 would be ourselves
    kill -9 "$pid"
    eventually is_active && eventually http /readyz && [[ $(property MainPID) != "$pid" ]]
}

# What the broker had acknowledged for a client that is away: systemd must not kill it while it
# writes that down.
queue_survives_a_crash() {
    mosquitto_sub -h 127.0.0.1 -c -i away -q 1 -t 'kept/#' -E &&
        head -c 3000000 /dev/urandom | base64 -w 200 | mosquitto_pub -h 127.0.0.1 -q 1 -t kept/x -l &&
        survives_kill || return 1
    eventually publish
    (($(mosquitto_sub -h 127.0.0.1 -c -i away -q 1 -t 'kept/#' -C 20000 -W 20 | wc -l) == 20000))
}
# A gateway that lives and is stuck: fed until then, killed and started again after that.
watchdog_bites() {
    local override=/run/systemd/system/berrygate.service.d pid found=0
    mkdir -p "$override"
    printf '[Service]\nWatchdogSec=5\nTimeoutAbortSec=2\n' >"$override/short.conf"
    systemctl daemon-reload && systemctl restart berrygate
    pid=$(property MainPID)
    sleep 8
    [[ $(property MainPID) == "$pid" ]] || found=1
    kill -STOP "$pid"
    eventually [ ! -e "/proc/$pid" ] && eventually is_active && eventually http /readyz || found=1
    journalctl -u berrygate -o cat | grep -q 'Watchdog timeout' || found=1
    rm -r "$override"
    systemctl daemon-reload && systemctl restart berrygate && return "$found"
}
says_how_it_is() { systemctl status berrygate | grep -q 'Status: "ready; '; }

# --- upgrades
upgrade_again() {
    local before
    before=$(release)
    /src/install.sh service && eventually http /readyz && [[ $(release) == "$before" ]]
}
newer_release() {
    local before
    before=$(release)
    cp -r /src /root/newer && printf '\n# newer\n' >>/root/newer/gateway/__init__.py
    /root/newer/install.sh service && eventually http /readyz && [[ $(release) != "$before" ]] &&
        [[ -x $opt/$before/bin/berrygate ]] && rm -r /root/newer
}
# other_release NAME FILE LINE: a checkout of another release, in /root/NAME.
other_release() {
    rm -rf "/root/$1" && cp -r /src "/root/$1" && printf '%s\n' "$3" >>"/root/$1/$2"
}
# taken_back NAME: its release does not become ready, so the one before runs again, and says so.
taken_back() {
    local before found=0
    before=$(release)
    ! BERRYGATE_PATIENCE=15 "/root/$1/install.sh" service 2>/tmp/told || found=1
    rm -rf "/root/$1"
    grep -q 'does not become ready; .* runs again' /tmp/told && grep -q '  fix: ' /tmp/told &&
        is_active && eventually http /readyz && [[ $(release) == "$before" ]] || found=1
    return "$found"
}
hanging_release() { other_release hanging gateway/app/__init__.py 'import time; time.sleep(3600)' && taken_back hanging; }
dying_release() {
    other_release dying gateway/app/__init__.py 'import os, threading; threading.Timer(4, os._exit, [1]).start()' &&
        taken_back dying
}
version_of() { "$opt"/current/bin/python -c 'import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute("PRAGMA user_version").fetchone()[0])' "/var/lib/berrygate/$1.db"; }
add_migrations() {
    printf 'CREATE TABLE added (x);\n' >"/root/$1/gateway/store/migrations/state/9999_test.sql"
    printf 'CREATE TABLE added (x);\n' >"/root/$1/gateway/store/migrations/history/9999_test.sql"
}
# It migrates, and fails after that.
migrating_and_crashing_release() {
    other_release both gateway/runtime/house.py 'House.__init__ = lambda *a, **k: 1 / 0' &&
        add_migrations both && taken_back both && grep -q ZeroDivisionError /tmp/told && [[ $(version_of state) != 9999 && $(version_of history) != 9999 ]]
}
migrating_release() {
    local before
    before=$(release)
    other_release migrating gateway/__init__.py '# migrating' && add_migrations migrating &&
        /root/migrating/install.sh service && [[ $(version_of state) == 9999 && $(version_of history) == 9999 ]] &&
        [[ -d /var/lib/berrygate/databases-of-${before##*/} && $(readlink "$opt/previous") == "$before" ]]
}
rolled_back() {
    local left
    left=$(release)
    /src/install.sh rollback && eventually http /readyz && [[ $(release) != "$left" ]] &&
        [[ $(readlink "$opt/previous") == "$left" && $(version_of state) != 9999 ]] && is_active
}
# Its databases are not for the one that is to run again, and no copy of them is left.
no_way_back() {
    local pid found=0
    /root/migrating/install.sh service && mv /var/lib/berrygate/databases-of-* /root || return 1
    pid=$(property MainPID)
    ! /src/install.sh rollback 2>/tmp/told && grep -q 'no copy' /tmp/told &&
        [[ $(property MainPID) == "$pid" ]] || found=1
    mv /root/databases-of-* /var/lib/berrygate
    return "$found"
}
# Started by hand all the same, it refuses rather than harm what it does not know.
newer_data_is_refused() {
    local found=0
    systemctl stop berrygate
    su -s /bin/sh berrygate -c "STATE_DIRECTORY=/var/lib/berrygate timeout 20 $opt/previous/bin/berrygate run -c $etc/berrygate.yaml" 2>/tmp/told && found=1
    grep -q 'written by a newer release' /tmp/told || found=1
    systemctl start berrygate && return "$found"
}
publishes() { python3 /publish.py 50 /run/enough /run/published & }
nothing_was_lost() {
    touch /run/enough
    eventually [ -s /run/published ] && cat /run/published && cp /run/published /out/published &&
        grep -q '"missing": 0' /run/published
}

# The one in use must not be taken for the oldest.
older_release() {
    /src/install.sh rollback && rm -rf /root/migrating || return 1
    touch -d '-1 day' "$opt"/releases/*
    mkdir "$opt"/releases/{a,b,c}
    /src/install.sh service && eventually http /readyz &&
        [[ $(find "$opt"/releases -mindepth 1 -maxdepth 1 | wc -l) == 3 ]]
}
secret_of_its_file() {
    # shellcheck disable=SC2016 # the gateway is to expand it
    sed -i 's|^bridges: .*|bridges: [{type: influxdb, url: "http://127.0.0.1:9", token: "${TOKEN}", org: o, bucket: b}]|' "$etc"/berrygate.yaml
    printf 'TOKEN=s3cret-t0ken\n' >>"$etc"/berrygate.env
    /src/install.sh service && eventually http /api/v1/bridges | grep -q influxdb
}
secret_is_not_logged() { ! journalctl -b | grep -q s3cret-t0ken; }
bad_config_changes_nothing() {
    local pid
    pid=$(property MainPID)
    cp -p "$etc"/berrygate.yaml /root/good.yaml
    printf 'nonsense: 1\n' >>"$etc"/berrygate.yaml
    ! /src/install.sh service 2>/tmp/told && grep -q '  fix: ' /tmp/told && grep -q nonsense /tmp/told &&
        is_active && [[ $(property MainPID) == "$pid" ]]
    local found=$?
    cp -p /root/good.yaml "$etc"/berrygate.yaml
    return "$found"
}
# It exits with 0 for an unknown key too, so it must be silent.
unit_verifies() { [[ -z $(systemd-analyze verify /etc/systemd/system/berrygate.service 2>&1) ]]; }

# --- and away
uninstalled() {
    /src/install.sh uninstall && [[ ! -e "$opt" && ! -e /usr/local/bin/berrygate ]] &&
        [[ -d /var/lib/berrygate && -d "$etc" ]] && ! systemctl cat berrygate &&
        [[ ! -e /etc/systemd/system/berrygate.service.d ]]
}
purged() {
    /src/install.sh uninstall --purge && [[ ! -e /var/lib/berrygate && ! -e "$etc" ]] &&
        ! getent passwd berrygate && ! getent group berrygate
}
nothing_is_left() { [[ -z $(find / /run -xdev -path /src -prune -o -iname '*berrygate*' -print) ]]; }

finish() {
    journalctl -b -u berrygate >/out/journal
    result ok "done"
    exit
}

ip link set lo up
groupadd --system gpio
apt-get -q update
apt-get -q -y install mosquitto-clients
check user-is-told user_is_told
check install install_it
check policy-is-gone policy_is_gone
check debians-broker-is-off debians_broker_is_off
check active eventually is_active
check ready eventually http /readyz
grep -q FAIL /out/results && finish # the rest would only wait for what does not come
check told-ready told_ready
check own-user own_user
check in-groups in_groups
check is-tight is_tight
check devices-are-open devices_are_open
check uses-devices uses_devices
check config-is-private config_is_private
check broker-is-a-child broker_is_child
check broker-shares-our-memory shares_our_memory
check room-for-clients room_for_clients
check data-in-state-directory eventually data_in_state
check own-sensors eventually has_reading pi memory.percent
check publish publish
check message-queryable eventually has_reading soil moisture
check status-for-root berrygate status
check status-for-the-gateways-user status_of berrygate
check strangers-are-refused stranger_refused
check broker-comes-back broker_comes_back
check logs-news-as-such eventually logged 6
check logs-errors-as-such eventually logged 3
check stops-in-time stops_in_time
check starts-again systemctl start berrygate
check keeps-its-data eventually has_reading soil moisture
check queue-survives-a-crash queue_survives_a_crash
check says-how-it-is eventually says_how_it_is
check watchdog-bites watchdog_bites
check publishes-from-now-on publishes
check killed-and-back survives_kill
check still-has-its-data eventually has_reading soil moisture
check install-twice upgrade_again
check newer-release newer_release
check hanging-release-is-taken-back hanging_release
check dying-release-is-taken-back dying_release
check rollback rolled_back
check rollback-again rolled_back
check migrating-and-crashing-release migrating_and_crashing_release
check migrating-release migrating_release
check rollback-of-a-migration rolled_back
check nothing-was-lost-meanwhile nothing_was_lost
check no-way-back-without-a-copy no_way_back
check newer-data-is-refused newer_data_is_refused
check older-release older_release
check has-its-data-after-upgrades eventually has_reading soil moisture
check secret-of-its-file secret_of_its_file
check secret-is-not-logged secret_is_not_logged
check bad-config-changes-nothing bad_config_changes_nothing
check unit-verifies unit_verifies
check uninstall uninstalled
check uninstall-twice uninstalled
check purge purged
check nothing-is-left nothing_is_left
finish
