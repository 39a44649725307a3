//! The option of the commands that says what runs guests.

use super::{Backend, Host, HostError};
use crate::process;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

/// What runs guests, from the command line or the environment.
#[derive(Debug, Clone, Copy, Args)]
pub struct Chosen {
    /// What runs the guest: kvm; a process that can do nothing but call the tender; or auto, which is kvm
    /// where it starts a machine and else a process
    #[arg(long, value_name = "BACKEND", env = Backend::VARIABLE, hide_env_values = true,
          default_value = "auto", value_parser = PossibleValuesParser::new(Backend::NAMES.map(|(name, _)| name))
              .try_map(|name| name.parse::<Backend>()))]
    backend: Backend,
}

impl Chosen {
    /// Gets it ready, and has `say` say so if it is not KVM for a reason that the user may want to know.
    ///
    /// # Errors
    /// See [`HostError`].
    pub fn open(self, say: impl FnOnce(&str)) -> Result<Host, HostError> {
        let host = Host::open(self.backend)?;
        if let Some(reason) = host.without_kvm() {
            say(&format!("coracle: running in a process, without KVM: {reason}\n"));
        }
        if matches!(host, Host::Process(_)) {
            process::let_cpuid_trap();
        }
        Ok(host)
    }
}
