//! `coracle doctor`.

use super::say::show;
use clap::Args;
use coracle_hypercall::version;
use coracle_tender::confine::{Kept, give_up_capabilities, has_seccomp, landlock_version};
use coracle_tender::cpu::cpuid::{self, CpuError};
use coracle_tender::kvm::Denied;
use coracle_tender::machine::{Backend, Host, HostError};
use coracle_tender::probe::{self, Costs};
use coracle_tender::process;
use serde::Serialize;
use std::fmt;
use std::fs;
use std::time::Duration;

/// Says whether this machine can run guests, and what is missing if it cannot
///
/// It ends with 0 only when a guest really ran, by KVM or in a process.
#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Diagnosis {
    version: &'static str,
    abi: String,
    runs: bool,
    findings: Vec<Finding>,
    /// What ran guests.
    backends: Vec<Ran>,
    /// Of the first of them, which `--backend auto` takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    start_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    call_us: Option<f64>,
}

/// What ran guests, and what they cost.
#[derive(Debug, Serialize)]
struct Ran {
    backend: &'static str,
    start_us: f64,
    call_us: f64,
    /// What stands between guest and host.
    wall: String,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    subject: &'static str,
    state: State,
    found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

/// How a thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Good,
    Slower,
    Weaker,
    Missing,
}

impl Doctor {
    pub(super) fn carry_out(&self) -> u8 {
        let diagnosis = diagnose();
        let status = if diagnosis.runs { 0 } else { 1 };
        if self.json {
            match serde_json::to_string_pretty(&diagnosis) {
                Ok(json) => show(json + "\n", status),
                Err(error) => super::refuse(error),
            }
        } else {
            show(diagnosis, status)
        }
    }
}

fn diagnose() -> Diagnosis {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mut findings = vec![processor(&cpuinfo, cpuid::table().err())];
    let (kvm, host) = kvm();
    findings.push(kvm);
    findings.push(huge_pages());
    findings.push(confinement(has_seccomp(), landlock_version()));
    if let Some(host) = &host {
        findings.push(clock(host));
    }
    let mut backends = Vec::new();
    process::let_cpuid_trap();
    let process = Host::open(Backend::Process);
    if let Err(error) = &process {
        findings.push(Finding {
            subject: "process",
            state: State::Missing,
            found: error.to_string(),
            mend: Some("guests run in VMs alone then: a newer kernel mends it".to_owned()),
        });
    }
    // As the commands do before they make guests: what only root may is of no use to those.
    let given_up = give_up_capabilities(Kept::Nothing);
    if let Err(error) = given_up {
        findings.push(Finding {
            subject: "capabilities",
            state: State::Missing,
            found: error.to_string(),
            mend: None,
        });
    }
    for host in host.into_iter().chain(process) {
        match probe::measure(&host) {
            Ok(costs) => backends.push(ran(&host, costs)),
            Err(error) => findings.push(Finding {
                subject: host.name(),
                state: State::Missing,
                found: error.to_string(),
                mend: Some(mend(&host).to_owned()),
            }),
        }
    }
    let first = backends.first();
    Diagnosis {
        version: env!("CARGO_PKG_VERSION"),
        abi: version::CURRENT.to_string(),
        runs: first.is_some(),
        start_us: first.map(|ran| ran.start_us),
        call_us: first.map(|ran| ran.call_us),
        findings,
        backends,
    }
}

fn ran(host: &Host, costs: Costs) -> Ran {
    Ran {
        backend: host.name(),
        start_us: microseconds(costs.start),
        call_us: microseconds(costs.call),
        wall: wall(host),
    }
}

