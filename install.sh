#!/usr/bin/env bash
# Berrygate: set up, run, test, install as a service. See `./install.sh help`.
set -euo pipefail
# su without a dash leaves these out; mosquitto and useradd are there.
PATH=$PATH:/usr/sbin:/sbin

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here
readonly opt=/opt/berrygate etc=/etc/berrygate state=/var/lib/berrygate
readonly unit=/etc/systemd/system/berrygate.service
# How long a release may take to become ready, and must stay so (s).
readonly patience=${BERRYGATE_PATIENCE:-120} settle=5
readonly test_packages=(
    mosquitto mosquitto-clients openssl shellcheck systemd-container mmdebstrap strace faketime
    prometheus iproute2
)
# Not in every Debian release; a test that needs one says so where it is missing.
readonly test_servers=(influxdb victoria-metrics libcoap3-bin redis-server)
python=python3

say() { printf '%s\n' "berrygate: $*" >&2; }
die() {
    printf '%s\n' "error: $1" >&2
    [[ -n ${2:-} ]] && printf '%s\n' "  fix: $2" >&2
    exit 1
}

usage() {
    cat <<'END'
./install.sh run [ARGS]             set up what is missing, then run the gateway here
                                    (ARGS go to `berrygate run`)
./install.sh test [--full] [ARGS]   set up what is missing, then run every test
                                    (--full: the long ones too; ARGS go to pytest)
sudo ./install.sh service           install or upgrade the systemd service, and start it; a
                                    release that does not become ready is taken back
sudo ./install.sh rollback          go back to the release before
sudo ./install.sh uninstall         remove the service; data and configuration stay
sudo ./install.sh uninstall --purge remove these as well
END
}

have() { command -v "$1" >/dev/null; }

# --- Debian packages -----------------------------------------------------------------------

# Which of the packages given are not installed, one a line.
missing() {
    local name installed
    installed=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' "$@" 2>/dev/null || true)
    for name in "$@"; do
        [[ $'\n'$installed$'\n' == *$'\n'"$name installed"$'\n'* ]] || printf '%s\n' "$name"
    done
}

# Which of the packages given are installed or to be had, one a line.
offered() {
    local name absent
    absent=$(missing "$@")
    if [[ -n $absent ]] && ((EUID == 0)); then apt-get update -q >&2 || true; fi
    for name in "$@"; do
        if [[ $'\n'$absent$'\n' != *$'\n'"$name"$'\n'* ]] ||
            apt-cache show "$name" >/dev/null 2>&1; then
            printf '%s\n' "$name"
        else
            say "this release of Debian has no $name: tests with it are left out"
        fi
    done
}

# What it takes to make a virtual environment. Debian's python3 alone cannot.
python_packages() {
    if ! have "$python"; then
        printf '%s\n' python3 python3-venv
    elif ! "$python" -c 'import ensurepip' 2>/dev/null; then
        printf '%s\n' python3-venv
    fi
}

