#!/usr/bin/env bash
# Installs masthead from this folder into /opt/masthead, for a machine without the package (`make deb` makes it).
set -Eeuo pipefail
# the service's user has to read it, whatever root's own files are like
umask 022
here=$(cd "$(dirname "$0")/.." && pwd)

usage() {
  cat <<'U'
Usage: sudo deploy/install.sh [--dry-run] [--uninstall [--purge]]

Install masthead into /opt/masthead with its service, or bring an installation up to date. What is there is kept:
configuration, credential, data. Nothing is compiled.

  --dry-run    print each step, do none
  --uninstall  take it away again; configuration, credential and data stay
  --purge      with --uninstall: those too

Exit status: 0 done, 1 a step failed or this machine is not one for it, 2 wrong usage.

Example:
  sudo deploy/install.sh && sudo masthead setup
U
}

opt=/opt/masthead
unit=/etc/systemd/system/masthead.service
dry='' uninstall='' purge=''
for word; do
  case $word in
  --dry-run) dry=1 ;;
  --uninstall) uninstall=1 ;;
  --purge) purge=1 ;;
  -h | --help) usage; exit 0 ;;
  *) echo "install.sh: unknown option $word (--help shows them)" >&2; exit 2 ;;
  esac
done
if [ -n "$purge" ] && [ -z "$uninstall" ]; then
  echo "install.sh: --purge goes with --uninstall" >&2
  exit 2
fi

die() { echo "install.sh: $1" >&2; exit 1; }
step() { echo "• $1"; }
trap 'echo "install.sh: the last step above failed; when its reason is mended, run this again; if it fails then" >&2
  echo "  too: deploy/install.sh --uninstall, which keeps configuration and data, and this again" >&2' ERR
run() {
  printf '    '; printf '%q ' "$@"; echo
  [ -n "$dry" ] || "$@"
}
# shellcheck disable=SC2016  # dpkg-query's format
installed() { dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed; }
# what FILE becomes here: the package's paths are others
put() {
  echo "    write $2"
  [ -n "$dry" ] || sed "s|/usr/share/masthead/|$opt/share/|; s|/usr/share/doc/masthead/examples/|$opt/share/examples/|" "$here/$1" |
    install -D -m 0644 /dev/stdin "$2"
}

# --- is this a machine for it

for program in apt-get dpkg-query systemctl systemd-sysusers udevadm; do
  command -v $program >/dev/null || die "there is no $program: this takes Debian or Raspberry Pi OS, 12 or newer, with systemd"
done
if [ -z "$dry" ]; then
  [ "$(id -u)" = 0 ] || die "this takes root: sudo deploy/install.sh"
  [ -d /run/systemd/system ] || die "systemd does not run here: start \`masthead run\` by what does, in an environment of your own"
fi
if installed masthead; then
  die "the package masthead is installed: apt install ./masthead_VERSION_all.deb updates it, or sudo apt remove masthead first"
fi
if [ -e $opt ] && [ ! -e $opt/pyvenv.cfg ]; then
  die "$opt is there, and no environment of Python: move it away"
fi

# --- away again

if [ -n "$uninstall" ]; then
  step "stop the service"
  [ ! -e $unit ] || run systemctl disable --now masthead.service
  step "remove the program and its unit"
  run rm -rf $opt $unit $unit.d/configured.conf /etc/udev/rules.d/40-masthead.rules /run/masthead
  [ ! -L /usr/local/bin/masthead ] || run rm /usr/local/bin/masthead
  if [ -n "$purge" ]; then
    step "remove configuration, credential and data"
    run rm -rf /etc/masthead /var/lib/masthead
    run rm -f /etc/credstore/masthead.connection-string /etc/credstore.encrypted/masthead.connection-string
    run rm -f $unit.d/credential.conf
  else
    echo "Kept: /etc/masthead, /etc/credstore*/masthead.connection-string, /var/lib/masthead (--purge removes them)."
  fi
  [ ! -d $unit.d ] || run rmdir --ignore-fail-on-non-empty $unit.d
  run systemctl daemon-reload
  run sync
  echo "The user masthead stays, as Debian's system users do."
  exit 0
fi

/usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
  die "Python 3.11 or newer is needed as /usr/bin/python3: Debian or Raspberry Pi OS, 12 or newer"

# --- install, or bring up to date

step "Debian's packages"
missing=()
for package in python3-venv python3-systemd python3-libgpiod; do
  installed "$package" || missing+=("$package")
done
[ "${#missing[@]}" = 0 ] || run apt-get update -q
# Raspberry Pi OS has it, Debian does not; an image that is new knows only after the line above
if ! installed python3-lgpio && apt-cache show python3-lgpio >/dev/null 2>&1; then missing+=(python3-lgpio); fi
if [ "${#missing[@]}" -gt 0 ]; then
  run env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
fi

step "masthead, in an environment that sees Debian's packages"
# also where there is one: it may have been cut short, or be of the Python before an upgrade of the system
run /usr/bin/python3 -I -m venv --system-site-packages $opt
# a copy: pip leaves what it builds where it builds it
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
run cp -r --target-directory "$copy" "$here"/{agent,hw,deploy,setup.cfg,pyproject.toml,README.md,LICENSE}
run $opt/bin/python -I -m pip install -q --disable-pip-version-check "$copy"

step "the libraries of the pins, where Debian's do not serve; without a compiler"
for wanted in 'gpiod>=2:request_lines:edges with their loss counted' 'lgpio>=0.2.2:gpiochip_open:pwm and servo, and relays and edges without gpiod'; do
  IFS=: read -r package name lost <<<"$wanted"
  # lgpio makes files where it is imported
  $opt/bin/python -I -c "import os; os.chdir('$copy'); import ${package%%>*} as it; it.$name" 2>/dev/null && continue
  run $opt/bin/python -I -m pip install -q --disable-pip-version-check --only-binary :all: "$package" ||
    echo "    not to be had for this machine, and so not: $lost"
done

step "user masthead, in groups gpio and i2c"
run systemd-sysusers "$here/deploy/debian/sysusers.conf"
put deploy/debian/udev.rules /etc/udev/rules.d/40-masthead.rules
run udevadm control --reload
run udevadm trigger --action=change --subsystem-match=gpio --subsystem-match=i2c-dev

step "configuration"
if [ -e /etc/masthead/masthead.toml ] && ! cmp -s /etc/masthead/masthead.toml $opt/share/masthead.toml; then
  echo "    /etc/masthead/masthead.toml is kept"
else
  put deploy/debian/masthead.toml /etc/masthead/masthead.toml
fi
put deploy/masthead.toml $opt/share/examples/masthead.toml
put deploy/debian/masthead.toml $opt/share/masthead.toml

step "the service: at every boot, once it is configured"
put deploy/masthead.service $unit
put deploy/debian/configured.conf $unit.d/configured.conf
run ln -sfn $opt/bin/masthead /usr/local/bin/masthead
run systemctl daemon-reload
run systemctl enable -q masthead.service
# a mast may lose its power a moment later
run sync
run systemctl try-restart masthead.service

echo "Done. Next, if it is new: sudo masthead setup"
