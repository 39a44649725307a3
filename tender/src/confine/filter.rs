//! Rules become a filter of seccomp's.
//!
//! The kernel tries a new filter with each system call that there is, to know which it lets through whatever the
//! arguments. So what a filter costs at the start is its length on the way of a call, some 450 times; in a chain of
//! comparisons, as seccompiler writes them, that was more than a tenth of a start. Here numbers are looked for by
//! halves.

use super::ConfineError;
use super::rules::{self, Answer, Argument, Duty, Rule};
use crate::machine::Backend;
use libc::{
    BPF_ABS, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W, SECCOMP_RET_ALLOW,
    SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS,
};
use seccompiler::{BpfProgram, Error, apply_filter, apply_filter_all_threads, sock_filter};
use std::collections::BTreeMap;

/// Where things lie in what a filter looks at (`struct seccomp_data` of Linux).
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;
/// AUDIT_ARCH_X86_64 (Linux, include/uapi/linux/audit.h).
const X86_64: u32 = 0xc000_003e;
/// So many numbers are compared one after the other: the kernel translates each instruction, so that a short filter
/// costs less than one that is through with each number some instructions earlier.
const FEW: usize = 4;

/// Jumps that a condition decides go over 255 instructions at most: over those calls, and over the tests of one rule,
/// of which there are two for an argument, each with what it loads, and its answer.
const _: () = assert!(FEW < u8::MAX as usize);
const _: () = assert!(4 * rules::MOST < u8::MAX as usize);

/// The filter for a duty.
#[derive(Debug, Clone)]
pub(crate) struct Filter(BpfProgram);

impl Filter {
    pub(crate) fn new(duty: Duty, backend: Backend) -> Filter {
        let process = std::process::id();
        let mut calls: BTreeMap<u32, Vec<&Rule>> = BTreeMap::new();
        for rule in rules::of(duty, backend) {
            // The numbers of calls are small.
            calls.entry(rule.call as u32).or_default().push(rule);
        }
        let calls: Vec<_> =
            calls.into_iter().map(|(number, rules)| (number, body(&rules, process))).collect();
        let mut program =
            vec![load(ARCHITECTURE), jump(BPF_JEQ, X86_64, 1, 0), answer(SECCOMP_RET_KILL_PROCESS)];
        program.push(load(NUMBER));
        program.extend(search(&calls));
        Filter(program)
    }

    /// Puts it in force in all threads of this process.
    pub(super) fn confine_process(&self) -> Result<(), ConfineError> {
        unless_kernel_lacks_it(apply_filter_all_threads(&self.0))
    }

    /// Puts it in force in this thread, and those that it will start.
    pub(crate) fn confine_thread(&self) -> Result<(), ConfineError> {
        unless_kernel_lacks_it(apply_filter(&self.0))
    }
}

/// Finds a number among calls in ascending order, and goes on with what answers for it.
fn search(calls: &[(u32, BpfProgram)]) -> BpfProgram {
    if calls.len() <= FEW {
        let mut program = BpfProgram::new();
        let (made, asked): (Vec<_>, Vec<_>) = calls.iter().partition(|(_, body)| is_made(body));
        for (number, body) in asked {
            program.extend(unless(BPF_JEQ, *number, false, body.len()));
            program.extend_from_slice(body);
        }
        // Those that are made whatever their arguments have one answer, the last.
        let count = made.len() as u8;
        for (index, (number, _)) in (0..count).zip(&made) {
            program.push(jump(BPF_JEQ, *number, count - index, 0));
        }
        program.push(answer(SECCOMP_RET_KILL_PROCESS));
        if count > 0 {
            program.push(answer(SECCOMP_RET_ALLOW));
        }
        return program;
    }
    let (lower, upper) = calls.split_at(calls.len() / 2);
    let first = upper.first().map_or(u32::MAX, |(number, _)| *number);
    let (lower, upper) = (search(lower), search(upper));
    let mut program = unless(BPF_JGE, first, true, lower.len());
    program.extend(lower);
    program.extend(upper);
    program
}

/// Whether a call is made whatever its arguments.
fn is_made(body: &[sock_filter]) -> bool {
    matches!(body, [only] if *only == answer(SECCOMP_RET_ALLOW))
}

