#!/usr/bin/env bash
# Berrygate: set up, run, test, install as a service. See `./install.sh help`.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here
readonly opt=/opt/berrygate etc=/etc/berrygate state=/var/lib/berrygate
readonly unit=/etc/systemd/system/berrygate.service
readonly run_packages=(mosquitto)
readonly test_packages=(
    mosquitto mosquitto-clients openssl shellcheck systemd-container mmdebstrap strace faketime
)
# Not in every Debian release; a test that needs one says so where it is missing.
readonly test_servers=(influxdb victoria-metrics)

say() { printf '%s\n' "berrygate: $*" >&2; }
die() {
    printf '%s\n' "error: $1" >&2
    [[ -n ${2:-} ]] && printf '%s\n' " fix: $2" >&2
    exit 1
}

usage() {
    cat <<'END'
./install.sh run [ARGS]        set up what is missing, then run the gateway (ARGS go to `berrygate run`)
./install.sh test [--full] [ARGS]   set up what is missing, then run every test (ARGS go to pytest)
sudo ./install.sh service      install or upgrade the systemd service, and start it
sudo ./install.sh uninstall [--purge]   remove the service; --purge: its data and configuration too
END
}

# --- Debian packages -----------------------------------------------------------------------

installed() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }

# Which of the packages given are to be installed, one a line.
missing() {
    local name
    for name in "$@"; do
        installed "$name" || printf '%s\n' "$name"
    done
}

# Which of the packages given are installed or to be had, one a line.
offered() {
    local name
    ((EUID == 0)) && [[ -n $(missing "$@") ]] && apt-get update -q >&2
    for name in "$@"; do
        if installed "$name" || apt-cache show "$name" >/dev/null 2>&1; then
            printf '%s\n' "$name"
        else
            say "this release of Debian has no $name: tests with it are left out"
        fi
    done
}

# Python 3.11 or newer that can make a virtual environment; else its packages are missing.
python_packages() {
    if ! command -v python3 >/dev/null; then
        printf 'python3\npython3-venv\n'
    elif ! python3 -c 'import ensurepip' 2>/dev/null; then
        printf 'python3-venv\n'
    fi
}

