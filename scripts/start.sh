#!/bin/sh
# npm start: brings what is missing, builds what changed, then becomes the platform.
# `exec`: no shell stays in between, so signals reach the platform itself.
set -eu
cd "$(dirname -- "$0")/.."
node scripts/prepare.mjs --build >&2
exec .runtime/node dist/main.js serve "$@"