# need_packages NAMES: install them, or say how.
need_packages() {
    (($#)) || return 0
    have apt-get || die "not installed: $*" "install them in this system's own way, then this again"
    ((EUID == 0)) || die "Debian packages are missing: $*" \
        "sudo apt-get install -y --no-install-recommends $*"
    say "installing Debian packages: $*"
    if [[ " $* " =~ \ (mosquitto|postgresql|prometheus|redis-server)\  ]]; then
        without_services "$@"
    else
        apt_install "$@"
    fi
}

apt_install() {
    local apt=(apt-get -q -o DPkg::Lock::Timeout=300)
    {
        "${apt[@]}" update || say "not all package lists could be fetched; trying with what is here"
        DEBIAN_FRONTEND=noninteractive "${apt[@]}" install -y --no-install-recommends "$@" ||
            die "apt-get failed" "see what it said above, then this again"
    } </dev/null >&2
}

# Debian's mosquitto starts a broker of its own on port 1883, where ours is to listen, and its
# PostgreSQL, Prometheus and Redis, which only tests need, servers. They are kept from doing so when
# we install them; one that somebody else installed is left as it is.
without_services() {
    local policy=/usr/sbin/policy-rc.d name
    if [[ ! -e $policy ]]; then
        # shellcheck disable=SC2064 # the path as it is now
        trap "rm -f '$policy'" EXIT
        # Names these alone, so that no other service is harmed should the power fail now.
        printf '%s\n' '#!/bin/sh' 'case "$*" in *mosquitto*|*postgresql*|*prometheus*|*redis*) exit 101 ;; esac' >"$policy"
        chmod 755 "$policy"
        apt_install "$@"
        rm -f "$policy"
        trap - EXIT
    else
        apt_install "$@"
    fi
    if [[ -d /run/systemd/system ]]; then
        for name in mosquitto postgresql prometheus redis-server; do
            [[ " $* " != *" $name "* ]] ||
                systemctl disable --now --quiet "$name.service" 2>/dev/null || true
        done
    fi
}

# --- virtual environments ------------------------------------------------------------------

recent() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# What a virtual environment was made of, where, and for which Python: a system upgrade may put
# another one behind the same name.
fingerprint() {
    local venv=$1
    shift
    {
        cat "$here/pyproject.toml" "$here/requirements/build.txt" "$@"
        printf '%s %s %s\n' "$here" "$venv" "$(readlink -f "$venv/bin/python")"
    } | sha256sum
}

# fresh DIRECTORY REQUIREMENTS...: it is there and up to date. Asked at every run, hence quick.
fresh() {
    [[ -x $1/bin/berrygate && -x $1/bin/python && -r $1/made-of ]] &&
        [[ $(<"$1/made-of") == "$(fingerprint "$@")" ]]
}

# Whether packages can still be put into it: a copied or moved one has scripts for its old place.
usable() {
    recent "$1/bin/python" && "$1/bin/python" -c 'import pip' 2>/dev/null &&
        grep -qsF "$1/bin/python" "$1/bin/pip"
}

# make_venv DIRECTORY editable|copy REQUIREMENTS...
make_venv() {
    local venv=$1 how=$2 project=("$here") args=() file
    shift 2
    fresh "$venv" "$@" && return 0
    [[ ! -e $venv || -w $venv ]] || die "$venv belongs to another user" "sudo rm -r $venv"
    say "setting up $venv (this takes a minute the first time)"
    recent "$python" || die "Python 3.11 or newer is needed; this is $("$python" -V 2>&1)" \
        "use Debian 12 or newer, or put a newer python3 first on PATH"
    rm -f "$venv/made-of"
    usable "$venv" || "$python" -m venv --clear "$venv"
    for file in "$here/requirements/build.txt" "$@"; do args+=(-r "$file"); done
    pip_install "$venv" --require-hashes "${args[@]}"
    [[ $how == editable ]] && project=(--editable "$here")
    pip_install "$venv" --no-deps --no-build-isolation "${project[@]}"
    fingerprint "$venv" "$@" >"$venv/made-of"
}

pip_install() {
    local venv=$1
    shift
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
        --no-warn-script-location "$@" </dev/null >&2 ||
        die "pip could not install what is needed" "see what it said above, then this again"
}

# --- commands ------------------------------------------------------------------------------

cmd_run() {
    local venv=$here/.venv requirements=$here/requirements/run.txt wanted=()
    fresh "$venv" "$requirements" || mapfile -t wanted < <(python_packages)
    have mosquitto || wanted+=(mosquitto)
    have openssl || wanted+=(openssl)
    need_packages "${wanted[@]}"
    make_venv "$venv" editable "$requirements"
    exec "$venv/bin/berrygate" run "$@"
}

cmd_test() {
    local chosen='not slow' longer=() wanted
    if [[ ${1:-} == --full ]]; then
        chosen='slow or not slow'
        longer=(--timeout 900) # tests that do not say themselves how long they may take
        export BERRYGATE_FULL=1
        shift
    fi
    mapfile -t wanted < <(offered "${test_servers[@]}")
    compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || wanted+=(postgresql)
    mapfile -t wanted < <(python_packages; missing "${test_packages[@]}" "${wanted[@]}")
    need_packages "${wanted[@]}"
    make_venv "$here/.venv-test" editable "$here/requirements/test.txt"
    cd "$here"
    export PATH="$here/.venv-test/bin:$PATH"
    say "checking the scripts, the style, the types and who imports whom"
    shellcheck install.sh .ci/run requirements/compile tests/system/check.sh
    ruff check --quiet .
    ruff format --quiet --check .
    mypy
    lint-imports >/dev/null || lint-imports
    say "running the tests"
    run_tests "not alone and ($chosen)" -n auto --maxprocesses 4 --dist worksteal "${longer[@]}" "$@"
    say "running the tests that measure, one after the other"
    run_tests "alone and ($chosen)" -n 0 "${longer[@]}" "$@"
    ((chosen_tests)) || die "no test has been chosen" "see what pytest takes: $*"
    return "$failed_tests"
}

# run_tests MARKED ARGS: pytest; that ARGS choose none of them is no failure of its own.
chosen_tests=0 failed_tests=0
run_tests() {
    local marked=$1 code=0
    shift
    pytest -m "$marked" "$@" || code=$?
    ((code == 5)) || chosen_tests=1
    ((code == 0 || code == 5)) || failed_tests=$code
}

need_root() {
    ((EUID == 0)) || die "this needs root" "sudo ./install.sh $1"
}

need_systemd() {
    [[ -d /run/systemd/system ]] || die "systemd does not run here" "./install.sh run"
}

cmd_service() {
    (($# == 0)) || die "service takes no arguments, but was given: $*" "sudo ./install.sh service"
    need_root service
    need_systemd
    umask 022 # whatever root's own is: the service's user must read what is installed
    local wanted release
    service_python
    mapfile -t wanted < <(python_packages)
    have mosquitto || wanted+=(mosquitto)
    have openssl || wanted+=(openssl)
    need_packages "${wanted[@]}"
    make_user
    release=$opt/releases/$(release_name)
    install -d -m 755 "$opt/releases"
    make_venv "$release" copy "$here/requirements/run.txt"
    install -m 644 "$here/systemd/berrygate.service" "$release/berrygate.service"
    install_config
    check_config "$release"
    switch_to "$release"
    say "running. Look: berrygate status    http://127.0.0.1:8080    journalctl -u berrygate"
}

cmd_rollback() {
    (($# == 0)) || die "rollback takes no arguments, but was given: $*" "sudo ./install.sh rollback"
    need_root rollback
    need_systemd
    umask 022
    [[ -x $opt/previous/bin/berrygate ]] || die "there is no release to go back to" \
        "install the one you want from its checkout: sudo ./install.sh service"
    local release
    release=$(readlink -f "$opt/previous")
    check_config "$release"
    switch_to "$release"
    say "running ${release##*/} again"
}

# Debian's own Python: the service's user cannot read one that lies in somebody's home.
service_python() {
    python=/usr/bin/python3
    if have "$python" && ! recent "$python"; then
        die "the service needs Python 3.11 or newer; $python is $("$python" -V 2>&1)" \
            "use Debian 12 or newer"
    fi
}

make_user() {
    if ! getent passwd berrygate >/dev/null; then
        say "making the system user berrygate"
        useradd --system --user-group --home-dir "$state" --shell /usr/sbin/nologin berrygate
    fi
}

# A name for what is installed: the same sources have the same.
release_name() {
    cd "$here"
    find gateway devices bridges systemd pyproject.toml requirements -type f ! -name '*.pyc' -print0 |
        LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c1-12
}

install_config() {
    install -d -m 750 -g berrygate "$etc"
    if [[ ! -e $etc/berrygate.yaml ]]; then
        install -m 640 -g berrygate "$here/config/default.yaml" "$etc/berrygate.yaml"
    fi
    if [[ ! -e $etc/berrygate.env ]]; then
        install -m 640 -g berrygate /dev/null "$etc/berrygate.env"
        printf '%s\n' "# Secrets for \${NAME} in berrygate.yaml, one NAME=value a line." \
            >"$etc/berrygate.env"
    fi
}

# as_service COMMAND: with what the service has: its user, its secrets, its directory.
as_service() {
    systemd-run --quiet --wait --pipe --collect -p User=berrygate -p Group=berrygate \
        -p EnvironmentFile=-"$etc/berrygate.env" -p StateDirectory=berrygate \
        -p StateDirectoryMode=0750 -p UMask=0077 "$@"
}

# A release that cannot read the configuration must not take the place of one that runs.
check_config() {
    local checked
    checked=$(as_service "$1/bin/berrygate" check -c "$etc/berrygate.yaml" 2>&1) ||
        {
            printf '%s\n' "$checked" >&2
            die "the configuration cannot be used; nothing that runs was changed" \
                "correct $etc/berrygate.yaml, then this again"
        }
}

# --- from one release to another -----------------------------------------------------------

# switch_to RELEASE: start it. If it does not become ready, the one that ran is used again.
switch_to() {
    local release=$1 before=''
    [[ ! -e $opt/current ]] || before=$(readlink -f "$opt/current")
    if [[ -z $before || $before == "$release" || ! -x $before/bin/berrygate ]]; then
        use_release "$release"
        start_service || die "the service does not become ready" "journalctl -u berrygate -n 50"
        forget_old
        return
    fi
    move_data "$before" "$release"
    use_release "$release"
    if start_service; then
        link "releases/${before##*/}" "$opt/previous"
        forget_old
        return
    fi
    say "release ${release##*/} does not become ready; the last it said:"
    journalctl -u berrygate -n 15 -o cat --no-pager >&2 || true
    say "going back to ${before##*/}"
    move_data "$release" "$before" || say "the databases could not be put back"
    use_release "$before"
    start_service ||
        die "neither ${release##*/} nor ${before##*/} becomes ready" "journalctl -u berrygate -n 50"
    die "release ${release##*/} does not become ready; ${before##*/} runs again with its data" \
        "see what it said above; journalctl -u berrygate"
}

# It is ready within its time, and still is a little later.
start_service() {
    local restarts left
    say "starting the service"
    timeout "$patience" systemctl restart berrygate.service || return 1
    restarts=$(systemctl show berrygate -p NRestarts --value)
    for ((left = settle; left > 0; left--)); do
        sleep 1
        systemctl is-active --quiet berrygate.service || return 1
        [[ $(systemctl show berrygate -p NRestarts --value) == "$restarts" ]] || return 1
    done
}

# `current` is moved in one step, once the release is whole. Its unit is its own, too.
use_release() {
    say "using release ${1##*/}"
    touch "$1"
    install_unit "$1"
    link "releases/${1##*/}" "$opt/current"
    ln -sfn "$opt/current/bin/berrygate" /usr/local/bin/berrygate
}

# link TARGET NAME, in one step
link() {
    ln -sfn "$1" "$2.new"
    mv -T "$2.new" "$2"
}

# The numbered migrations of a release's databases, one a line.
migrations() {
    (cd "$1"/lib/python3*/site-packages/gateway/store/migrations && find . -name '*.sql') |
        LC_ALL=C sort
}

# adds OLD NEW: whether NEW has migrations that OLD has not.
adds() { [[ -n $(comm -13 <(migrations "$1") <(migrations "$2")) ]]; }

# Migrations go forwards only. Before a release with new ones starts for the first time, the
# databases are copied; on the way back the copy takes their place, and history fills itself up
# from the journal.
move_data() {
    local from=$1 to=$2 data
    adds "$from" "$to" || adds "$to" "$from" || return 0
    data=$(data_dir "$from" "$to")
    if adds "$from" "$to"; then
        copy_data "$data" "databases-of-${from##*/}"
    else
        put_back "$data" "databases-of-${to##*/}"
    fi
}

# Where the data lies, by whichever of these releases can tell.
data_dir() {
    local release
    for release in "$@"; do
        as_service "$release/bin/berrygate" check --json -c "$etc/berrygate.yaml" |
            "$release/bin/python" -c 'import json, sys; print(json.load(sys.stdin)["data_dir"])' &&
            return
    done
    die "no release can tell where the data lies" "berrygate check -c $etc/berrygate.yaml"
}

# As its user: the service could put a link in root's way.
in_data() { runuser -u berrygate -- "$@"; }

# copy_data DIRECTORY NAME: the service stands still meanwhile.
copy_data() {
    local data=$1 copy=$1/$2 wanted free
    # shellcheck disable=SC2016 # for the inner shell
    wanted=$(in_data sh -c 'cat "$1"/state.db* "$1"/history.db* 2>/dev/null | wc -c' - "$data")
    free=$(df --output=avail -B1 "$data" | tail -n 1)
    ((free > wanted + 64 * 1024 * 1024)) ||
        die "no room in $data for a copy of its databases; nothing was changed" \
            "free $((wanted / 1000000 + 65)) MB, then this again"
    say "copying the databases, which this release changes, to $copy"
    systemctl stop berrygate.service
    # shellcheck disable=SC2016 # for the inner shell
    in_data sh -euc 'umask 077; rm -rf "$2" "$2.part"; mkdir "$2.part"
        for file in "$1"/state.db* "$1"/history.db*; do
            [ ! -f "$file" ] || cp -p --reflink=auto "$file" "$2.part"
        done
        sync; mv -T "$2.part" "$2"' - "$data" "$copy"
}

# put_back DIRECTORY NAME: what is there now is kept beside it.
put_back() {
    local data=$1 copy=$1/$2
    in_data test -d "$copy" ||
        die "the databases are of a newer release, and there is no copy of them from before" \
            "install that release again: sudo ./install.sh service"
    say "using the databases as they were; those of the newer release are in $data/set-aside"
    systemctl stop berrygate.service
    # shellcheck disable=SC2016 # for the inner shell
    in_data sh -euc 'rm -rf "$1/set-aside"; mkdir "$1/set-aside"
        for file in "$1"/state.db* "$1"/history.db*; do
            [ ! -f "$file" ] || mv "$file" "$1/set-aside"
        done
        mv "$2"/* "$1"
        rmdir "$2"
        sync' - "$data" "$copy"
}

# The release in use, the one before and one more stay, and copies of databases that fit them.
forget_old() {
    local link data
    for link in "$opt/previous" "$opt/current"; do
        [[ ! -e $link ]] || touch "$(readlink -f "$link")"
    done
    find "$opt/releases" -mindepth 1 -maxdepth 1 -printf '%T@ %p\n' | sort -rn | tail -n +4 |
        cut -d' ' -f2- | xargs -r rm -rf
    data=$(data_dir "$opt/current")
    # shellcheck disable=SC2016 # for the inner shell
    in_data sh -euc 'for copy in "$1"/databases-of-*; do
            [ -d "$2/${copy##*/databases-of-}" ] || rm -rf "$copy"
        done' - "$data" "$opt/releases"
}

install_unit() {
    local groups=() group
    for group in gpio i2c spi dialout video; do
        getent group "$group" >/dev/null && groups+=("$group")
    done
    install -m 644 "$1/berrygate.service" "$unit"
    install -d -m 755 "$unit.d"
    # Naming a group that does not exist would keep the unit from starting.
    printf '[Service]\nSupplementaryGroups=%s\n' "${groups[*]}" >"$unit.d/groups.conf"
    rm -f "$unit.d/pauses.conf"
    # Older ones do not know these, and would say so at every start.
    if (($(systemctl --version | awk 'NR == 1 {print $2}') >= 254)); then
        printf '[Service]\nRestartSteps=5\nRestartMaxDelaySec=60\n' >"$unit.d/pauses.conf"
    fi
    systemctl daemon-reload
    systemctl enable --quiet berrygate.service
}

cmd_uninstall() {
    [[ $# -eq 0 || $* == --purge ]] ||
        die "uninstall takes --purge only, but was given: $*" "sudo ./install.sh uninstall"
    need_root uninstall
    if [[ -d /run/systemd/system ]]; then
        systemctl disable --now --quiet berrygate.service 2>/dev/null || true
    fi
    rm -rf "$unit" "$unit.d/groups.conf" "$unit.d/pauses.conf" "$opt" /usr/local/bin/berrygate
    if [[ ${1:-} == --purge ]]; then
        rm -rf "$unit.d" "$etc" "$state"
        if getent passwd berrygate >/dev/null; then userdel berrygate; fi
        # It stays behind where people were made members of it.
        if getent group berrygate >/dev/null; then groupdel berrygate; fi
    fi
    [[ ! -d $unit.d ]] || rmdir --ignore-fail-on-non-empty "$unit.d"
    if [[ -d /run/systemd/system ]]; then
        systemctl daemon-reload
        systemctl reset-failed berrygate.service 2>/dev/null || true
    fi
    if [[ ${1:-} == --purge ]]; then
        say "removed, with its data and configuration (a data_dir elsewhere stays)"
    else
        say "removed; data stays in $state, configuration in $etc (--purge removes them)"
    fi
}

case ${1:-help} in
    run | test | service | rollback | uninstall)
        command=$1
        shift
        "cmd_$command" "$@"
        ;;
    help | -h | --help) usage ;;
    *)
        printf '%s\n' "error: no such command: $1" >&2
        usage >&2
        exit 2
        ;;
esac
