#!/usr/bin/env bash
# Sets up what the Makefile's targets run in; quick when nothing has changed.
#
#   train_host/setup.sh             .venv with the host group, the device group where it can be
#                                   built, and kws-pi itself
#   train_host/setup.sh voices      the same and the speech synthesisers (make corpus, SYNTH=1)
#   train_host/setup.sh deploy      the same and Ansible (make deploy)
#   train_host/setup.sh peers       the same and the spotters to compare with (make evaluate-peers)
#   train_host/setup.sh pretrain    the same and the speech embedding (make pretrain)
#   train_host/setup.sh device      .venv-device: the device group alone, on Python 3.13;
#                                   ends with status 3 where there is no Python 3.13
#
# Every version comes from requirements/*.txt (see docs/decisions/0001-lock-files.md).
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*"; }
stop() { printf 'setup: %s\n' "$*" >&2; exit 1; }

group=${1:-host}
case $group in
host | voices | deploy | peers | pretrain) venv=.venv ;;
device) venv=.venv-device ;;
*) stop "unknown group '$group'; say host, voices, deploy, peers, pretrain or device" ;;
esac
[ "$(uname -s)" = Linux ] || stop "kws-pi is set up on Linux (x86-64 or aarch64) only"

# --- Debian packages ------------------------------------------------------------------------

# A compiler and headers for pyalsaaudio and systemd-python; systemd-analyze, which a test runs.
device_packages=(gcc libc6-dev pkg-config libasound2-dev libsystemd-dev systemd)
voice_packages=(espeak-ng flite festival festvox-kallpc16k festvox-kdlpc16k)

if [ "$(id -u)" = 0 ]; then
	root=(env DEBIAN_FRONTEND=noninteractive)
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
	root=(sudo -n env DEBIAN_FRONTEND=noninteractive)
else
	root=()
fi

# Prints those of the named Debian packages that are not installed.
missing() {
	local name
	command -v dpkg-query >/dev/null || { echo "$@"; return; }
	for name in "$@"; do
		dpkg-query -W -f '${db:Status-Status}\n' "$name" 2>/dev/null | grep -qx installed || echo "$name"
	done | xargs
}

