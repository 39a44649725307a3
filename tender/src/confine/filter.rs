//! Rules become a filter of seccomp's.

use super::ConfineError;
use super::rules::{self, Argument, Duty};
use crate::machine::Backend;
use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter, apply_filter_all_threads,
};
use std::collections::BTreeMap;

/// The filter for a duty.
#[derive(Debug, Clone)]
pub(crate) struct Filter(BpfProgram);

impl Filter {
    pub(crate) fn new(duty: Duty, backend: Backend) -> Result<Filter, ConfineError> {
        // A call without conditions has an empty list of them.
        let mut calls: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
        for rule in rules::of(duty, backend) {
            let conditions = calls.entry(rule.call).or_default();
            if let Some(condition) = condition(rule.argument)? {
                conditions.push(SeccompRule::new(vec![condition])?);
            }
        }
        let filter =
            SeccompFilter::new(calls, SeccompAction::KillProcess, SeccompAction::Allow, TargetArch::x86_64)?;
        Ok(Filter(filter.try_into()?))
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

fn condition(argument: Argument) -> Result<Option<SeccompCondition>, BackendError> {
    let (index, operator, value) = match argument {
        Argument::Any => return Ok(None),
        Argument::Is(index, value) => (index, SeccompCmpOp::Eq, value),
        Argument::Without(index, bits) => (index, SeccompCmpOp::MaskedEq(bits), 0),
    };
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value).map(Some)
}

/// A kernel without seccomp confines nobody: `coracle doctor` says so. That it forbids it is an error.
fn unless_kernel_lacks_it(result: Result<(), Error>) -> Result<(), ConfineError> {
    match result {
        Err(Error::Prctl(_) | Error::Seccomp(_)) if !super::has_seccomp() => Ok(()),
        result => Ok(result?),
    }
}
