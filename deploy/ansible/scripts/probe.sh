#!/bin/sh
# Sent by ssh as it is: what the system is, a word and its value a line.
echo "kws-pi machine $(uname -m)"
echo "kws-pi packages $(dpkg --print-architecture 2>/dev/null)"
# shellcheck disable=SC1091
. /etc/os-release 2>/dev/null
echo "kws-pi system $ID"
echo "kws-pi version $VERSION_ID"
echo "kws-pi free_kib $(df -Pk /usr /var /tmp 2>/dev/null | awk 'NR > 1 {print $4}' | sort -n | head -n 1)"