# Installs Debian packages where this may; returns 1 where it may not or cannot.
apt_install() {
	local wanted
	wanted=$(missing "$@")
	[ -n "$wanted" ] || return 0
	command -v apt-get >/dev/null && [ ${#root[@]} != 0 ] || return 1
	say "installing with apt: $wanted"
	# The package lists of a new machine are empty, and those of an old one name files that are
	# gone: fetch them when the first try fails.
	# shellcheck disable=SC2086
	"${root[@]}" apt-get install -y -q --no-install-recommends $wanted >/dev/null 2>&1 ||
		{ "${root[@]}" apt-get update -q >/dev/null &&
			"${root[@]}" apt-get install -y -q --no-install-recommends $wanted >/dev/null; } ||
		{ say "apt-get could not install: $wanted"; return 1; }
}

# --- Python -----------------------------------------------------------------------------------

# The device runs Debian 13's Python; the host is tested on 3.11 first.
if [ "$group" = device ]; then minors="13"; else minors="11 12 13"; fi

# Prints the path of the first Python that will do; pyenv's count although it hides them.
find_python() {
	local minor name
	for minor in $minors; do
		for name in "python3.$minor" python3 "${PYENV_ROOT:-$HOME/.pyenv}/versions/3.$minor."*/bin/python; do
			"$name" -c "import sys; print(sys.executable) if sys.version_info[:2] == (3, $minor) else exit(1)" \
				2>/dev/null && return
		done
	done
	return 1
}

make_venv() {
	local python
	[ -x "$venv/bin/pip" ] && return
	if ! python=$(find_python); then
		if [ "$group" = device ]; then
			say "no Python 3.13 found"
			exit 3
		fi
		apt_install python3 || true
		python=$(find_python) ||
			stop "Python 3.11, 3.12 or 3.13 is needed and none was found; install one, for example with: apt-get install python3"
	fi
	# Debian splits these off; pyenv and others have them built in.
	if [ "$(readlink -f "$python")" = "$(readlink -f /usr/bin/python3)" ]; then
		apt_install python3-venv || stop "a virtual environment cannot be made: apt-get install python3-venv"
	fi
	say "making $venv with $("$python" --version)"
	"$python" -m venv "$venv"
}

pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }

# Runs the rest of the arguments when the files named before -- have changed since they last ran.
once() {
	local name=$1 sum
	shift
	local files=()
	while [ "$1" != -- ]; do files+=("$1"); shift; done
	shift
	sum=$(cat "${files[@]}" | sha256sum)
	[ "$(cat "$venv/.kws-pi-$name" 2>/dev/null)" != "$sum" ] || return 0
	"$@"
	echo "$sum" >"$venv/.kws-pi-$name"
}

install_locked() {
	say "installing $1"
	pip install -qq --require-hashes --no-deps --no-build-isolation -r "$1" ||
		stop "the packages of $1 could not be installed; check the network and run this again"
}

# --- torch --------------------------------------------------------------------------------------

install_torch() {
	local torch audio
	torch=$(sed -n 's/^torch==//p' requirements/torch.txt)
	audio=$(sed -n 's/^torchaudio==//p' requirements/torch.txt)
	if [ "$(uname -m)" = x86_64 ]; then
		say "installing torch $torch, the build for the CPU (the plain one brings gigabytes of CUDA)"
		pip install -qq --no-deps "torch==$torch+cpu" 2>/dev/null ||
			pip --retries 2 --timeout 20 install -qq --no-deps \
				--index-url https://download.pytorch.org/whl/cpu "torch==$torch+cpu" ||
			stop "the CPU build of torch $torch can be had neither from pip's own sources nor from download.pytorch.org; check the network and run this again"
	else
		say "installing torch $torch (for $(uname -m) the plain build is the one for the CPU)"
		pip install -qq --no-deps "torch==$torch" || stop "torch $torch could not be installed"
	fi
	pip install -qq --no-deps "torchaudio==$audio" || stop "torchaudio $audio could not be installed"
	trim_torchaudio
}

# torchaudio's compiled extension asks for CUDA libraries on x86-64, and torchaudio does without
# it when the file is absent, but not when it fails to load.
trim_torchaudio() {
	"$venv/bin/python" -c 'import torchaudio' 2>/dev/null && return
	local lib
	lib=$("$venv/bin/python" -c 'import importlib.util as u; print(u.find_spec("torchaudio").submodule_search_locations[0])')/lib
	rm -f "$lib"/*.so
	say "removed torchaudio's compiled extension, which needs CUDA; its transforms work without"
	"$venv/bin/python" -c 'import torchaudio.transforms' ||
		stop "torchaudio does not import; remove $venv and run this again"
}

# --- The groups ---------------------------------------------------------------------------------

can_compile_device() {
	command -v gcc >/dev/null && pkg-config --exists alsa libsystemd 2>/dev/null &&
		[ -e "$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ]
}

install_device() {
	local packages=("${device_packages[@]}")
	[ "$(readlink -f "$venv/bin/python")" != "$(readlink -f /usr/bin/python3)" ] || packages+=(python3-dev)
	apt_install "${packages[@]}" || true
	if ! can_compile_device; then
		say "kws-pi can compress but neither listen nor run the device's tests here, for want of" \
			"headers: apt-get install $(missing "${packages[@]}")"
		return 0
	fi
	once device requirements/device.txt -- install_locked requirements/device.txt
}

install_project() { pip install -qq --no-deps --no-build-isolation -e .; }

make_venv
once build requirements/build.txt -- install_locked requirements/build.txt
if [ "$group" = device ]; then
	install_device
	[ -e "$venv/.kws-pi-device" ] || exit 3
else
	once host requirements/host.txt -- install_locked requirements/host.txt
	once torch requirements/torch.txt -- install_torch
	install_device
fi
once project pyproject.toml -- install_project
if [ "$group" = deploy ]; then
	once deploy requirements/deploy.txt -- install_locked requirements/deploy.txt
	apt_install openssh-client || say "ssh is missing: apt-get install openssh-client"
fi
if [ "$group" = peers ] || [ "$group" = pretrain ]; then
	once "$group" "requirements/$group.txt" -- install_locked "requirements/$group.txt"
fi
if [ "$group" = voices ]; then
	once voices requirements/voices.txt -- install_locked requirements/voices.txt
	apt_install "${voice_packages[@]}" ||
		say "some voices are missing: apt-get install $(missing "${voice_packages[@]}")"
	# Twenty good voices more, where the system's package sources have them (Debian: non-free).
	for package in libttspico-utils rhvoice rhvoice-english rhvoice-esperanto rhvoice-kyrgyz \
		rhvoice-macedonian rhvoice-russian rhvoice-ukrainian; do
		if apt-cache show "$package" >/dev/null 2>&1; then apt_install "$package" || true; fi
	done
fi
