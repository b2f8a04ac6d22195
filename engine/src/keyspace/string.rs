//! Strings as values: short ones in place.

use std::fmt;
use std::ops::{Deref, DerefMut};

use super::raw::Thin;

/// Longest string that is held in place.
const SHORT: usize = 14;

/// What Redis says of a string goes by how it came about; it is told in bits that would be unused otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Origin {
    /// It was given as a whole: what form it has goes by its bytes.
    Given = 0,
    /// It is a sum of fractions: a text, whatever it looks like.
    Sum = 0x40,
    /// It was changed in place, or made to be.
    Changed = 0x80,
}

/// A string value, 16 bytes of memory if it is short, and one allocation more if it is not.
pub struct Str(Repr);

enum Repr {
    /// The length has the origin in its upper bits.
    Short {
        len: u8,
        bytes: [u8; SHORT],
    },
    Long(Origin, Thin),
}

/// Those bits of a short string's length that are its length.
const LEN: u8 = 0x3f;

/// How many bytes of a short string are in use.
fn used(len: u8) -> usize {
    usize::from(len & LEN)
}

impl Str {
    /// A string of some origin.
    pub fn new(bytes: &[u8], origin: Origin) -> Str {
        let mut string = Str::from(bytes);
        string.mark(origin);
        string
    }

    /// How it came about.
    pub fn origin(&self) -> Origin {
        match &self.0 {
            Repr::Long(origin, _) => *origin,
            Repr::Short { len, .. } if len & Origin::Changed as u8 != 0 => Origin::Changed,
            Repr::Short { len, .. } if len & Origin::Sum as u8 != 0 => Origin::Sum,
            Repr::Short { .. } => Origin::Given,
        }
    }

    fn mark(&mut self, as_: Origin) {
        match &mut self.0 {
            Repr::Long(origin, _) => *origin = as_,
            Repr::Short { len, .. } => *len = (*len & LEN) | as_ as u8,
        }
    }

    /// Adds `more` at the end.
    pub fn extend_from_slice(&mut self, more: &[u8]) {
        self.grow(more, 0);
    }

    /// Adds zeros at the end until it has `len` bytes; a longer one is as long as it was.
    pub fn pad(&mut self, len: usize) {
        self.grow(b"", len);
    }

    /// Its bytes.
    pub fn as_slice(&self) -> &[u8] {
        self
    }

    fn grow(&mut self, more: &[u8], len: usize) {
        let filled = self.len() + more.len();
        let total = len.max(filled);
        match &mut self.0 {
            Repr::Long(_, long) => long.grow(more, total),
            Repr::Short { len, bytes } if total <= SHORT => {
                bytes[used(*len)..filled].copy_from_slice(more);
                // Bytes behind the end of a short string are 0, and it never becomes shorter.
                *len = total as u8;
            }
            Repr::Short { len, bytes } => {
                let mut long = Thin::new(&bytes[..used(*len)], 0);
                long.grow(more, total);
                self.0 = Repr::Long(Origin::Changed, long);
            }
        }
        self.mark(Origin::Changed);
    }

    /// Puts `bytes` in the place of what it holds, as if they were given, in the same memory if they fit.
    pub fn replace(&mut self, bytes: &[u8]) {
        if let Repr::Long(origin, long) = &mut self.0
            && bytes.len() > SHORT
            && long.replace(bytes)
        {
            *origin = Origin::Given;
            return;
        }
        *self = Str::from(bytes);
    }
}

impl Default for Str {
    fn default() -> Str {
        Str(Repr::Short { len: 0, bytes: [0; SHORT] })
    }
}

impl From<&[u8]> for Str {
    fn from(value: &[u8]) -> Str {
        if value.len() > SHORT {
            return Str(Repr::Long(Origin::Given, Thin::new(value, 0)));
        }
        let mut bytes = [0; SHORT];
        bytes[..value.len()].copy_from_slice(value);
        Str(Repr::Short { len: value.len() as u8, bytes })
    }
}

impl From<Vec<u8>> for Str {
    fn from(value: Vec<u8>) -> Str {
        Str::from(value.as_slice())
    }
}

impl<const N: usize> From<&[u8; N]> for Str {
    fn from(value: &[u8; N]) -> Str {
        Str::from(value.as_slice())
    }
}

impl Deref for Str {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Short { len, bytes } => &bytes[..used(*len)],
            Repr::Long(_, long) => long.as_slice(),
        }
    }
}

impl DerefMut for Str {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.mark(Origin::Changed);
        match &mut self.0 {
            Repr::Short { len, bytes } => &mut bytes[..used(*len)],
            Repr::Long(_, long) => long.as_mut_slice(),
        }
    }
}

impl AsRef<[u8]> for Str {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Clone for Str {
    fn clone(&self) -> Str {
        Str::new(self, self.origin())
    }
}

impl fmt::Debug for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.escape_ascii())
    }
}

/// Bytes alone are compared: what is loaded from a file is what was saved in it.
impl PartialEq for Str {
    fn eq(&self, other: &Str) -> bool {
        **self == **other
    }
}

impl Eq for Str {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Add(usize),
        Pad(usize),
        Replace(usize),
        Copy,
    }

    fn step() -> impl Strategy<Value = Step> {
        // Around the border between short and long, around size classes, and large.
        let len = prop_oneof![0..20usize, 20..600usize, Just(70_000usize)];
        prop_oneof![
            len.clone().prop_map(Step::Add),
            len.clone().prop_map(Step::Pad),
            len.prop_map(Step::Replace),
            Just(Step::Copy),
        ]
    }

    proptest! {
        #[test]
        fn it_holds_what_a_vector_holds(steps in prop::collection::vec(step(), 1..30)) {
            let (mut string, mut vector) = (Str::default(), Vec::new());
            prop_assert_eq!(string.origin(), Origin::Given);
            for (n, step) in steps.into_iter().enumerate() {
                let bytes = |len: usize| -> Vec<u8> { (0..len).map(|i| (i * 7 + n) as u8).collect() };
                match step {
                    Step::Add(len) => {
                        string.extend_from_slice(&bytes(len));
                        vector.extend_from_slice(&bytes(len));
                    }
                    Step::Pad(len) => {
                        string.pad(len);
                        vector.resize(len.max(vector.len()), 0);
                    }
                    Step::Replace(len) => {
                        string.replace(&bytes(len));
                        vector = bytes(len);
                        prop_assert_eq!(string.origin(), Origin::Given);
                    }
                    Step::Copy => {
                        let before = string.origin();
                        string = string.clone();
                        prop_assert_eq!(string.origin(), before);
                    }
                }
                if n % 3 == 0 {
                    for origin in [Origin::Given, Origin::Changed, Origin::Sum] {
                        string = Str::new(&string, origin);
                        prop_assert_eq!((string.origin(), &*string), (origin, vector.as_slice()));
                    }
                    continue;
                }
                if let Some(last) = string.last_mut() {
                    *last ^= 1;
                }
                if let Some(last) = vector.last_mut() {
                    *last ^= 1;
                }
                prop_assert_eq!(&*string, vector.as_slice());
                prop_assert!(string.is_empty() || string.origin() == Origin::Changed);
                prop_assert_eq!(&Str::from(vector.clone()), &string);
            }
        }
    }
}
