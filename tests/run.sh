#!/usr/bin/env bash
# Runs every test: those of the device on Python 3.13 without torch, then all of them.
set -euo pipefail
cd "$(dirname "$0")/.."

status=0
train_host/setup.sh device || status=$?
case $status in
0)
	# What the device's tests have in common is that they import nothing of the host side.
	grep -LE '^(from|import) (torch|onnx|soundfile|train_host|export|deploy)\b' \
		tests/test_*.py | xargs .venv-device/bin/python -m pytest -q
	;;
3) echo "test: the device's tests are not run on Python 3.13, which is not on this machine or cannot build them" ;;
*) exit "$status" ;;
esac
train_host/setup.sh deploy
.venv/bin/python -m pytest -q
