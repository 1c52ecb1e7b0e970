#!/bin/sh
# install.sh PACKAGE [SETTINGS]: puts this device's settings in place where they are given ("none"
# for none), installs a package over whatever is there, whole or half, and starts the service.
package=$1
settings=$2
state=${KWS_PI_STATE:-/var/lib/kws-pi}
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

apt() {
	apt-get -y -q -o Dpkg::Options::=--force-confold -o Dpkg::Use-Pty=0 \
		-o DPkg::Lock::Timeout=120 "$@"
}
# The version stays the same when only the model changes, hence --reinstall.
install() { apt install --reinstall --allow-downgrades "$@" "$package"; }
lacking() {
	apt install --simulate --no-install-recommends "$package" 2>/dev/null |
		awk '$1 == "Inst" && $2 != "kws-pi" {printf " %s", $2}'
}

if [ "$settings" = none ]; then
	rm -f "$state/config.toml"
elif [ -n "$settings" ]; then
	# Under another name first: a power cut must not leave half a file.
	mkdir -p "$state" && cp "$settings" "$state/.config.toml.new" &&
		chmod 644 "$state/.config.toml.new" &&
		mv "$state/.config.toml.new" "$state/config.toml" || exit 1
fi

# An upgrade that lost power leaves this to do; apt refuses to work before it is done.
dpkg --configure -a --force-confold
# One that lost power while it was unpacked: apt looks for that very version, and refuses all else.
if [ "$(dpkg-query -W -f '${db:Status-Eflag}' kws-pi 2>/dev/null)" = reinstreq ]; then
	dpkg --install --force-confold "$package"
fi

# The package lists may name files that are no longer there; what is only recommended may be out
# of reach.
if ! install; then
	apt update || echo "kws-pi: no package lists"
	if ! install; then
		echo "kws-pi: lacks$(lacking)"
		install --no-install-recommends || exit 1
	fi
fi
# What was written lies in memory so far, and a Pi is switched off by its plug.
sync
systemctl enable --quiet kws-pi.service || exit 1
# The package has started it, if it has not been disabled.
systemctl start kws-pi.service || {
	echo "kws-pi: does not start"
	process=$(systemctl show kws-pi.service --property ExecMainPID --value)
	journalctl "_PID=$process" --lines 8 --no-pager --output cat
	exit 1
}
