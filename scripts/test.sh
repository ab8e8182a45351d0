#!/bin/sh
# npm test [-- arguments of vitest]: brings what is missing, builds what changed, runs every test.
set -eu
cd "$(dirname -- "$0")/.."
node scripts/prepare.mjs --build >&2
PATH="$PWD/.runtime/bin:$PATH"
export PATH
vitest() { .runtime/node node_modules/vitest/vitest.mjs run "$@"; }

if [ -z "${CI:-}" ]; then
  vitest "$@"
  exit
fi
# Processes and browsers on a shared machine may be late. In CI a file that failed is run once more, whole, in a world of
# its own and with nothing beside it; what passes only then is named at the end.
mkdir -p .tmp
first=.tmp/first-run.json
rm -f "$first"
OM_TEST_FIRST=$first vitest "$@" && exit
status=$?
# Errors that belong to no test, or many files: that is no lateness.
again=$(.runtime/node -e '
  const { files, unhandled } = JSON.parse(require("node:fs").readFileSync(process.argv[1], "utf8"))
  const failed = Object.keys(files).filter((file) => files[file].failed.length > 0)
  if (unhandled === 0 && failed.length <= 5) console.log(failed.join(" "))
' "$first") || exit $status
[ -n "$again" ] || exit $status
printf '\nonce more: %s\n' "$again"
# Paths within the project hold no spaces.
# shellcheck disable=SC2086
OM_TEST_AGAIN=$first vitest --maxWorkers=1 $again
