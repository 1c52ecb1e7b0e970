#!/usr/bin/env bash
# Unpacks a 32-bit Debian 13 (armhf), once, into a folder outside the repository: its programs run
# here through qemu. Packages are unpacked and not configured, which is minutes instead of an hour.
#
#   tests/lab/armhf.sh ROOT
set -euo pipefail
cd "$(dirname "$0")/../.."

stop() { printf 'armhf: %s\n' "$*" >&2; exit 1; }

root=${1:?say into which folder}
[ ! -e "$root.stamp" ] || exit 0
[ "$(id -u)" = 0 ] || stop "it is unpacked as root, for its owners and devices"
for program in mmdebstrap qemu-arm-static; do
	command -v $program >/dev/null ||
		stop "$program is missing: apt-get install mmdebstrap qemu-user-static binfmt-support"
done
if [ ! -e /proc/sys/fs/binfmt_misc/qemu-arm ]; then
	[ -e /proc/sys/fs/binfmt_misc/status ] || mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
	update-binfmts --enable qemu-arm
fi
printf 'armhf: unpacking Debian 13 for armhf\n'
rm -rf "$root"
mkdir -p "$(dirname "$root")"
packages=python3,python3-numpy,python3-alsaaudio,python3-systemd,systemd,init-system-helpers
packages+=,bash,dash,coreutils,diffutils,findutils,tar,sed,grep,dpkg,perl-base,libc-bin
mmdebstrap --quiet --variant=extract --arch=armhf --components=main --include=$packages \
	--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' trixie "$root" \
	'deb http://deb.debian.org/debian trixie main'
# The alternatives that configuring the packages would set; numpy needs them.
for name in blas lapack; do
	ln -s "$name/lib$name.so.3" "$root/usr/lib/arm-linux-gnueabihf/lib$name.so.3"
done
date >"$root.stamp"
