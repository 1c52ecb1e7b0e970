#!/usr/bin/env bash
# Packs what Raspberry Pi OS has and Debian has not, gpiozero 2, colorzero and lgpio, as Debian
# packages, with an index for apt.
#
#   tests/lab/debs.sh ROOT FOLDER
#
# ROOT: a Debian 13 for arm64, in a copy of which lgpio is compiled. Versions and hashes are those of
# requirements/lab.txt.
set -euo pipefail
cd "$(dirname "$0")/../.."

root=$1
folder=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf 'lab: packing gpiozero, colorzero and lgpio\n'
pip=(.venv/bin/python -m pip --disable-pip-version-check)
"${pip[@]}" download -qq --require-hashes --no-deps --no-binary lgpio --no-build-isolation \
	--dest "$work" --requirement requirements/lab.txt

# Builds a package: NAME VERSION ARCHITECTURE DEPENDS, out of $work/NAME.
pack() {
	local tree=$work/$1
	mkdir -p "$tree/DEBIAN"
	cat >"$tree/DEBIAN/control" <<-END
		Package: $1
		Version: $2
		Architecture: $3
		Depends: $4
		Maintainer: kws-pi maintainers <maintainers@kws-pi.invalid>
		Description: $1 for the emulated Raspberry Pi
	END
	# As Raspberry Pi OS does: what is not compiled now is compiled at every start of a program that
	# must not write to /usr, which takes memory.
	printf '#!/bin/sh\nset -e\npy3compile -p %s\n' "$1" >"$tree/DEBIAN/postinst"
	printf '#!/bin/sh\nset -e\npy3clean -p %s\n' "$1" >"$tree/DEBIAN/prerm"
	chmod 755 "$tree/DEBIAN/postinst" "$tree/DEBIAN/prerm"
	dpkg-deb --root-owner-group -Zxz --build "$tree" "$folder/$1_$2_$3.deb" >/dev/null
}

rm -rf "$folder"
mkdir -p "$folder"
for name in colorzero gpiozero; do
	wheel=$(echo "$work/$name"-*.whl)
	version=$(basename "$wheel" | cut -d- -f2)
	packages=$work/python3-$name/usr/lib/python3/dist-packages
	mkdir -p "$packages"
	python3 -m zipfile -e "$wheel" "$packages"
	rm -rf "$packages/gpiozerocli"
	depends=python3
	[ "$name" = colorzero ] || depends="python3, python3-colorzero"
	pack "python3-$name" "$version" all "$depends"
done

# In a copy, so that no compiler stays in the image.
archive=$(echo "$work"/lgpio-*.tar.gz)
version=$(basename "$archive" .tar.gz | cut -d- -f2)
copy=$folder/../compiler
if [ ! -e "$copy.stamp" ]; then
	rm -rf "$copy"
	cp -a --reflink=auto "$root" "$copy"
	cp /etc/resolv.conf "$copy/etc/resolv.conf"
	chroot "$copy" sh -c 'apt-get update -q >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install \
		-y -q --no-install-recommends gcc libc6-dev swig python3-dev python3-setuptools >/dev/null'
	date >"$copy.stamp"
fi
tar -C "$copy/tmp" -xzf "$archive"
chroot "$copy" sh -c "cd /tmp/lgpio-$version && PYPI=1 python3 setup.py -q build --build-lib /tmp/lib >/dev/null"
packages=$work/python3-lgpio/usr/lib/python3/dist-packages
mkdir -p "$packages"
cp "$copy"/tmp/lib/*lgpio* "$packages/"
pack python3-lgpio "$version" arm64 "python3 (>= 3.13), python3 (<< 3.14), libc6"
rm -rf "$copy" "$copy.stamp"
(cd "$folder" && dpkg-scanpackages --multiversion . >Packages 2>/dev/null)