/// What keeps a guest in, and what it needs to get out.
fn wall(host: &Host) -> String {
    let (wall, holes) = match host {
        Host::Kvm(_) => ("the CPU's virtualisation", "that or in KVM"),
        Host::Process(_) => (
            "the kernel's processes, no system call of a guest being made",
            "how the kernel handles faults, traps and signals",
        ),
    };
    let shown = match host {
        Host::Process(_) if !process::Host::cpuid_is_hidden() => {
            "; its cpuid shows all of this CPU, which cannot keep that back (no cpuid_fault)"
        }
        _ => "",
    };
    format!(
        "{wall}: to get out, a guest needs a hole in {holes}, which gives it the host's kernel, or in the tender, which \
         gives it a confined process{shown}"
    )
}

/// What to try where no guest ran.
fn mend(host: &Host) -> &'static str {
    match host {
        Host::Kvm(_) => "if /dev/kvm is itself inside a VM, look whether nested virtualisation is on",
        Host::Process(_) => {
            "let programs without capabilities trace children of their own (ptrace) and set seccomp filters"
        }
    }
}

fn microseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e7).round() / 10.0
}

/// The processor by name, and whether it has what guests need. That is asked of the processor itself,
/// as at every start: /proc/cpuinfo is what the kernel makes of it, and inside a VM it often shows no
/// virtualisation where KVM works.
fn processor(cpuinfo: &str, lacks: Option<CpuError>) -> Finding {
    let field = |name: &str| {
        let line =
            cpuinfo.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name))?;
        Some(line.split(':').nth(1)?.trim().to_owned())
    };
    let flags = field("flags").unwrap_or_default();
    let has = |flag: &str| flags.split(' ').any(|found| found == flag);
    let virtualisation = match (has("vmx"), has("svm")) {
        (true, _) => "VT-x",
        (_, true) => "AMD-V",
        _ => "no VT-x or AMD-V shown",
    };
    let model = field("model name").unwrap_or_else(|| "unknown".to_owned());
    Finding {
        subject: "processor",
        state: if lacks.is_some() { State::Missing } else { State::Good },
        found: format!("{model}, {virtualisation}"),
        mend: lacks.map(|error| error.to_string()),
    }
}

fn kvm() -> (Finding, Option<Host>) {
    let finding = |state, found, mend| Finding { subject: "kvm", state, found, mend };
    let good = || finding(State::Good, format!("/dev/kvm, {}", module()), None);
    match Host::open(Backend::Kvm) {
        Ok(host) => (good(), Some(host)),
        // The processor is a finding of its own.
        Err(HostError::Cpu(_)) => (good(), None),
        Err(HostError::Absent(reasons)) => {
            let found = "there is no /dev/kvm".to_owned();
            (finding(State::Missing, found, Some(format!("perhaps {reasons}"))), None)
        }
        Err(HostError::Denied(Denied { found, way_out, for_good })) => {
            let mend = [Some(&*way_out), for_good].into_iter().flatten().collect::<Vec<_>>().join("; ");
            (finding(State::Missing, found, Some(mend)), None)
        }
        Err(other) => (finding(State::Missing, other.to_string(), None), None),
    }
}

/// The module that serves /dev/kvm, and how it pages.
fn module() -> String {
    let parameter = |module: &str, name: &str| {
        let text = fs::read_to_string(format!("/sys/module/{module}/parameters/{name}")).ok()?;
        Some(matches!(text.trim(), "Y" | "1"))
    };
    let paging = |nested| match nested {
        Some(true) => ", nested paging",
        Some(false) => ", shadow paging",
        None => "",
    };
    if fs::exists("/sys/module/kvm_intel").unwrap_or(false) {
        return format!("kvm_intel{}", paging(parameter("kvm_intel", "ept")));
    }
    if fs::exists("/sys/module/kvm_amd").unwrap_or(false) {
        return format!("kvm_amd{}", paging(parameter("kvm_amd", "npt")));
    }
    let modules = fs::read_dir("/sys/module").into_iter().flatten().flatten();
    let other = modules
        .filter_map(|entry| entry.file_name().into_string().ok())
        .find(|name| name.starts_with("kvm_"));
    other.unwrap_or_else(|| "built into the kernel".to_owned())
}

