//! What a snapshot says of itself, for `coracle inspect`: as much as can be told, whether it runs here or
//! not.

mod render;

use super::format::{BACKEND_KVM, BACKEND_PROCESS, READY};
use super::write::Head;
use super::{Refusal, Snapshot, SnapshotError, embedded, open};
use crate::cpu::features;
use crate::machine::{Host, HostError};
use crate::runnable::open_file;
use coracle_hypercall::memory::PAGE;
use coracle_hypercall::note::{Permissions, Program};
use coracle_hypercall::version::CURRENT;
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;

/// What is known of a snapshot's file. What could not be read is absent, and `refusal` says why.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Inspection {
    /// The path it was opened by.
    pub path: String,
    /// Its length in bytes.
    pub file_size: u64,
    /// The version of the format.
    pub format: Option<u32>,
    /// The version that this tender knows.
    pub tender_format: u32,
    /// What its head says, where that is sound.
    #[serde(flatten)]
    pub contents: Option<Contents>,
    /// Why `coracle run` would not take it here.
    pub refusal: Option<String>,
}

/// What the head of a snapshot says.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Contents {
    /// The version of the contract that its tender spoke.
    pub contract: String,
    /// The version that this tender speaks.
    pub tender_contract: String,
    /// What ran it: "kvm".
    pub backend: String,
    /// What kind of program it is: "main", "handler", "http".
    pub program: Option<&'static str>,
    /// Whether the program has said that it is ready; else it is as it is before its first instruction.
    pub ready: bool,
    /// What its image asks for beyond the ordinary.
    pub permissions: Vec<String>,
    /// The bytes of memory that each instance has.
    pub memory: u64,
    /// The bytes of pages that are not all zero, which instances share.
    pub shared: u64,
    /// Where the guest's places begin: image, stack, heap.
    pub places: Places,
    /// The features of the CPU that it needs.
    pub cpu_features: Vec<String>,
    /// The state components that are switched on.
    pub xcr0: u64,
    /// The image that it was made from.
    pub image: EmbeddedImage,
}

/// Guest-virtual addresses, alike in all its instances.
#[derive(Debug, Clone, Serialize)]
pub struct Places {
    /// Of the image.
    pub image: u64,
    /// Of the stack.
    pub stack: u64,
    /// Of the heap.
    pub heap: u64,
}

/// The image within a snapshot.
#[derive(Debug, Clone, Serialize)]
pub struct EmbeddedImage {
    /// The path that it had.
    pub name: String,
    /// Its length in bytes; 0 where it is not there.
    pub size: u64,
    /// What its linker called this build of it, in hexadecimal.
    pub build_id: Option<String>,
}

impl Inspection {
    /// Looks at a file. Without a host nothing runs, for the reason that is given instead.
    ///
    /// # Errors
    /// That it cannot be read, or is no snapshot at all.
    pub fn of(host: &Result<Arc<Host>, HostError>, path: &Path) -> Result<Inspection, SnapshotError> {
        let wrong = |refusal| SnapshotError::new(path, refusal);
        let file = open_file(path).map_err(|error| wrong(error.into()))?;
        let length = file.metadata().map_err(|error| wrong(error.into()))?.len();
        let head = match open::read_head(&file) {
            Err(refusal @ (Refusal::Read(_) | Refusal::NotASnapshot)) => return Err(wrong(refusal)),
            head => head,
        };
        let mut inspection = Inspection {
            path: path.display().to_string(),
            file_size: length,
            format: None,
            tender_format: super::format::VERSION,
            contents: None,
            refusal: None,
        };
        match head {
            Ok(head) => {
                inspection.format = Some(head.header.version);
                let mut contents = contents(&head);
                let image = embedded::image(&file, &head, open::name(&head)).ok();
                let digits = |id: &[u8]| id.iter().map(|byte| format!("{byte:02x}")).collect();
                contents.image.build_id = image.and_then(|image| image.build_id().map(digits));
                inspection.contents = Some(contents);
                inspection.refusal = match host {
                    Ok(host) => Snapshot::from_file(host, file, path).err().map(|error| error.to_string()),
                    Err(error) => Some(error.to_string()),
                };
            }
            Err(refusal) => {
                if let Refusal::Version(version) = refusal {
                    inspection.format = Some(version);
                }
                inspection.refusal = Some(wrong(refusal).to_string());
            }
        }
        Ok(inspection)
    }
}

fn contents(head: &Head) -> Contents {
    let header = &head.header;
    let permissions = Permissions::from_bits_retain(header.permissions);
    let [image, stack, heap, _] = header.places;
    Contents {
        contract: header.abi.to_string(),
        tender_contract: CURRENT.to_string(),
        backend: match header.backend {
            BACKEND_KVM => "kvm".to_owned(),
            BACKEND_PROCESS => "process".to_owned(),
            other => format!("unknown ({other})"),
        },
        program: Program::from_number(header.program).map(Program::label),
        ready: header.flags & READY != 0,
        permissions: crate::image::inspect::permissions(permissions),
        memory: header.memory,
        shared: header.page_count * PAGE,
        places: Places { image: image.start, stack: stack.start, heap: heap.start },
        cpu_features: head.cpuid.iter().flat_map(features::of).collect(),
        xcr0: header.xcr0,
        image: EmbeddedImage {
            name: open::name(head).display().to_string(),
            size: header.image_length,
            build_id: None,
        },
    }
}