need_packages() {
    local wanted
    mapfile -t wanted < <(python_packages; missing "$@")
    ((${#wanted[@]})) || return 0
    command -v apt-get >/dev/null || die "these are not installed: ${wanted[*]}" "install them"
    if ((EUID != 0)); then
        die "these Debian packages are not installed: ${wanted[*]}" \
            "sudo apt-get install -y ${wanted[*]}, then this again"
    fi
    say "installing Debian packages: ${wanted[*]}"
    apt_install "${wanted[@]}"
}

apt_install() {
    local policy=/usr/sbin/policy-rc.d own_policy='' own_mosquitto=''
    installed mosquitto || own_mosquitto=yes
    # Debian's mosquitto starts a broker on 1883 of its own, where ours is to listen.
    if [[ ! -e $policy ]]; then
        own_policy=yes
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    local status=0
    {
        apt-get update -q && DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -q --no-install-recommends "$@"
    } >&2 || status=$?
    [[ -n $own_policy ]] && rm -f "$policy"
    ((status == 0)) || die "apt-get failed" "see what it said above"
    if [[ -n $own_mosquitto ]] && installed mosquitto && command -v systemctl >/dev/null; then
        systemctl disable mosquitto.service >/dev/null 2>&1 || true
    fi
}

check_python() {
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "Python 3.11 or newer is needed; this is $(python3 -V)" \
            "use Debian 12 or newer, or put a newer python3 first on PATH"
}

# --- virtual environments ------------------------------------------------------------------

# What a virtual environment was made of: it is made anew only when that changes.
fingerprint() {
    cat "$here/pyproject.toml" "$@" | sha256sum | cut -d' ' -f1
    python3 -c 'import sys; print(sys.version, sys.prefix)'
}

# make_venv DIRECTORY editable|copy REQUIREMENTS...
make_venv() {
    local venv=$1 how=$2 wanted args=() file
    shift 2
    wanted=$(fingerprint "$@")
    [[ -x $venv/bin/berrygate && $(cat "$venv/made-of" 2>/dev/null) == "$wanted" ]] && return 0
    say "setting up $venv (this takes a minute the first time)"
    check_python
    [[ -x $venv/bin/python ]] || python3 -m venv "$venv"
    for file in "$here/requirements/build.txt" "$@"; do args+=(-r "$file"); done
    pip_install "$venv" --require-hashes "${args[@]}"
    if [[ $how == editable ]]; then
        pip_install "$venv" --no-deps --no-build-isolation --editable "$here"
    else
        pip_install "$venv" --no-deps --no-build-isolation "$here"
    fi
    printf '%s\n' "$wanted" >"$venv/made-of"
}

pip_install() {
    local venv=$1
    shift
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        --no-warn-script-location "$@" >&2 ||
        die "pip could not install what is needed" "check the network, then this again"
}

# --- commands ------------------------------------------------------------------------------

cmd_run() {
    need_packages "${run_packages[@]}"
    make_venv "$here/.venv" editable "$here/requirements/run.txt"
    exec "$here/.venv/bin/berrygate" run "$@"
}

cmd_test() {
    local chosen=(-m 'not slow')
    if [[ ${1:-} == --full ]]; then
        chosen=()
        shift
    fi
    local servers
    mapfile -t servers < <(offered "${test_servers[@]}")
    need_packages "${test_packages[@]}" "${servers[@]}"
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
    exec pytest "${chosen[@]}" "$@"
}

need_root() {
    ((EUID == 0)) || die "this needs root" "sudo ./install.sh $1"
}

cmd_service() {
    need_root service
    command -v systemctl >/dev/null || die "there is no systemd here" "./install.sh run"
    need_packages "${run_packages[@]}"
    make_user
    install_release
    install_config
    install_unit
    say "starting the service"
    systemctl restart berrygate.service ||
        die "the service does not start" "journalctl -u berrygate -n 50"
    say "running. Look: berrygate status    http://127.0.0.1:8080    journalctl -u berrygate"
}

make_user() {
    if ! getent passwd berrygate >/dev/null; then
        say "making the system user berrygate"
        useradd --system --user-group --home-dir "$state" --shell /usr/sbin/nologin berrygate
    fi
}

# Each release has a directory of its own; `current` is moved once the new one is whole.
install_release() {
    local release
    release=$(cd "$here" && find gateway devices bridges pyproject.toml requirements -type f \
        ! -name '*.pyc' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c1-12)
    say "installing release $release into $opt"
    install -d -m 755 "$opt/releases"
    make_venv "$opt/releases/$release" copy "$here/requirements/run.txt"
    ln -sfn "releases/$release" "$opt/current.new"
    mv -T "$opt/current.new" "$opt/current"
    ln -sfn "$opt/current/bin/berrygate" /usr/local/bin/berrygate
    # The one before stays, so that there is something to go back to.
    find "$opt/releases" -mindepth 1 -maxdepth 1 -printf '%T@ %p\n' | sort -rn | tail -n +4 |
        cut -d' ' -f2- | xargs -r rm -rf
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
    "$opt/current/bin/berrygate" check -c "$etc/berrygate.yaml" >/dev/null ||
        say "the configuration has errors (secrets of $etc/berrygate.env are not looked at here)"
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

cmd_uninstall() {
    need_root uninstall
    if command -v systemctl >/dev/null; then
        systemctl disable --now --quiet berrygate.service 2>/dev/null || true
    fi
    rm -rf "$unit" "$unit.d" "$opt" /usr/local/bin/berrygate
    if command -v systemctl >/dev/null; then
        systemctl daemon-reload 2>/dev/null || true
    fi
    if [[ ${1:-} == --purge ]]; then
        rm -rf "$etc" "$state"
        if getent passwd berrygate >/dev/null; then userdel berrygate; fi
        say "removed, with its data and configuration"
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
        usage >&2
        exit 2
        ;;
esac
