#!/usr/bin/env bash
# Builds the disk of an emulated Raspberry Pi 3 Model B: Debian 13 for arm64 with systemd, ssh and an
# ALSA loopback card, once, into a folder outside the repository.
#
#   tests/lab/image.sh FOLDER
#
# Afterwards FOLDER holds base.img, vmlinuz, initrd.img, pi.dtb and key, the ssh key of the user pi.
# All but a few minutes of it is configuring Debian's packages under emulation.
set -euo pipefail
cd "$(dirname "$0")/../.."

say() { printf 'lab: %s\n' "$*"; }
stop() { printf 'lab: %s\n' "$*" >&2; exit 1; }

folder=${1:?say into which folder}
stamp=$(cat tests/lab/image.sh tests/lab/debs.sh requirements/lab.txt | sha256sum | cut -c1-16)
[ "$(cat "$folder/stamp" 2>/dev/null)" != "$stamp" ] || exit 0

packages=(qemu-system-arm qemu-user-static binfmt-support mmdebstrap device-tree-compiler
	e2fsprogs openssh-client dpkg-dev)
missing=()
for name in "${packages[@]}"; do
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || missing+=("$name")
done
[ "$(id -u)" = 0 ] || stop "the disk is built as root, for its owners and devices: sudo tests/lab/image.sh $folder"
if [ ${#missing[@]} != 0 ]; then
	say "installing with apt: ${missing[*]}"
	apt-get update -q >/dev/null
	DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null ||
		stop "these packages are missing: apt-get install ${missing[*]}"
fi

# Programs for arm64 run through qemu, in chroots too.
if [ "$(uname -m)" != aarch64 ] && [ ! -e /proc/sys/fs/binfmt_misc/qemu-aarch64 ]; then
	[ -e /proc/sys/fs/binfmt_misc/status ] || mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
	update-binfmts --enable qemu-aarch64
fi

mkdir -p "$folder"
root=$folder/root
if [ ! -e "$folder/root.stamp" ]; then
	say "building Debian 13 for arm64 (45 minutes on two cores)"
	rm -rf "$root"
	nice mmdebstrap --quiet --variant=minbase --arch=arm64 --components=main \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		--include="$(paste -sd, tests/lab/packages.txt)" trixie "$root"
	date >"$folder/root.stamp"
fi
debs=$(cat tests/lab/debs.sh requirements/lab.txt | sha256sum | cut -c1-16)
if [ "$(cat "$folder/debs/stamp" 2>/dev/null)" != "$debs" ]; then
	tests/lab/debs.sh "$root" "$folder/debs"
	echo "$debs" >"$folder/debs/stamp"
fi

say "making the disk"
[ -e "$folder/key" ] || ssh-keygen -qt ed25519 -N '' -C kws-pi-lab -f "$folder/key"
chroot "$root" sh -c 'id pi >/dev/null 2>&1 || useradd -m -s /bin/bash -G adm,audio pi'
install -d -m 700 -o 1000 -g 1000 "$root/home/pi/.ssh"
install -m 600 -o 1000 -g 1000 "$folder/key.pub" "$root/home/pi/.ssh/authorized_keys"
echo 'pi ALL=(ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/pi"
echo raspberrypi >"$root/etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 raspberrypi\n' >"$root/etc/hosts"
echo '/dev/mmcblk0 / ext4 defaults,noatime 0 1' >"$root/etc/fstab"
echo snd-aloop >"$root/etc/modules-load.d/lab.conf"
printf 'auto lo\niface lo inet loopback\nallow-hotplug usb0\niface usb0 inet dhcp\n' >"$root/etc/network/interfaces"
echo 'nameserver 10.0.2.3' >"$root/etc/resolv.conf"
mkdir -p "$root/etc/systemd/journald.conf.d"
printf '[Journal]\nStorage=persistent\nSyncIntervalSec=5s\n' >"$root/etc/systemd/journald.conf.d/lab.conf"
# What Raspberry Pi OS has and Debian has not: apt finds it here.
rm -rf "$root/srv/debs"
cp -r "$folder/debs" "$root/srv/debs"
echo 'deb [trusted=yes] file:/srv/debs ./' >"$root/etc/apt/sources.list.d/lab.list"
printf 'Acquire::Languages "none";\n' >"$root/etc/apt/apt.conf.d/90lab"
mkdir -p "$root/var/lib/apt/lists/partial"
chroot "$root" apt-get update -q -o Dir::Etc::sourcelist=/etc/apt/sources.list.d/lab.list \
	-o Dir::Etc::sourceparts=- -o APT::Get::List-Cleanup=0 >/dev/null
chroot "$root" systemctl --quiet enable ssh 2>/dev/null # it misses /proc, and does without
# Else its first start would do again what the packages have done, a minute of it.
touch "$root/etc/.updated" "$root/var/.updated"

cp "$root"/boot/vmlinuz-* "$folder/vmlinuz"
cp "$root"/boot/initrd.img-* "$folder/initrd.img"
cp "$root"/usr/lib/linux-image-*/broadcom/bcm2837-rpi-3-b.dtb "$folder/pi.dtb"
# gpiozero tells the model from its revision.
fdtput -p -t x "$folder/pi.dtb" /system linux,revision a02082
rm -f "$folder/base.img"
# A memory card's size must be a power of two.
mke2fs -q -t ext4 -d "$root" "$folder/base.img" 4G
echo "$stamp" >"$folder/stamp"