/// Answers for a call by its arguments: each of these rules lets it through, or none is asked.
fn body(rules: &[&Rule], process: u32) -> BpfProgram {
    let mut program = BpfProgram::new();
    // Which word has been loaded, however one gets to the next rule.
    let mut loaded = None;
    for rule in rules {
        let tests: Vec<_> = rule.arguments.iter().flat_map(|argument| tests(*argument, process)).collect();
        let mut jumps = Vec::new();
        for test in &tests {
            if loaded != Some(test.offset) {
                program.push(load(test.offset));
                loaded = Some(test.offset);
            }
            jumps.push(program.len());
            program.push(jump(test.comparison, test.number, 0, 0));
        }
        program.push(match rule.answer {
            Answer::Made => answer(SECCOMP_RET_ALLOW),
            Answer::Refused(error) => answer(SECCOMP_RET_ERRNO | error.cast_unsigned()),
        });
        if tests.is_empty() {
            return program;
        }
        // Where a test fails, the next rule is asked.
        let end = program.len();
        for (test, at) in tests.iter().zip(jumps) {
            if let Some(instruction) = program.get_mut(at) {
                let rest = (end - at - 1) as u8;
                if test.wanted { instruction.jf = rest } else { instruction.jt = rest }
            }
        }
        if tests.iter().any(|test| Some(test.offset) != loaded) {
            loaded = None;
        }
    }
    program.push(answer(SECCOMP_RET_KILL_PROCESS));
    program
}

/// Compares one word of what the filter looks at.
struct Test {
    offset: u32,
    comparison: u32,
    number: u32,
    /// What is to come of the comparison.
    wanted: bool,
}

/// What is to be so that an argument is as it is asked to be.
fn tests(argument: Argument, process: u32) -> Vec<Test> {
    // The lower half comes first.
    let lower = |index: u8| ARGUMENTS + 8 * u32::from(index);
    let test = |offset, comparison, number, wanted| Test { offset, comparison, number, wanted };
    match argument {
        Argument::Any => Vec::new(),
        Argument::Is(index, value) => vec![test(lower(index), BPF_JEQ, value as u32, true)],
        Argument::Without(index, bits) => vec![test(lower(index), BPF_JSET, bits as u32, false)],
        Argument::Null(index) => {
            vec![test(lower(index), BPF_JEQ, 0, true), test(lower(index) + 4, BPF_JEQ, 0, true)]
        }
        Argument::Own(index) => vec![test(lower(index), BPF_JEQ, process, true)],
        Argument::One(index) => {
            vec![test(lower(index), BPF_JEQ, 0, false), test(lower(index), BPF_JSET, 1 << 31, false)]
        }
    }
}

/// Loads a word of what the filter looks at.
fn load(offset: u32) -> sock_filter {
    sock_filter { code: (BPF_LD | BPF_W | BPF_ABS) as u16, jt: 0, jf: 0, k: offset }
}

/// Passes over so many instructions if the word compares so with a number, else over so many others.
fn jump(comparison: u32, number: u32, if_so: u8, else_over: u8) -> sock_filter {
    sock_filter { code: (BPF_JMP | comparison | BPF_K) as u16, jt: if_so, jf: else_over, k: number }
}

/// Passes over so many instructions, however many, if what comes of comparing the word with a number is this.
fn unless(comparison: u32, number: u32, this: bool, length: usize) -> BpfProgram {
    let over = |short: u8| if this { (short, 0) } else { (0, short) };
    match u8::try_from(length) {
        Ok(short) => {
            let (if_so, else_over) = over(short);
            vec![jump(comparison, number, if_so, else_over)]
        }
        Err(_) => {
            // To the long jump, or over that.
            let (else_over, if_so) = over(1);
            let long = sock_filter { code: (BPF_JMP | BPF_JA) as u16, jt: 0, jf: 0, k: length as u32 };
            vec![jump(comparison, number, if_so, else_over), long]
        }
    }
}

fn answer(what: u32) -> sock_filter {
    sock_filter { code: (BPF_RET | BPF_K) as u16, jt: 0, jf: 0, k: what }
}

