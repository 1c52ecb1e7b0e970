#!/bin/sh
# hear.sh SECONDS: waits until the service hears sound, and goes on hearing it, in one process.
# Ends with 0 when it does, with 1 when it does not in so many seconds.
end=$(($(date +%s) + $1))
well=0
seen=
while [ "$(date +%s)" -lt "$end" ]; do
	process=$(systemctl show kws-pi.service --property MainPID --value)
	kws-pi status >/dev/null 2>&1
	case $? in
	0) heard=yes ;;
	2) # A version from before there was this command.
		case $(systemctl show kws-pi.service --property ActiveState,StatusText --value | xargs) in
		"active listening"*) heard=yes ;;
		*) heard=no ;;
		esac ;;
	*) heard=no ;;
	esac
	if [ "$heard" = yes ] && [ "$process" = "$seen" ]; then well=$((well + 1)); else well=0; fi
	[ "$well" -lt 3 ] || exit 0
	seen=$process
	sleep 1
done
exit 1
