#!/bin/sh
# Runs all tests that were staged beside this script, without cargo. Arguments go to each test
# program: names of tests, or options such as --nocapture.
here=$(cd "$(dirname "$0")" && pwd) || exit 1
cd "$here" || exit 1
CORACLE_TEST_DIR=$here
CORACLE_NOT_RUN_LOG=$(mktemp) || exit 1
export CORACLE_TEST_DIR CORACLE_NOT_RUN_LOG
trap 'rm -f "$CORACLE_NOT_RUN_LOG"' EXIT

# With threads, the harness names them after their tests: so each that does not run counts.
RUST_TEST_THREADS=${RUST_TEST_THREADS:-$(nproc)}
[ "$RUST_TEST_THREADS" -gt 1 ] || RUST_TEST_THREADS=2
export RUST_TEST_THREADS

missing=
if [ -z "${CORACLE_BACKEND:-}" ] && ! (exec 3<>/dev/kvm) 2>/dev/null; then
    missing=1
    export CORACLE_BACKEND=process
fi

banner() {
    [ -n "$missing" ] || return 0
    echo
    echo '!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!'
    echo '!!  NOT RUN: KVM: THERE IS NO USABLE /dev/kvm HERE.                    !!'
    echo '!!  All tests run their guests in processes                            !!'
    echo '!!  ("coracle doctor" beside this script says what is missing)         !!'
    echo '!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!'
    echo
}

banner
failed=
for program in tests/*; do
    echo "$ $program $*"
    "$program" "$@" || failed="$failed ${program#tests/}"
done

banner
# A line is a test's name, a tab and the reason.
sort -u "$CORACLE_NOT_RUN_LOG" | cut -f 2 | sort | uniq -c | while read -r count reason; do
    echo "run-tests: NOT RUN: $count tests, $reason"
done
if [ -n "$failed" ]; then
    echo "run-tests: failed:$failed"
    exit 1
fi
if [ -s "$CORACLE_NOT_RUN_LOG" ]; then
    echo "run-tests: all other tests passed"
else
    echo "run-tests: all test programs passed"
fi
