#!/bin/sh
# Makes sure that Debian packages are there: as root on Debian installs them, elsewhere names them.
# Usage: packages.sh venv PYTHON | packages.sh {servers|peers}...
set -eu

missing=""
need() { # command, package
    command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || missing="$missing $2"
}

if [ "$1" = venv ]; then
    "$2" -c 'import ensurepip, venv' 2>/dev/null || missing=" python3-venv"
else
    for set in "$@"; do
        case $set in
        servers)
            need dovecot dovecot-imapd
            [ -e /usr/lib/dovecot/pop3-login ] || [ -n "$missing" ] || missing="$missing dovecot-pop3d"
            case $missing in *imapd*) missing="$missing dovecot-pop3d" ;; esac
            ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || need initdb postgresql
            need redis-server redis-server
            need chromium chromium
            ;;
        peers)
            need mbsync isync
            need mu maildir-utils
            need notmuch notmuch
            ;;
        esac
    done
fi

[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing$missing" >&2
    apt-get update -qq
    # shellcheck disable=SC2086 - one word per package
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
    echo "Missing:$missing. On Debian or Ubuntu: sudo apt-get install$missing" >&2
    exit 1
fi