fn huge_pages() -> Finding {
    let path = "/sys/kernel/mm/transparent_hugepage/enabled";
    let text = fs::read_to_string(path).unwrap_or_default();
    let chosen = text.split(['[', ']']).nth(1).unwrap_or("not offered by this kernel").to_owned();
    let good = matches!(chosen.as_str(), "always" | "madvise");
    Finding {
        subject: "huge pages",
        state: if good { State::Good } else { State::Slower },
        found: chosen,
        mend: (!good).then(|| format!("echo madvise | sudo tee {path}")),
    }
}

/// What keeps somebody who has broken out of a guest from what the tender has no use for.
fn confinement(seccomp: bool, landlock: Option<u32>) -> Finding {
    /// That of Linux 6.2: from then on it knows of cutting files too.
    const GOOD: u32 = 3;
    let calls = if seccomp { "seccomp" } else { "no filter of system calls" };
    let files = landlock.map_or("no landlock".to_owned(), |version| format!("landlock {version}"));
    let good = seccomp && landlock.is_some_and(|version| version >= GOOD);
    Finding {
        subject: "confinement",
        state: if good { State::Good } else { State::Weaker },
        found: format!("{calls}, {files}"),
        mend: (!good).then(|| {
            "the tender locks itself in as far as this kernel can: Linux 6.2 and newer, with CONFIG_SECCOMP_FILTER, \
             and landlock among the security modules (lsm=landlock,...)"
                .to_owned()
        }),
    }
}

fn clock(host: &Host) -> Finding {
    let good = host.features().invariant_tsc;
    Finding {
        subject: "clock",
        state: if good { State::Good } else { State::Slower },
        found: if good {
            "time stamp counter, read without a call".to_owned()
        } else {
            "no invariant time stamp counter: every reading of the clock costs a call".to_owned()
        },
        mend: None,
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "coracle {}, contract {}\n", self.version, self.abi)?;
        for finding in &self.findings {
            let state = match finding.state {
                State::Good => "ok",
                State::Slower => "slower",
                State::Weaker => "weaker",
                State::Missing => "MISSING",
            };
            writeln!(f, "  {:<8} {:<12} {}", state, finding.subject, finding.found)?;
            if let Some(mend) = &finding.mend {
                writeln!(f, "  {:<8} {:<12} → {mend}", "", "")?;
            }
        }
        for Ran { backend, start_us, call_us, wall } in &self.backends {
            let words = format_args!("start to end {start_us} µs, one call {call_us} µs; behind {wall}");
            writeln!(f, "  {:<8} {:<12} {backend}: {words}", "ok", "guest")?;
        }
        writeln!(f, "\n{}", if self.runs { "Guests run here." } else { "No guest runs here." })
    }
}

#[cfg(test)]
mod tests {
    use super::{CpuError, State, confinement, processor};

    #[test]
    fn the_processor_itself_says_what_it_lacks_and_not_the_kernel() {
        let found = processor("model name : Some CPU\nflags : fpu svm\n", None);
        assert_eq!((found.state, found.found.as_str()), (State::Good, "Some CPU, AMD-V"));
        assert_eq!(found.mend, None);
        let lacking = processor("flags : fsgsbase", Some(CpuError::Missing("FSGSBASE")));
        assert_eq!(lacking.state, State::Missing);
        assert!(lacking.mend.is_some_and(|mend| mend.contains("has no FSGSBASE")));
    }

    #[test]
    fn a_kernel_that_confines_less_is_called_weaker() {
        assert_eq!(confinement(true, Some(7)).state, State::Good);
        for (seccomp, landlock) in [(true, None), (false, Some(7)), (true, Some(2)), (false, None)] {
            let found = confinement(seccomp, landlock);
            assert_eq!(found.state, State::Weaker, "{}", found.found);
            assert!(found.mend.is_some());
        }
        assert_eq!(confinement(true, Some(5)).found, "seccomp, landlock 5");
    }
}
