//! The version of the contract.
//!
//! An image carries the version it was built for in its [ABI note](crate::note::AbiNote); the boot
//! information carries the tender's. The *major* number changes when something that exists changes
//! its meaning. The *minor* number grows when something is added: a call, an error, a field at the
//! end of a structure that is sized, an event source.
//!
//! A tender runs an image when the major numbers are equal and the image's minor number is not
//! above its own. A newer tender therefore runs older images; an older tender refuses a newer image
//! before it starts.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A version of the contract.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct AbiVersion {
    /// Changes when the meaning of something that exists changes.
    pub major: u16,
    /// Grows when something is added.
    pub minor: u16,
}

crate::assert_layout!(AbiVersion, size 4, major @ 0, minor @ 2);

/// The version that this crate describes.
pub const CURRENT: AbiVersion = AbiVersion { major: 1, minor: 1 };

impl AbiVersion {
    /// Whether a tender of this version runs an image built for `image`.
    #[must_use]
    pub const fn runs(self, image: AbiVersion) -> bool {
        self.major == image.major && self.minor >= image.minor
    }
}

impl core::fmt::Display for AbiVersion {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::AbiVersion;

    #[test]
    fn a_tender_runs_its_own_and_older_minor_versions_of_its_major_only() {
        let tender = AbiVersion { major: 2, minor: 3 };
        let image = |major, minor| AbiVersion { major, minor };
        assert!(tender.runs(image(2, 3)) && tender.runs(image(2, 0)));
        assert!(!tender.runs(image(2, 4)) && !tender.runs(image(1, 3)) && !tender.runs(image(3, 0)));
    }
}