/// A kernel without seccomp confines nobody: `coracle doctor` says so. That it forbids it is an error.
fn unless_kernel_lacks_it(result: Result<(), Error>) -> Result<(), ConfineError> {
    match result {
        Err(Error::Prctl(_) | Error::Seccomp(_)) if !super::has_seccomp() => Ok(()),
        result => Ok(result?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// What a program answers, and in how many instructions.
    fn run(program: &[sock_filter], architecture: u32, number: u32, arguments: [u64; 6]) -> (u32, usize) {
        let (mut at, mut word, mut steps) = (0, 0, 0);
        loop {
            let &sock_filter { code, jt, jf, k } = &program[at];
            (at, steps) = (at + 1, steps + 1);
            let over = |is_so: bool| usize::from(if is_so { jt } else { jf });
            match u32::from(code) {
                code if code == BPF_RET | BPF_K => return (k, steps),
                code if code == BPF_JMP | BPF_JA => at += k as usize,
                code if code == BPF_JMP | BPF_JEQ | BPF_K => at += over(word == k),
                code if code == BPF_JMP | BPF_JGE | BPF_K => at += over(word >= k),
                code if code == BPF_JMP | BPF_JSET | BPF_K => at += over(word & k != 0),
                _ if k == NUMBER => word = number,
                _ if k == ARCHITECTURE => word = architecture,
                _ => {
                    let place = (k - ARGUMENTS) as usize;
                    word = (arguments[place / 8] >> (8 * (place % 8))) as u32;
                }
            }
        }
    }

    /// Arguments that a rule lets through.
    fn fitting(rule: &Rule, process: u32) -> [u64; 6] {
        let mut arguments = [0; 6];
        for argument in rule.arguments {
            match argument {
                Argument::Is(index, value) => arguments[usize::from(index)] = value,
                Argument::Own(index) | Argument::One(index) => arguments[usize::from(index)] = process.into(),
                Argument::Any | Argument::Without(..) | Argument::Null(_) => {}
            }
        }
        assert!(rule.fits(&arguments, process), "{rule:?}");
        arguments
    }

    #[test]
    fn a_filter_lets_through_what_has_a_rule_and_nothing_else() {
        for duty in Duty::ALL {
            for backend in [Backend::Kvm, Backend::Process, Backend::Auto] {
                let Filter(program) = Filter::new(duty, backend);
                let all: Vec<_> = rules::of(duty, backend).collect();
                let process = std::process::id();
                let mut values = BTreeSet::from([0, 1, 1 << 40, u64::from(u32::MAX), u64::MAX]);
                for argument in all.iter().flat_map(|rule| rule.arguments) {
                    let value = match argument {
                        Argument::Is(_, value) | Argument::Without(_, value) => value,
                        Argument::Own(_) => process.into(),
                        Argument::Any | Argument::Null(_) | Argument::One(_) => continue,
                    };
                    values.extend([value, value + 1, value ^ 0x40, value | 1 << 40]);
                }
                for number in (0..600).chain([0x4000_0001, u32::MAX]) {
                    let of_call = || all.iter().filter(|rule| rule.call as u32 == number);
                    // All arguments alike, and those that each rule asks for but for one.
                    let alike = values.iter().map(|value| [*value; 6]);
                    let asked = of_call().flat_map(|rule| {
                        let fitting = fitting(rule, process);
                        let values = &values;
                        (0..6).flat_map(move |index| {
                            values.iter().map(move |value| {
                                let mut arguments = fitting;
                                arguments[index] = *value;
                                arguments
                            })
                        })
                    });
                    for arguments in alike.chain(asked) {
                        let found_rule = of_call().find(|rule| rule.fits(&arguments, process));
                        let expected = match found_rule.map(|rule| rule.answer) {
                            Some(Answer::Made) => SECCOMP_RET_ALLOW,
                            Some(Answer::Refused(error)) => SECCOMP_RET_ERRNO | error as u32,
                            None => SECCOMP_RET_KILL_PROCESS,
                        };
                        let (found, steps) = run(&program, X86_64, number, arguments);
                        assert_eq!(found, expected, "{duty:?} {backend:?} {number} {arguments:#x?}");
                        assert!(steps < 120, "{steps} instructions for {number}");
                    }
                    let (of_others, _) = run(&program, 0x4000_0003, number, [0; 6]);
                    assert_eq!(of_others, SECCOMP_RET_KILL_PROCESS);
                }
            }
        }
    }

    #[test]
    fn a_call_with_more_rules_than_a_jump_is_long_is_answered_by_them_and_the_next_by_its_own() {
        let rule = |value| Rule {
            call: 7,
            arguments: [Argument::Is(0, value), Argument::Is(1, value), Argument::Any, Argument::Any],
            answer: Answer::Made,
            why: "",
            rarely: None,
        };
        let rules: Vec<_> = (0..200).map(rule).collect();
        let other = Rule { call: 9, ..rule(1) };
        let calls = [(7, body(&rules.iter().collect::<Vec<_>>(), 1)), (9, body(&[&other], 1))];
        assert!(calls[0].1.len() > 255);
        let program = [vec![load(NUMBER)], search(&calls)].concat();
        for (number, value, expected) in [
            (7, 0, SECCOMP_RET_ALLOW),
            (7, 199, SECCOMP_RET_ALLOW),
            (7, 200, SECCOMP_RET_KILL_PROCESS),
            (8, 1, SECCOMP_RET_KILL_PROCESS),
            (9, 1, SECCOMP_RET_ALLOW),
            (9, 2, SECCOMP_RET_KILL_PROCESS),
        ] {
            assert_eq!(run(&program, X86_64, number, [value; 6]).0, expected, "{number} {value}");
        }
    }

    #[test]
    fn numbers_are_found_in_few_steps() {
        let Filter(program) = Filter::new(Duty::Serve, Backend::Auto);
        for number in 0..600 {
            if !rules::of(Duty::Serve, Backend::Auto).any(|rule| rule.call as u32 == number) {
                let (_, steps) = run(&program, X86_64, number, [0; 6]);
                assert!(steps < 16, "{steps} instructions for {number}");
            }
        }
    }
}
