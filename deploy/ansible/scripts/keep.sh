#!/bin/sh
# keep.sh FOLDER: packs the kws-pi that is installed into FOLDER/previous.deb, and copies this
# device's settings to FOLDER/previous.toml, so that both can be put back. Says "kept VERSION", or
# "nothing to keep" where none is wholly installed.
set -e
folder=$1
state=${KWS_PI_STATE:-/var/lib/kws-pi}
with=
[ ! -e "$state/config.toml" ] || cp -p "$state/config.toml" "$folder/previous.toml"
if [ "$(dpkg-query -W -f '${db:Status-Status}' kws-pi 2>/dev/null)" != installed ]; then
	echo "nothing to keep"
	exit 0
fi
tree=$folder/tree
mkdir -p "$tree/DEBIAN"
dpkg-query -L kws-pi | while read -r path; do
	if [ -d "$path" ]; then
		mkdir -p "$tree$path"
	elif [ -e "$path" ]; then
		cp -p "$path" "$tree$path"
	fi
done
# As the package brought it: dpkg takes the conffile in a package for the one that nobody changed.
[ ! -e /usr/share/kws-pi/config.toml ] || cp /usr/share/kws-pi/config.toml "$tree/etc/kws-pi/"
for name in $(dpkg-query --control-list kws-pi); do
	cp -p "$(dpkg-query --control-path kws-pi "$name")" "$tree/DEBIAN/$name"
done
dpkg-query -s kws-pi | awk '/^[^ ]/ {keep = !/^(Status|Conffiles):/} keep' >"$tree/DEBIAN/control"
dpkg-deb --root-owner-group -Zgzip -z1 --build "$tree" "$folder/previous.deb" >/dev/null
rm -rf "$tree"
[ ! -e "$folder/previous.toml" ] || with=" with settings"
echo "kept $(dpkg-query -W -f '${Version}' kws-pi)$with"
