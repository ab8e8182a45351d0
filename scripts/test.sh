#!/bin/sh
# npm test [-- arguments of vitest]: brings what is missing, builds what changed, runs every test.
set -eu
cd "$(dirname -- "$0")/.."
node scripts/prepare.mjs --build >&2
PATH="$PWD/.runtime/bin:$PATH"
export PATH
exec .runtime/node node_modules/vitest/vitest.mjs run "$@"
