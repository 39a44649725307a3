//! `coracle doctor`.

use super::say::show;
use clap::Args;
use coracle_hypercall::version;
use coracle_tender::kvm::{Host, HostError};
use coracle_tender::probe;
use serde::Serialize;
use std::fmt;
use std::fs;
use std::process::ExitCode;
use std::time::Duration;

/// Says whether this machine can run guests, and what is missing if it cannot
///
/// It ends with 0 only when a virtual machine really ran.
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
    #[serde(skip_serializing_if = "Option::is_none")]
    start_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    call_us: Option<f64>,
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
    Missing,
}

impl Doctor {
    pub(super) fn carry_out(&self) -> ExitCode {
        let diagnosis = diagnose();
        let status = if diagnosis.runs { ExitCode::SUCCESS } else { ExitCode::FAILURE };
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
    let mut findings = vec![processor()];
    let (kvm, host) = kvm();
    findings.push(kvm);
    findings.push(huge_pages());
    if let Some(host) = &host {
        findings.push(clock(host));
    }
    let costs = host.as_ref().map(probe::measure);
    let mut diagnosis = Diagnosis {
        version: env!("CARGO_PKG_VERSION"),
        abi: version::CURRENT.to_string(),
        runs: false,
        findings,
        start_us: None,
        call_us: None,
    };
    match costs {
        Some(Ok(costs)) => {
            diagnosis.runs = true;
            diagnosis.start_us = Some(microseconds(costs.start));
            diagnosis.call_us = Some(microseconds(costs.call));
        }
        Some(Err(error)) => diagnosis.findings.push(Finding {
            subject: "guest",
            state: State::Missing,
            found: error.to_string(),
            mend: Some("if /dev/kvm is itself inside a VM, look whether nested virtualisation is on".into()),
        }),
        None => {}
    }
    diagnosis
}

fn microseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e7).round() / 10.0
}

/// What /proc/cpuinfo says of the processor's virtualisation. Inside a VM that is often nothing even
/// where KVM works, so it decides nothing.
fn processor() -> Finding {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
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
    let state = if has("fsgsbase") { State::Good } else { State::Missing };
    Finding {
        subject: "processor",
        state,
        found: format!("{model}, {virtualisation}"),
        mend: (state == State::Missing)
            .then(|| "guests need FSGSBASE, which processors since about 2013 have".to_owned()),
    }
}

fn kvm() -> (Finding, Option<Host>) {
    let finding = |state, found, mend| Finding { subject: "kvm", state, found, mend };
    match Host::open() {
        Ok(host) => (finding(State::Good, format!("/dev/kvm, {}", module()), None), Some(host)),
        Err(error) => {
            let mend = match &error {
                HostError::Absent => {
                    Some(format!("sudo modprobe {}", if is_amd() { "kvm_amd" } else { "kvm_intel" }))
                }
                HostError::Denied => Some("sudo usermod -aG kvm $USER, then log in again".to_owned()),
                _ => None,
            };
            let found = match &error {
                HostError::Absent => {
                    "there is no /dev/kvm: no KVM in this kernel, or its module is not loaded, \
                                      or nested virtualisation is off"
                        .to_owned()
                }
                HostError::Denied => "there is a /dev/kvm, and you may not open it".to_owned(),
                other => other.to_string(),
            };
            (finding(State::Missing, found, mend), None)
        }
    }
}

fn is_amd() -> bool {
    fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains("AuthenticAMD"))
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
                State::Missing => "MISSING",
            };
            writeln!(f, "  {:<8} {:<12} {}", state, finding.subject, finding.found)?;
            if let Some(mend) = &finding.mend {
                writeln!(f, "  {:<8} {:<12} → {mend}", "", "")?;
            }
        }
        match (self.start_us, self.call_us) {
            (Some(start), Some(call)) => {
                writeln!(f, "  {:<8} {:<12} start to end {start} µs, one call {call} µs", "ok", "guest")?;
                writeln!(f, "\nGuests run here.")
            }
            _ => writeln!(f, "\nNo guest runs here."),
        }
    }
}
