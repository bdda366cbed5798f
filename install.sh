#!/usr/bin/env bash
# Berrygate: set up, run, test, install as a service. See `./install.sh help`.
set -euo pipefail
# su without a dash leaves these out; mosquitto and useradd are there.
PATH=$PATH:/usr/sbin:/sbin

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here
readonly opt=/opt/berrygate etc=/etc/berrygate state=/var/lib/berrygate
readonly unit=/etc/systemd/system/berrygate.service
readonly test_packages=(
    mosquitto mosquitto-clients openssl shellcheck systemd-container mmdebstrap strace faketime
)
# Not in every Debian release; a test that needs one says so where it is missing.
readonly test_servers=(influxdb victoria-metrics)
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
sudo ./install.sh service           install or upgrade the systemd service, and start it
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
    if [[ " $* " == *' mosquitto '* ]]; then
        without_its_service "$@"
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

# Debian's mosquitto starts a broker of its own on port 1883, where ours is to listen. It is kept
# from doing so when we install it; one that somebody else installed is left as it is.
without_its_service() {
    local policy=/usr/sbin/policy-rc.d
    if [[ ! -e $policy ]]; then
        # shellcheck disable=SC2064 # the path as it is now
        trap "rm -f '$policy'" EXIT
        # Names mosquitto alone, so that no other service is harmed should the power fail now.
        printf '%s\n' '#!/bin/sh' 'case "$*" in *mosquitto*) exit 101 ;; esac' >"$policy"
        chmod 755 "$policy"
        apt_install "$@"
        rm -f "$policy"
        trap - EXIT
    else
        apt_install "$@"
    fi
    if [[ -d /run/systemd/system ]]; then
        systemctl disable --now --quiet mosquitto.service 2>/dev/null || true
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
    local chosen=(-m 'not slow') wanted
    if [[ ${1:-} == --full ]]; then
        chosen=()
        export BERRYGATE_FULL=1
        shift
    fi
    mapfile -t wanted < <(offered "${test_servers[@]}")
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
    exec pytest -n auto --maxprocesses 4 "${chosen[@]}" "$@"
}

need_root() {
    ((EUID == 0)) || die "this needs root" "sudo ./install.sh $1"
}

cmd_service() {
    (($# == 0)) || die "service takes no arguments, but was given: $*" "sudo ./install.sh service"
    need_root service
    [[ -d /run/systemd/system ]] || die "systemd does not run here" "./install.sh run"
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
    install_config
    check_config "$release"
    install_unit
    use_release "$release"
    say "starting the service"
    systemctl restart berrygate.service ||
        die "the service does not start" "journalctl -u berrygate -n 50"
    say "running. Look: berrygate status    http://127.0.0.1:8080    journalctl -u berrygate"
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
    find gateway devices bridges pyproject.toml requirements -type f ! -name '*.pyc' -print0 |
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

# As the service will see it: its user, its secrets. A release that cannot read the configuration
# must not take the place of one that runs.
check_config() {
    local checked
    checked=$(systemd-run --quiet --wait --pipe --collect -p User=berrygate -p Group=berrygate \
        -p EnvironmentFile=-"$etc/berrygate.env" -p StateDirectory=berrygate \
        -p StateDirectoryMode=0750 "$1/bin/berrygate" check -c "$etc/berrygate.yaml" 2>&1) ||
        {
            printf '%s\n' "$checked" >&2
            die "the configuration cannot be used; nothing that runs was changed" \
                "correct $etc/berrygate.yaml, then this again"
        }
}

install_unit() {
    local groups=() group
    for group in gpio i2c spi dialout video; do
        getent group "$group" >/dev/null && groups+=("$group")
    done
    install -m 644 "$here/systemd/berrygate.service" "$unit"
    install -d -m 755 "$unit.d"
    # Naming a group that does not exist would keep the unit from starting.
    printf '[Service]\nSupplementaryGroups=%s\n' "${groups[*]}" >"$unit.d/groups.conf"
    systemctl daemon-reload
    systemctl enable --quiet berrygate.service
}

# `current` is moved in one step, once the release is whole. Two earlier ones stay, to go back to.
use_release() {
    say "using release ${1##*/}"
    touch "$1"
    ln -sfn "releases/${1##*/}" "$opt/current.new"
    mv -T "$opt/current.new" "$opt/current"
    ln -sfn "$opt/current/bin/berrygate" /usr/local/bin/berrygate
    find "$opt/releases" -mindepth 1 -maxdepth 1 -printf '%T@ %p\n' | sort -rn | tail -n +4 |
        cut -d' ' -f2- | xargs -r rm -rf
}

cmd_uninstall() {
    [[ $# -eq 0 || $* == --purge ]] ||
        die "uninstall takes --purge only, but was given: $*" "sudo ./install.sh uninstall"
    need_root uninstall
    if [[ -d /run/systemd/system ]]; then
        systemctl disable --now --quiet berrygate.service 2>/dev/null || true
    fi
    rm -rf "$unit" "$unit.d/groups.conf" "$opt" /usr/local/bin/berrygate
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
    run | test | service | uninstall)
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
