#!/bin/sh
# Runs all tests that were staged beside this script, without cargo. Arguments go to each test
# program: names of tests, or options such as --nocapture.
here=$(cd "$(dirname "$0")" && pwd) || exit 1
cd "$here" || exit 1
CORACLE_TEST_DIR=$here
export CORACLE_TEST_DIR

failed=
for program in tests/*; do
    echo "$ $program $*"
    "$program" "$@" || failed="$failed ${program#tests/}"
done

if [ -n "$failed" ]; then
    echo "run-tests: failed:$failed"
    exit 1
fi
echo "run-tests: all test programs passed"
