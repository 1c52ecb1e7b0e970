#!/bin/sh
# How the service is, a word and its value a line.
printf 'kws-pi version %s\n' "$(dpkg-query -W -f '${Version}' kws-pi 2>/dev/null)"
systemctl show kws-pi.service --property ActiveState,SubState,StatusText,NRestarts |
	while IFS='=' read -r name value; do printf 'kws-pi %s %s\n' "$name" "$value"; done
