//! An inspection for a person to read.

use super::{Contents, Inspection};
use crate::image::inspect::{Size, line};
use std::fmt::{self, Display, Formatter};

/// How long a line of features becomes.
const WIDTH: usize = 84;

impl Display for Inspection {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({})", self.path, Size(self.file_size))?;
        match self.format {
            Some(format) => {
                let known = self.tender_format;
                line(f, "kind", &format_args!("snapshot, format {format} (this tender knows {known})"))?;
            }
            None => line(f, "kind", &"snapshot")?,
        }
        if let Some(contents) = &self.contents {
            contents.write(f)?;
        }
        match &self.refusal {
            None => {
                line(f, "verdict", &"`coracle run` takes it here; `coracle snapshot verify` reads all of it")
            }
            Some(refusal) => line(f, "refused", refusal),
        }
    }
}

impl Contents {
    fn write(&self, f: &mut Formatter<'_>) -> fmt::Result {
        line(
            f,
            "contract",
            &format_args!("{} (this tender speaks {})", self.contract, self.tender_contract),
        )?;
        line(f, "backend", &self.backend)?;
        line(f, "program", &self.program.unwrap_or("of an unknown kind"))?;
        let state = if self.ready { "ready for its input" } else { "before its first instruction" };
        line(f, "state", &state)?;
        if !self.permissions.is_empty() {
            line(f, "asks for", &self.permissions.join(", "))?;
        }
        line(
            f,
            "memory",
            &format_args!("{}, of which {} in pages that are shared", Size(self.memory), Size(self.shared)),
        )?;
        let places = &self.places;
        line(
            f,
            "places",
            &format_args!("image {:#x}, stack {:#x}, heap {:#x}", places.image, places.stack, places.heap),
        )?;
        let mut label = "needs of a CPU";
        for features in wrapped(&self.cpu_features) {
            line(f, label, &features)?;
            label = "";
        }
        let image = &self.image;
        match image.size {
            0 => line(f, "image", &format_args!("{}, not in it", image.name))?,
            size => line(f, "image", &format_args!("{}, {} in it", image.name, Size(size)))?,
        }
        match &image.build_id {
            Some(id) => line(f, "build id", id),
            None => Ok(()),
        }
    }
}

/// Words in lines.
fn wrapped(words: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.clone()),
        }
    }
    lines
}
