//! The option that says what runs guests.

use super::say::say;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use coracle_tender::machine::{Backend, Host, HostError};

/// What runs a guest.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Chosen {
    /// What runs the guest: kvm, a process that can do nothing but call the tender, or (auto) kvm where it
    /// starts a machine and else a process
    #[arg(long, value_name = "BACKEND", env = Backend::VARIABLE, hide_env_values = true,
          default_value = "auto", value_parser = PossibleValuesParser::new(Backend::NAMES.map(|(name, _)| name))
              .try_map(|name| name.parse::<Backend>()))]
    backend: Backend,
}

impl Chosen {
    /// Gets it ready, and says so once if it is not KVM for a reason that the user may want to know.
    pub(super) fn open(self, quiet: bool) -> Result<Host, HostError> {
        let (host, without_kvm) = Host::with(self.backend)?;
        if let Some(reason) = without_kvm.filter(|_| !quiet) {
            say(format_args!("coracle: running in a process, without KVM: {reason}\n"));
        }
        Ok(host)
    }
}
