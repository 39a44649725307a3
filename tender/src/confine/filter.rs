//! Rules become a filter of seccomp's.

use super::ConfineError;
use super::rules::{self, Argument, Duty};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter_all_threads,
};
use std::collections::BTreeMap;

/// The filter for a duty.
pub(super) fn of(duty: Duty) -> Result<BpfProgram, ConfineError> {
    let mut calls: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for rule in rules::of(duty) {
        let conditions = calls.entry(rule.call).or_default();
        if let Some(condition) = condition(rule.argument)? {
            conditions.push(SeccompRule::new(vec![condition])?);
        }
    }
    let filter =
        SeccompFilter::new(calls, SeccompAction::KillProcess, SeccompAction::Allow, TargetArch::x86_64)?;
    Ok(filter.try_into()?)
}

fn condition(argument: Argument) -> Result<Option<SeccompCondition>, BackendError> {
    let (index, operator, value) = match argument {
        Argument::Any => return Ok(None),
        Argument::Is(index, value) => (index, SeccompCmpOp::Eq, value),
        Argument::Without(index, bits) => (index, SeccompCmpOp::MaskedEq(bits), 0),
    };
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value).map(Some)
}

/// Puts it in force in all threads.
pub(super) fn apply(filter: &BpfProgram) -> Result<(), ConfineError> {
    Ok(apply_filter_all_threads(filter)?)
}
